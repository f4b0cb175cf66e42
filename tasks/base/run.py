"""Stage base: make or take the vision tower and the language model, each as an ordinary Hugging Face folder.

What is trained here trains in two processes side by side, one thread each: over such small matrices two threads of one
process would mostly wait for each other.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from concurrent.futures import Future, ProcessPoolExecutor, wait
from pathlib import Path

from pydantic import JsonValue

from configs.schema import BaseConfig, FolderModel, MicroLanguage, MicroVision, PackagedEfficientNet, PackagedGguf
from tasks.base.history import History
from tasks.processes import die_with_parent
from tasks.progress import Progress
from tasks.stages import Built

POLL_SECONDS = 0.5
VISION_HISTORY, LANGUAGE_HISTORY = "vision.jsonl", "language.jsonl"


def build_base(folder: Path, config: BaseConfig, progress: Progress) -> Built:
    """Write vision/, language/ and history.jsonl, as `tasks.artifacts.BaseModels` describes them.

    Raises ModelError for a model that cannot be read or is not of a kind that is known, DataError for a package that
    is not installed.
    """
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn"), initializer=die_with_parent) as pool:
        parts = [
            pool.submit(make_vision, folder / "vision", config.vision, config.seed, folder / VISION_HISTORY),
            pool.submit(make_language, folder / "language", config.language, config.seed, folder / LANGUAGE_HISTORY),
        ]
        _watch(parts, folder, progress)
        counts = {name: count for part in parts for name, count in part.result().items()}
    lines = _lines(folder / VISION_HISTORY) + _lines(folder / LANGUAGE_HISTORY)
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    for name in (VISION_HISTORY, LANGUAGE_HISTORY):
        (folder / name).unlink(missing_ok=True)
    facts: dict[str, JsonValue] = {f"{part}_loss": loss for part, loss in _last_losses(lines).items()}
    return Built(counts=counts, facts=facts | {"vision": config.vision.kind, "language": config.language.kind})


def make_vision(
    folder: Path, config: MicroVision | FolderModel | PackagedEfficientNet, seed: int, history: Path
) -> dict[str, int]:
    """The vision tower. Runs in a process of its own. Returns counts."""
    _one_thread()
    if not isinstance(config, MicroVision):
        from tasks.base.folders import copy_vision

        return {"vision_parameters": copy_vision(folder, config)}
    from tasks.base.clip import train_clip

    return {"vision_parameters": train_clip(folder, config, seed, History(history))}


def make_language(
    folder: Path, config: MicroLanguage | FolderModel | PackagedGguf, seed: int, history: Path
) -> dict[str, int]:
    """The language model. Runs in a process of its own. Returns counts."""
    _one_thread()
    if not isinstance(config, MicroLanguage):
        from tasks.base.folders import copy_language

        return {"language_parameters": copy_language(folder, config)}
    from tasks.base.corpus import LESSON_SHARE, documents, lessons
    from tasks.base.llama import read_corpus, train_llama

    drills = round(LESSON_SHARE * config.documents)
    language = read_corpus(
        config, list(documents(seed, config.documents - drills)), list(lessons(seed, drills))
    )
    return {"language_parameters": train_llama(folder, config, language, seed, History(history))}


def _one_thread() -> None:
    import torch
    import transformers

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def _watch(parts: list[Future[dict[str, int]]], folder: Path, progress: Progress) -> None:
    """Show the last line of each history while the parts run. The first failure ends it."""
    while wait(parts, timeout=0).not_done:
        for part in parts:
            if part.done():
                part.result()
        lines = [line[-1] for name in (VISION_HISTORY, LANGUAGE_HISTORY) if (line := _lines(folder / name))]
        if lines:
            losses: dict[str, float | str] = {str(line["part"]): round(float(line["loss"]), 3) for line in lines}
            done, total = (sum(int(line[name]) for line in lines) for name in ("step", "steps"))
            progress.update(done, total, **losses)
        time.sleep(POLL_SECONDS)


def _lines(path: Path) -> list[dict[str, int | float | str]]:
    if not path.is_file():
        return []
    # The last line may be half written while the other process is at it.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]


def _last_losses(lines: list[dict[str, int | float | str]]) -> dict[str, float]:
    return {str(line["part"]): float(line["loss"]) for line in lines}
