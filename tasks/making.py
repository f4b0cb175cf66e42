"""Make a stage's artifact or take the one that is there: once, however many runs want it at the same time.

`StageRun` is what a stage's task (`tasks/*/task.py`) sees of the run it belongs to.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol

from configs.schema import Endpoint, Experiment
from tasks.artifacts import Artifact, Descriptor
from tasks.chat.client import Role
from tasks.code import CodeState
from tasks.ledger.ledger import Budget, LedgerAsker
from tasks.processes import try_lock, try_share
from tasks.progress import Progress
from tasks.sinks import Sink
from tasks.spans import Spans
from tasks.stages import Build, Decision, StageSpec, decide, execute
from tasks.storage import Store

POLL_SECONDS = 0.2


class Step(Progress, Protocol):
    """Progress of a stage that makes no artifact."""

    def found(self, reason: str) -> None:
        """Say that nothing had to be done, and why."""

    def made(self, detail: str) -> None:
        """Say what came of it, in a few words."""


class StageRun(Protocol):
    """The run, as its stages see it."""

    @property
    def id(self) -> str:
        """Id of the run."""

    @property
    def experiment(self) -> Experiment:
        """What the run is determined by."""

    @property
    def profile(self) -> Path | None:
        """Where the profile of training goes, if one is asked for."""

    def make(self, spec: StageSpec[Descriptor], build: Build) -> Descriptor:
        """The artifact of a stage: the cached one, or a new one that `build` makes."""

    def step(self, name: str) -> AbstractContextManager[Step]:
        """Show and record a stage that makes no artifact."""

    def local(self, artifact: Artifact) -> Path:
        """A local folder with the artifact's files."""

    def spans(self, shards: Artifact) -> Path | Spans:
        """A shard set's folder, or what reads it where it lies: a large one is never fetched as a whole."""

    def connect_cluster(self) -> None:
        """Start the run's Ray cluster, or join it; does nothing when connected."""

    def work(self, spec: StageSpec[Descriptor]) -> Path:
        """A folder for what a stage wants to find again after a crash."""

    def figures(self, stage: str, figures: Mapping[str, float | str]) -> None:
        """Figures of a step ("step" among them) of a stage that is being built, for whoever watches the run."""

    def sink(self, spec: StageSpec[Descriptor], folder: Path) -> Sink:
        """Where a build, given its folder, puts files that are too large for a detour."""

    def earlier(self, spec: StageSpec[Descriptor]) -> list[Descriptor]:
        """The artifacts of the stage that were made last, newest first, whatever their keys."""

    def read_file(self, artifact: Artifact, path: str) -> bytes:
        """One file of an artifact. Raises ArtifactError if it is not as it was made."""

    def asking(
        self, endpoint: Endpoint, purpose: Role, budget: Budget | None = None, progress: Progress | None = None
    ) -> AbstractContextManager[LedgerAsker]:
        """Somebody to ask, behind the ledger. `progress` hears of what takes hours."""


@dataclass(frozen=True)
class Made(Generic[Descriptor]):
    """An artifact and how it came to be there."""

    artifact: Descriptor
    decision: Decision[Descriptor]
    seconds: float

    @property
    def cached(self) -> bool:
        """True if it had not to be made."""
        return self.decision.cached


def make(
    store: Store, locks: Path, spec: StageSpec[Descriptor], build: Build, progress: Progress,
    source: Callable[[], CodeState],
) -> Made[Descriptor]:
    """The artifact of a stage. While another process builds the same key this one waits, and then takes its artifact.

    Raises whatever the build raises, and EnvironmentProblem when the disk is full.
    """
    started = time.monotonic()
    decision = decide(store, spec)
    if decision.artifact is not None:
        return Made(decision.artifact, decision, time.monotonic() - started)
    with only_one(locks / f"{spec.name}-{decision.key}.lock", progress) as waited:
        if waited:
            decision = decide(store, spec)
        artifact = decision.artifact or execute(store, spec, decision, build, progress, source())
    return Made(artifact, decision, time.monotonic() - started)


@contextmanager
def only_one(path: Path, progress: Progress) -> Iterator[bool]:
    """Hold a lock among processes. Yields whether it had to be waited for.

    The system frees it when the process ends, however it ends.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        waited = False
        while not try_lock(handle.fileno()):
            if not waited:
                progress.note("another run is making this; waiting for it")
            waited = True
            progress.update(0, 0)
            time.sleep(POLL_SECONDS)
        yield waited


RUNNING = "runs.lock"
"""Every run holds this lock together with the others; whoever removes artifacts holds it alone."""


@contextmanager
def running(locks: Path) -> Iterator[None]:
    """Hold what keeps artifacts from being removed; waits while somebody removes some."""
    locks.mkdir(parents=True, exist_ok=True)
    with (locks / RUNNING).open("a") as handle:
        while not try_share(handle.fileno()):
            time.sleep(POLL_SECONDS)
        yield


@contextmanager
def alone(locks: Path) -> Iterator[bool]:
    """Whether no run goes on; if so, none goes on until the end of the block."""
    locks.mkdir(parents=True, exist_ok=True)
    with (locks / RUNNING).open("a") as handle:
        yield try_lock(handle.fileno()) and not any(_held(path) for path in locks.glob("*-*.lock"))


def _held(lock: Path) -> bool:
    with lock.open("a") as handle:
        return not try_lock(handle.fileno())


def sweep(scratch: Path, locks: Path) -> None:
    """Remove what builds left behind whose process was killed: nobody holds the lock of their key any more."""
    for folder in sorted(scratch.glob("*-*-*")):
        stage, key, _ = folder.name.rsplit("-", 2)
        for lock in locks.glob(f"{stage}-{key}*.lock"):
            with lock.open("a") as handle:
                if try_lock(handle.fileno()):
                    shutil.rmtree(folder, ignore_errors=True)
