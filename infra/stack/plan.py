"""Ports and secrets of a stack: chosen once, kept, and chosen anew where a port has been taken meanwhile."""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from urllib.parse import quote, urlsplit, urlunsplit

from infra.stack.errors import StackProblem
from infra.stack.places import Places, write_private

HOST = "127.0.0.1"
USER = "llavaflow"
BUCKET = "llavaflow"
DATABASES = ("prefect", "mlflow", "mlflow_auth", "ledger")
PORTS = (
    "postgres", "s3", "s3_master", "s3_volume", "s3_filer", "s3_admin", "mlflow", "prefect", "worker", "ray",
    "ray_client", "ray_dashboard",
)
GRPC = 10_000
"""SeaweedFS takes the port that lies so far above each of its own, too."""
EXTERNAL_POSTGRES = "LLAVAFLOW_STACK_POSTGRES"
LOWEST, HIGHEST = 20_000, 32_000
"""Below the ports that the system itself hands out to clients, with room for those of gRPC above."""


@dataclass(frozen=True)
class Plan:
    """What every program is told, and whoever uses them."""

    ports: dict[str, int]
    passwords: dict[str, str]
    """Of `postgres`, `s3` (access key and secret), `mlflow`, `mlflow_session`, `prefect` and `ray`."""
    postgres: str | None = None
    """URL of an existing server (no database in it); None to start one."""

    def url(self, name: str) -> str:
        """http://host:port of a program."""
        return f"http://{HOST}:{self.ports[name]}"

    def database(self, name: str, driver: str = "") -> str:
        """SQLAlchemy's URL of a database."""
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        if self.postgres is not None:
            return urlunsplit((scheme, urlsplit(self.postgres).netloc, f"/{name}", urlsplit(self.postgres).query, ""))
        return f"{scheme}://{USER}:{quote(self.passwords['postgres'])}@{HOST}:{self.ports['postgres']}/{name}"

    @property
    def prefect_login(self) -> str:
        """`user:password`, as Prefect wants it."""
        return f"{USER}:{self.passwords['prefect']}"

    def secrets(self) -> list[str]:
        """Every word that must not be seen anywhere."""
        outside = urlsplit(self.postgres).password if self.postgres else None
        return [*self.passwords.values(), *([outside] if outside else [])]


def read_plan(places: Places) -> Plan | None:
    """The plan of a stack that was started before; None if there is none. Raises StackProblem if it is no plan."""
    if not places.plan.exists():
        return None
    try:
        return Plan(**json.loads(places.plan.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise StackProblem(f"{places.plan} cannot be read ({error}); remove {places.home}, or restore it") from error


def make_plan(places: Places) -> Plan:
    """The plan to start with. Secrets stay what they were, as the databases know them; taken ports are replaced."""
    known = read_plan(places)
    ports = {} if known is None else {name: port for name, port in known.ports.items() if _free(port)}
    unused = _unused(places, set(ports.values()))
    ports |= {name: next(unused) for name in PORTS if name not in ports}
    passwords = new_passwords() if known is None else known.passwords
    plan = Plan(ports, passwords, os.environ.get(EXTERNAL_POSTGRES) or (known.postgres if known else None))
    write_private(places.plan, json.dumps(asdict(plan), indent=1) + "\n")
    return plan


def new_passwords() -> dict[str, str]:
    """Fresh ones. Hexadecimal, so that none needs quoting anywhere."""
    names = ("postgres", "s3_access", "s3_secret", "mlflow", "mlflow_session", "prefect", "ray")
    return {name: secrets.token_hex(32 if name == "ray" else 20) for name in names}


def _unused(places: Places, taken: Collection[int]) -> Iterator[int]:
    """Free ports, each with the one that gRPC takes; two stacks begin at two places."""
    start = int(places.id, 16) % (HIGHEST - LOWEST)
    for step in range(HIGHEST - LOWEST):
        port = LOWEST + (start + step) % (HIGHEST - LOWEST)
        if port not in taken and _free(port) and _free(port + GRPC):
            yield port
    raise StackProblem(f"no port between {LOWEST} and {HIGHEST} on {HOST} is free; stop other servers")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
