"""Make `.venv` from requirements.lock if it is missing, half made or out of date; do nothing, at once, if it is not.

Called by the Makefile with the machine's own Python and nothing installed, hence the standard library only. A stamp
in the environment says what it was made from. It is written last, so that an interrupted set-up leaves none and the
next call starts afresh. Standard output is for people; what the tools said is kept in `.venv/setup.log`.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
VENV = PROJECT / ".venv"
STAMP = "llavaflow-setup.json"
STEPS_VERSION = 1
"""Raised when the steps below change in a way that an existing environment lacks."""
COMPILE_OPERATION = (
    "from deepspeed.ops.op_builder.cpu import ShareMemCommBuilder; ShareMemCommBuilder().load(verbose=False)"
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
"""What the tests of the chat page drive; nothing else needs one."""


class SetupFailed(Exception):
    """A step failed; the message is for the user."""


def wanted_stamp(project: Path) -> dict[str, str | int]:
    """What an up-to-date environment of this project was made from."""
    return {
        "steps": STEPS_VERSION,
        "lock": _sha256((project / "requirements.lock").read_bytes()),
        "pyproject": _sha256(json.dumps(_packaging(project), sort_keys=True).encode()),
        "python": f"{sys.implementation.name} {sys.version_info.major}.{sys.version_info.minor}",
        "folder": str(project),
    }


def reason_to_make(venv: Path, wanted: Mapping[str, str | int]) -> str | None:
    """Why the environment has to be made; None if it is as wanted."""
    if not venv.exists():
        return "there is none"
    try:
        found = json.loads((venv / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "it is half made, or made by hand"
    if not (venv / "bin" / "python").exists():
        return "its Python is gone"
    changed = [name for name in wanted if found.get(name) != wanted[name]]
    return f"changed since it was made: {', '.join(changed)}" if changed else None


def pinned(lock: str, package: str) -> str:
    """The requirement of a package in the text of a lock, without its marker."""
    for line in lock.splitlines():
        if re.match(rf"{re.escape(package)}==", line):
            return line.split(";")[0].strip()
    raise SetupFailed(f"requirements.lock does not name {package}; `make lock` writes it anew")


def main() -> int:
    """Make the environment where needed; 0 if it is there at the end."""
    if sys.version_info < (3, 11):  # noqa: UP036 - this very line is what an older Python has to reach
        sys.stderr.write(
            f"set-up: Python 3.11 or newer is needed, this is {sys.version.split()[0]}; "
            "name one with `make PYTHON=python3.12 ...`\n"
        )
        return 1
    folder = os.open(PROJECT, os.O_RDONLY)
    try:
        _lock(folder)
        wanted = wanted_stamp(PROJECT)
        reason = reason_to_make(VENV, wanted)
        if reason is not None:
            _make(wanted, reason)
    except SetupFailed as error:
        sys.stderr.write(f"set-up failed: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nset-up interrupted; the next call starts it afresh\n")
        return 130
    finally:
        os.close(folder)
    return 0


def _lock(folder: int) -> None:
    """Two calls at once: the second waits, and then finds the environment made."""
    # The steps inherit the lock: where set-up was killed, its last step may still be writing.
    os.set_inheritable(folder, True)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _say("set-up: waiting for another set-up, or what is left of one, to end\n")
        fcntl.flock(folder, fcntl.LOCK_EX)


def _make(wanted: Mapping[str, str | int], reason: str) -> None:
    started = time.monotonic()
    _say(f"set-up: making .venv ({reason}); some minutes the first time\n")
    lock = (PROJECT / "requirements.lock").read_text(encoding="utf-8")
    torch = pinned(lock, "torch")
    count = sum("==" in line for line in lock.splitlines())
    steps: list[tuple[str, Callable[[], None]]] = [
        ("an empty environment", _empty_environment),
        (f"{torch}, by pip", lambda: _pip("install", "--constraint", "requirements.lock", torch)),
        ("uv, by pip", lambda: _pip("install", pinned(lock, "uv"))),
        (f"the other {count - 2} packages of requirements.lock, by uv", _locked_packages),
        ("this project", lambda: _uv("install", "--no-deps", "--no-build-isolation", "--editable", ".")),
        ("do the packages agree?", lambda: _uv("check")),
        ("DeepSpeed's all-reduce for CPUs, compiled", _compiled_operation),
    ]
    for number, (what, step) in enumerate(steps, start=1):
        _say(f"set-up: {number}/{len(steps)} {what} ... ")
        before = time.monotonic()
        step()
        _say(f"{time.monotonic() - before:.1f} s\n")
    partial = VENV / f"{STAMP}.partial"
    partial.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")
    partial.replace(VENV / STAMP)
    _say(f"set-up: done in {time.monotonic() - started:.0f} s\n")
    if not any(shutil.which(name) for name in BROWSERS):
        _say("set-up: no Chromium here: tests of the chat page will skip (Debian: apt-get install chromium)\n")


def _empty_environment() -> None:
    if VENV.exists():
        if VENV.is_symlink() or not ((VENV / "pyvenv.cfg").is_file() or _is_empty(VENV)):
            raise SetupFailed(f"{VENV} is no virtual environment; move it away and call again")
        (VENV / STAMP).unlink(missing_ok=True)
        shutil.rmtree(VENV)
    # The base interpreter: the one that calls may lie in the very environment that was just removed.
    python = getattr(sys, "_base_executable", sys.executable)
    without_pip = [] if importlib.util.find_spec("ensurepip") else ["--without-pip"]
    VENV.mkdir()
    _run([python, "-m", "venv", *without_pip, str(VENV)])


def _is_empty(folder: Path) -> bool:
    return not any(folder.iterdir())


def _locked_packages() -> None:
    # --no-deps: the lock is complete, and a resolver would be free to replace the torch that is there.
    _uv("install", "--no-deps", "--requirement", "requirements.lock", "--build-constraints", "requirements.lock")


def _compiled_operation() -> None:
    if not any(shutil.which(name) for name in (os.environ.get("CXX", "c++"), "c++", "g++", "clang++")):
        raise SetupFailed("no C++ compiler; install one (Debian: apt-get install g++) and call again")
    _run([str(VENV / "bin" / "python"), "-c", COMPILE_OPERATION])


def _pip(*arguments: str) -> None:
    own = [str(VENV / "bin" / "python"), "-m", "pip"]
    # Debian's Python without python3-venv has no ensurepip; the machine's pip then installs from outside.
    outside = [sys.executable, "-m", "pip", "--python", str(VENV / "bin" / "python")]
    command = own if (VENV / "bin" / "pip").exists() else outside
    _run([*command, "--no-input", "--disable-pip-version-check", *arguments])


def _uv(*arguments: str) -> None:
    _run([str(VENV / "bin" / "uv"), "pip", arguments[0], "--python", str(VENV / "bin" / "python"), *arguments[1:]])


def _run(command: list[str]) -> None:
    """Run a command; its output goes to the log, and its last lines into the message if it fails."""
    log = VENV / "setup.log"
    with log.open("ab") as handle:
        handle.write(f"$ {' '.join(command)}\n".encode())
        handle.flush()
        done = subprocess.run(
            command,
            cwd=PROJECT,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=handle,
            close_fds=False,  # for the lock
        )
    if done.returncode != 0:
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
        ending = f"`{' '.join(command[:6])} ...` ended with {done.returncode}; all of it: {log}"
        raise SetupFailed("\n".join([*tail, ending]))


def _environment() -> dict[str, str]:
    misleading = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    kept = {name: value for name, value in os.environ.items() if name not in misleading}
    return kept | {
        "PATH": f"{VENV / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_PROGRESS": "1",
        "DS_ACCELERATOR": "cpu",
        "TORCH_EXTENSIONS_DIR": str(VENV / "torch_extensions"),
    }


def _packaging(project: Path) -> list[object]:
    import tomllib  # Python 3.11; an older one is to be told so first

    pyproject: Mapping[str, object] = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    tool = pyproject.get("tool")
    setuptools = tool.get("setuptools") if isinstance(tool, dict) else None
    return [pyproject.get("build-system"), pyproject.get("project"), setuptools]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
