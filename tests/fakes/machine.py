"""A machine on which all is well, and which can be made to lack anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from configs.settings import Settings

GIB = 1 << 30


@dataclass
class FakeMachine:
    """Implements `flows.machine.Machine`. `versions` are the installed packages."""

    versions: Mapping[str, str]
    version: tuple[int, int] = (3, 11)
    programs: set[str] = field(default_factory=lambda: {"c++", "ninja"})
    operations: set[str] = field(default_factory=lambda: {"deepspeed_shm_comm"})
    cores: int = 8
    cards: list[str] = field(default_factory=list)
    memory: int = 16 * GIB
    disk: dict[str, int] = field(default_factory=dict)
    unwritable: str | None = None
    no_loopback: str | None = None
    dead: dict[str, str] = field(default_factory=dict)
    refusing: dict[str, str] = field(default_factory=dict)
    """Why a service does not let us in, by its name."""
    variables: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    """URLs that were asked."""

    def python(self) -> tuple[int, int]:
        return self.version

    def installed(self, package: str) -> str | None:
        return self.versions.get(package)

    def program(self, name: str) -> str | None:
        return f"/bin/{name}" if name in self.programs else None

    def compiled(self, operation: str) -> bool:
        return operation in self.operations

    def cpus(self) -> int:
        return self.cores

    def gpus(self) -> list[str]:
        return self.cards

    def free_memory(self) -> int:
        return self.memory

    def free_disk(self, path: Path) -> int:
        return self.disk.get(str(path), 100 * GIB)

    def writing_problem(self, path: Path) -> str | None:
        return self.unwritable

    def loopback_problem(self) -> str | None:
        return self.no_loopback

    def reaching_problem(self, url: str) -> str | None:
        self.asked.append(url)
        return self.dead.get(url)

    def login_problem(self, service: str, settings: Settings) -> str | None:
        return self.refusing.get(service)

    def variable(self, name: str) -> str | None:
        return self.variables.get(name)
