"""Where log lines go: everything into the run's own file, and to the terminal only what a person has to know."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.environment import LOGGER

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
CHATTY = ("alembic", "asyncio", "filelock", "fsspec", "git", "httpcore", "httpx", "matplotlib", "PIL", "urllib3")
"""Loggers whose lines below a warning are about nothing of ours."""

TOLD_OTHERWISE = ("prefect", "ray")
"""They log with a trace what they raise as well, and what is raised is told once, in one line."""


def quiet_terminal(verbose: bool) -> None:
    """Let the terminal show our warnings and errors of libraries, or with `verbose` whatever is worth an INFO.

    Has to come before Prefect is imported: it leaves a root logger alone that has handlers.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    handler.setLevel(logging.INFO if verbose else logging.WARNING)
    if not verbose:
        handler.addFilter(_worth_showing)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)


def _worth_showing(record: logging.LogRecord) -> bool:
    root = record.name.split(".")[0]
    return root == LOGGER or (record.levelno >= logging.ERROR and root not in TOLD_OTHERWISE)


@contextmanager
def written_to(path: Path) -> Iterator[logging.Logger]:
    """Write every log line of the process into a file. Yields the logger of stages."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter(FORMAT))
    root, logger = logging.getLogger(), logging.getLogger(LOGGER)
    root.addHandler(handler)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    before = root.level, logger.level
    root.setLevel(min(root.level, logging.INFO) or logging.INFO)
    logger.setLevel(logging.INFO)
    try:
        yield logger
    finally:
        root.removeHandler(handler)
        root.setLevel(before[0])
        logger.setLevel(before[1])
        handler.close()
