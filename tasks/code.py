"""Which code made something: digests of source files, the git commit, the versions of the libraries."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
SOURCE_SUFFIXES = {".py", ".txt", ".json", ".jinja"}
LIBRARIES = (
    "torch", "transformers", "deepspeed", "ray", "prefect", "mlflow", "webdataset", "s3fs", "tokenizers", "pillow",
    "numpy",
)


@dataclass(frozen=True)
class CodeState:
    """Commit, whether the work tree differed from it, and library versions, at the time of a run."""

    commit: str | None
    dirty: bool | None
    libraries: dict[str, str]


@cache
def code_digest(paths: tuple[str, ...]) -> str:
    """sha256 over the source files under the named paths (files or packages, relative to the project root)."""
    digest = hashlib.sha256()
    for path in sorted({file for name in paths for file in _sources(PROJECT / name)}):
        digest.update(path.relative_to(PROJECT).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:32]


def _sources(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise AssertionError(f"a stage names {path} as its code, but there is nothing")
    return [file for file in path.rglob("*") if file.suffix in SOURCE_SUFFIXES and "__pycache__" not in file.parts]


def code_state() -> CodeState:
    """The state of the source tree; commit and dirty are None outside a git work tree."""
    libraries = {name: metadata.version(name) for name in LIBRARIES}
    commit = _git("rev-parse", "HEAD")
    status = _git("status", "--porcelain") if commit else None
    return CodeState(commit=commit, dirty=None if status is None else bool(status), libraries=libraries)


def _git(*arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", "-C", str(PROJECT), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
