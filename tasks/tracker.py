"""Where a run leaves what it did: the `Tracker` port, its JSONL twin that needs no server, and trackers side by side.

One run of the pipeline is one parent run, stages are its child runs. MLflow stands behind the port in `tracking`.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from pydantic import JsonValue

from tasks.artifacts import canonical_json

FILE = "tracking.jsonl"


class Tracker(Protocol):
    """A run that records what happens; as a context manager it ends finished, failed or killed."""

    def prepare(self) -> None:
        """Do what is slow about the first record; may be called in a thread of its own."""

    def params(self, values: Mapping[str, JsonValue]) -> None:
        """Record settings, nested ones by dotted names. Recording the same again changes nothing."""

    def metrics(self, rows: Iterable[Mapping[str, object]]) -> None:
        """Record figures by step, as the lines of metrics.jsonl hold them: {"step": 10, "loss": 1.2, ...}.

        A row without `step` counts as step 0; what is not a number is left out.
        """

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags; the last value stays."""

    def dataset(self, name: str, uri: str, digest: str, context: str) -> None:
        """Record an input by its content digest; `context` says what for (training, evaluation)."""

    def artifact(self, path: Path, folder: str = "") -> None:
        """Keep a file, or a folder with all it holds."""

    def child(self, name: str) -> Tracker:
        """The run of a stage, to be entered by `with`."""

    def __enter__(self) -> Self:
        """Open the run, or go on in it."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the run."""


def utc_now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class JsonlTracker:
    """Appends to `<folder>/tracking.jsonl`: {"time", "run", "kind", ...} a line, `run` being "" or the stage.

    Files are not copied: a line names them. A run that is opened again appends; of equal points the last one counts.
    """

    def __init__(self, folder: Path, stage: str = "", now: Callable[[], str] = utc_now) -> None:
        self._folder = folder
        self._stage = stage
        self._now = now
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """See `Tracker`."""
        self._folder.mkdir(parents=True, exist_ok=True)

    def params(self, values: Mapping[str, JsonValue]) -> None:
        """See `Tracker`."""
        self._write("params", [{"values": dict(dotted(values))}])

    def metrics(self, rows: Iterable[Mapping[str, object]]) -> None:
        """See `Tracker`. What is not finite is written as null, as JSON knows no other word for it."""
        steps: dict[int, dict[str, JsonValue]] = {}
        for step, name, value in figures(rows):
            steps.setdefault(step, {})[name] = value if math.isfinite(value) else None
        self._write("metrics", [{"step": step, "values": values} for step, values in steps.items()])

    def tags(self, values: Mapping[str, str]) -> None:
        """See `Tracker`."""
        self._write("tags", [{"values": dict(values)}])

    def dataset(self, name: str, uri: str, digest: str, context: str) -> None:
        """See `Tracker`."""
        self._write("dataset", [{"name": name, "uri": uri, "digest": digest, "context": context}])

    def artifact(self, path: Path, folder: str = "") -> None:
        """See `Tracker`."""
        self._write("artifact", [{"path": str(path), "folder": folder}])

    def child(self, name: str) -> JsonlTracker:
        """See `Tracker`."""
        return JsonlTracker(self._folder, name, self._now)

    def __enter__(self) -> Self:
        """See `Tracker`."""
        self._write("open", [{}])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See `Tracker`."""
        self._write("close", [{"error": None if kind is None else f"{kind.__name__}: {error}"}])

    def _write(self, kind: str, rows: Sequence[Mapping[str, JsonValue]]) -> None:
        head = {"time": self._now(), "run": self._stage, "kind": kind}
        text = "".join(json.dumps({**head, **row}, ensure_ascii=False) + "\n" for row in rows)
        with self._lock:
            self.prepare()
            with (self._folder / FILE).open("a", encoding="utf-8") as handle:
                handle.write(text)


class Both:
    """Several trackers as one. They are served in the order given: put the one that cannot fail first."""

    def __init__(self, *trackers: Tracker) -> None:
        self._trackers = trackers
        self._stack = ExitStack()

    def prepare(self) -> None:
        """See `Tracker`."""
        for tracker in self._trackers:
            tracker.prepare()

    def params(self, values: Mapping[str, JsonValue]) -> None:
        """See `Tracker`."""
        for tracker in self._trackers:
            tracker.params(values)

    def metrics(self, rows: Iterable[Mapping[str, object]]) -> None:
        """See `Tracker`."""
        rows = list(rows)
        for tracker in self._trackers:
            tracker.metrics(rows)

    def tags(self, values: Mapping[str, str]) -> None:
        """See `Tracker`."""
        for tracker in self._trackers:
            tracker.tags(values)

    def dataset(self, name: str, uri: str, digest: str, context: str) -> None:
        """See `Tracker`."""
        for tracker in self._trackers:
            tracker.dataset(name, uri, digest, context)

    def artifact(self, path: Path, folder: str = "") -> None:
        """See `Tracker`."""
        for tracker in self._trackers:
            tracker.artifact(path, folder)

    def child(self, name: str) -> Both:
        """See `Tracker`."""
        return Both(*(tracker.child(name) for tracker in self._trackers))

    def __enter__(self) -> Self:
        """See `Tracker`."""
        for tracker in self._trackers:
            self._stack.enter_context(tracker)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See `Tracker`. Every tracker is closed, whatever another one raises."""
        self._stack.__exit__(kind, error, trace)


def dotted(values: Mapping[str, JsonValue], above: str = "") -> Iterator[tuple[str, str]]:
    """Settings by dotted name: {"a": {"b": 1}} gives ("a.b", "1"). Lists and other values are JSON text."""
    for name, value in values.items():
        path = f"{above}.{name}" if above else name
        if isinstance(value, dict):
            yield from dotted(value, path)
        else:
            yield path, value if isinstance(value, str) else canonical_json(value)


def figures(rows: Iterable[Mapping[str, object]]) -> Iterator[tuple[int, str, float]]:
    """(step, name, value) of every number in the rows but the step itself."""
    for row in rows:
        step = row.get("step", 0)
        assert isinstance(step, int), "a step is a whole number"
        for name, value in row.items():
            if name != "step" and isinstance(value, int | float) and not isinstance(value, bool):
                yield step, name, float(value)
