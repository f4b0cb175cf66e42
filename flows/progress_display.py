"""How stages show themselves while they run: one line a stage with bar, rate, loss and ETA; without a terminal, text.

All of it goes to standard error, so that standard output stays what a program can read.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.text import Text

from tasks.report.words import duration

Figures = Mapping[str, float | str]
EVERY_SHARE = 0.1
"""Text lines come at every tenth of a stage."""


class Display(Protocol):
    """Shows stages. Stages may run side by side, in threads."""

    def start(self, stage: str) -> None:
        """A stage is looked up, and then runs."""

    def update(self, stage: str, done: int, total: int, figures: Figures) -> None:
        """How far it is."""

    def end(self, stage: str, text: str) -> None:
        """What came of it."""

    def close(self) -> None:
        """Nothing more comes."""


class Nowhere:
    """Shows nothing."""

    def start(self, stage: str) -> None:
        """See `Display`."""

    def update(self, stage: str, done: int, total: int, figures: Figures) -> None:
        """See `Display`."""

    def end(self, stage: str, text: str) -> None:
        """See `Display`."""

    def close(self) -> None:
        """See `Display`."""


class Lines:
    """Lines of text, for logs and pipes. `clock` gives seconds."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write, self._clock = write, clock
        self._shown: dict[str, tuple[int, float, int]] = {}
        """Stage to total, time of its start, and last tenth shown."""

    def start(self, stage: str) -> None:
        """See `Display`."""
        self._shown[stage] = (0, self._clock(), 0)

    def update(self, stage: str, done: int, total: int, figures: Figures) -> None:
        """See `Display`."""
        if total <= 0:
            return
        before, started, tenth = self._shown.get(stage, (0, self._clock(), 0))
        if total != before:  # another phase of the stage
            started, tenth = self._clock(), 0
        now = int(done / total / EVERY_SHARE)
        self._shown[stage] = (total, started, max(now, tenth))
        if now > tenth:
            seconds = self._clock() - started
            told = [f"{done}/{total}", *phrases(figures, done, seconds)]
            left = f", {duration(seconds * (total - done) / done)} left" if 0 < done < total else ""
            self._write(f"{stage:9} {', '.join(told)}{left}")

    def end(self, stage: str, text: str) -> None:
        """See `Display`."""
        self._write(f"{stage:9} {text}")

    def close(self) -> None:
        """See `Display`."""


class Bars:
    """A live line a stage."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.description:9}"),
            BarColumn(bar_width=24),
            _Told(),
            console=console,
            refresh_per_second=5,
        )
        self._tasks: dict[str, Task] = {}
        self._progress.start()

    def start(self, stage: str) -> None:
        """See `Display`."""
        identity = self._progress.add_task(stage, total=None, told="", phase=time.monotonic())
        self._tasks[stage] = next(task for task in self._progress.tasks if task.id == identity)

    def update(self, stage: str, done: int, total: int, figures: Figures) -> None:
        """See `Display`."""
        task = self._tasks[stage]
        if total > 0 and task.total != total:  # another phase of the stage
            task.fields["phase"] = time.monotonic()
        seconds = time.monotonic() - task.fields["phase"]
        left = f"  {duration(seconds * (total - done) / done)} left" if 0 < done < total else ""
        told = "  ".join([f"{done}/{total}", *phrases(figures, done, seconds)]) + left if total else "waiting"
        self._progress.update(task.id, completed=done, total=total or None, told=told)

    def end(self, stage: str, text: str) -> None:
        """See `Display`."""
        task = self._tasks[stage]
        total = task.total or 1
        self._progress.update(task.id, total=total, completed=total, told=text)

    def close(self) -> None:
        """See `Display`."""
        self._progress.stop()


class _Told(ProgressColumn):
    """What the stage says of itself."""

    def render(self, task: Task) -> Text:
        """The text, as it is: it may hold brackets that rich would take for mark-up."""
        return Text(str(task.fields["told"]), no_wrap=True, overflow="ellipsis")


def display_for(console: Console) -> Display:
    """Live lines on a terminal, lines of text elsewhere."""
    if console.is_terminal and not console.is_dumb_terminal:
        return Bars(console)
    return Lines(lambda line: console.print(escape(line), highlight=False, soft_wrap=True))


def stderr_console() -> Console:
    """The console that progress is shown on."""
    return Console(file=sys.stderr)


def phrases(figures: Figures, done: int, seconds: float) -> list[str]:
    """Figures as they are shown; a rate is added where the stage names none."""
    told = [_phrase(name, value) for name, value in figures.items()]
    if "rate" not in figures and done > 0 and seconds > 1:
        told.append(f"{done / seconds:.3g}/s")
    return told


def _phrase(name: str, value: float | str) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if name in ("rate", "doing", "stage", "benchmark") else f"{name} {text}"
