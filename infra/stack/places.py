"""Where the stack keeps what it writes."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from infra.stack.errors import StackProblem

PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Places:
    """Folders and files of one stack; two stacks under two homes share nothing."""

    home: Path

    @classmethod
    def usual(cls) -> Places:
        """`.stack/` in the project, or the folder that LLAVAFLOW_STACK names."""
        return cls(Path(os.environ.get("LLAVAFLOW_STACK") or PROJECT / ".stack").absolute())

    @property
    def id(self) -> str:
        """Short name of this stack on this machine."""
        return hashlib.sha256(str(self.home).encode()).hexdigest()[:10]

    @property
    def runtime(self) -> Path:
        """Sockets and Ray's session. A short path, as that of a Unix socket may have 107 characters at most."""
        return Path(tempfile.gettempdir()) / f"lf-{self.id}"

    @property
    def ray(self) -> Path:
        """Ray's sessions."""
        return self.runtime / "ray"

    @property
    def socket(self) -> Path:
        """Where the supervisor listens."""
        return self.runtime / "supervisor.sock"

    @property
    def data(self) -> Path:
        """What outlives a stop: databases and buckets."""
        return self.home / "data"

    @property
    def logs(self) -> Path:
        """A log for each program."""
        return self.home / "logs"

    @property
    def plan(self) -> Path:
        """Ports and secrets; only the owner can read it."""
        return self.home / "stack.json"

    @property
    def env(self) -> Path:
        """The environment of whoever uses the stack, to be sourced by a shell; only the owner can read it."""
        return self.home / "env"

    @property
    def lock(self) -> Path:
        """Held while the stack is started or stopped."""
        return self.home / "lock"

    def make(self) -> None:
        """Make the folders. Others may pass through the home, as a Postgres that root starts runs as another user.

        Raises StackProblem for a folder that is not ours.
        """
        for folder, mode in ((self.home, 0o711), (self.data, 0o711), (self.logs, 0o700), (self.runtime, 0o700)):
            folder.mkdir(parents=True, exist_ok=True)
            found = folder.lstat()
            # The runtime folder has a name that others can foresee, in a folder that all may write to.
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                raise StackProblem(f"{folder} is a link or belongs to somebody else; remove it, or set TMPDIR")
            folder.chmod(mode)


def write_private(path: Path, text: str) -> None:
    """Write a file that only the owner can read; it is never there half, nor for a moment open to others."""
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
        handle.write(text)
    part.replace(path)
