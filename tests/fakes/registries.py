"""Registries for tests of promotion: one in memory that counts its effects, one in a folder that processes share."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path

from tasks.errors import RegistryError
from tasks.register.audit import AuditRecord, AuditStore
from tasks.register.desk import Desk
from tasks.register.lock import Hold, Unlosable


class Killed(BaseException):
    """The process ends here."""


class Steps:
    """Counts the effects of a promotion, and ends it before or after the one that is chosen."""

    def __init__(self, end: Callable[[], None] | None = None) -> None:
        self.count = 0
        self.kill_at: int | None = None
        self.after_effect = False
        self._end = end

    def run(self, effect: Callable[[], None]) -> None:
        here, self.count = self.count, self.count + 1
        if here == self.kill_at and not self.after_effect:
            self._kill()
        effect()
        if here == self.kill_at:
            self._kill()

    def _kill(self) -> None:
        if self._end is not None:
            self._end()
        raise Killed


class Registry:
    """A registry in memory."""

    name, alias = "llavaflow", "champion"

    def __init__(self, steps: Steps, champion: str | None = None) -> None:
        self.steps = steps
        self.pointed = champion
        self.tags: dict[str, dict[str, str]] = {}

    def champion(self) -> str | None:
        return self.pointed

    def set_champion(self, version: str | None) -> None:
        self.steps.run(lambda: setattr(self, "pointed", version))

    def tag(self, version: str, tags: Mapping[str, str]) -> None:
        self.steps.run(lambda: self.tags.setdefault(version, {}).update(tags))


class Audit:
    """A trail in memory."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        self.kept: list[AuditRecord] = []

    def append(self, record: AuditRecord) -> None:
        self.steps.run(lambda: self.kept.append(record))

    def records(self) -> list[AuditRecord]:
        return list(self.kept)


class Clock:
    """Time that stands still unless it is set."""

    def __init__(self) -> None:
        self.time = "2026-11-22T12:00:00+00:00"

    def __call__(self) -> str:
        return self.time


def desk(champion: str | None = None, clock: Clock | None = None) -> tuple[Desk, Registry, Audit, Steps]:
    """A desk in memory, and what it is made of."""
    steps = Steps()
    registry, audit = Registry(steps, champion), Audit(steps)
    held: Hold = Unlosable()
    at = Desk(registry, audit, lambda: nullcontext(held), who="ada", run="r1", now=clock or Clock())
    return at, registry, audit, steps


def events(audit: AuditStore) -> list[str]:
    """What happened, in order."""
    return [record.event for record in audit.records()]


class Unreachable(Steps):
    """A server that does not answer at the chosen step."""

    def _kill(self) -> None:
        raise RegistryError("MLflow did not answer")


class FolderRegistry:
    """A registry whose alias and tags are files: what one process does another sees."""

    name, alias = "llavaflow", "champion"

    def __init__(self, folder: Path, steps: Steps) -> None:
        self.folder, self.steps = folder, steps
        folder.mkdir(parents=True, exist_ok=True)

    def champion(self) -> str | None:
        path = self.folder / "alias"
        return path.read_text() if path.exists() else None

    def set_champion(self, version: str | None) -> None:
        def write() -> None:
            assert version is not None, "no test of this takes the alias away"
            part = self.folder / f"alias.{os.getpid()}"
            part.write_text(version)
            part.replace(self.folder / "alias")
            with (self.folder / "moves").open("a") as handle:
                handle.write(f"{version}\n")

        self.steps.run(write)

    def tag(self, version: str, tags: Mapping[str, str]) -> None:
        def write() -> None:
            (self.folder / f"tags-{version}-{len(tags)}").write_text(json.dumps(dict(tags)))

        self.steps.run(write)

    def moves(self) -> list[str]:
        """Every version the alias was ever pointed to, in order."""
        path = self.folder / "moves"
        return path.read_text().split() if path.exists() else []


class CountedAudit:
    """A trail whose appends are steps."""

    def __init__(self, audit: AuditStore, steps: Steps) -> None:
        self.audit, self.steps = audit, steps

    def append(self, record: AuditRecord) -> None:
        self.steps.run(lambda: self.audit.append(record))

    def records(self) -> list[AuditRecord]:
        return self.audit.records()
