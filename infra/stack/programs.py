"""The programs of the stack: what each is started with, what it needs to be up before it, how one sees that it is up.

Secrets go into environments only: whoever lists processes sees none.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.stack import health
from infra.stack.client import client_environment
from infra.stack.places import PROJECT, Places
from infra.stack.plan import BUCKET, HOST, USER, Plan
from infra.stack.postgres import has_trigrams, postgres_command, postgres_user, programs_folder

BIN = Path(sys.executable).parent
NODES = ("ray-node-1", "ray-node-2")
WORK_POOL = "llavaflow"
MARK = "LLAVAFLOW_STACK_PROCESS"
"""Variable that every process of the stack inherits, and nobody who uses it: what is left behind is known by it."""
OBJECT_STORE = 200_000_000
"""Bytes of shared memory of each Ray node."""
INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH", "SSL_CERT_FILE", "LD_LIBRARY_PATH")
QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONUNBUFFERED": "1",
    "NO_PROXY": "localhost,127.0.0.1",
    "no_proxy": "localhost,127.0.0.1",
}


@dataclass(frozen=True)
class Program:
    """One program of the stack."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    needs: tuple[str, ...]
    healthy: Callable[[], bool]
    """Whether it does its work by now. Must not raise while it does not."""
    folder: Path
    user: str | None = None
    """The user to run as; None for whoever starts the stack."""
    stop_signal: str = "TERM"
    whole_environment: bool = False
    """Whether it is given all of the starter's own environment, as flow runs may need keys from there."""
    needs_seconds: float = 300.0
    """How long it may take to come up: a minute on a machine that has nothing else to do."""


def programs(places: Places, plan: Plan) -> list[Program]:
    """Every program, each after what it needs."""
    found = [] if plan.postgres is not None else [_postgres(places, plan)]
    needs_postgres = tuple(program.name for program in found)
    found += [_s3(places, plan), _ray_head(places, plan)]
    found += [_mlflow(places, plan, needs_postgres), _prefect(places, plan, needs_postgres)]
    found += [_ray_node(places, plan, name) for name in NODES]
    return [*found, _worker(places, plan)]


def environment_of(program: Program, places: Places, surroundings: Mapping[str, str]) -> dict[str, str]:
    """All variables that a program is started with."""
    taken = surroundings if program.whole_environment else {
        name: surroundings[name] for name in INHERITED if name in surroundings
    }
    home = {} if program.whole_environment else {"HOME": str(places.data)}
    path = os.pathsep.join((str(BIN), taken.get("PATH", os.defpath)))
    return {**taken, **home, **QUIET, **program.environment, "PATH": path, MARK: places.id}


def _postgres(places: Places, plan: Plan) -> Program:
    folder = places.data / "postgres"
    return Program(
        "postgres", postgres_command(folder, plan.ports["postgres"]), {}, (), lambda: health.postgres(plan),
        folder, user=postgres_user(), stop_signal="INT",  # which does not wait until every client has gone
    )


def _s3(places: Places, plan: Plan) -> Program:
    folder = places.data / "s3"
    parts = {"s3.port": "s3", "master.port": "s3_master", "volume.port": "s3_volume", "filer.port": "s3_filer",
             "admin.port": "s3_admin"}  # fmt: skip
    command = (
        str(BIN / "weed"), "mini", f"-dir={folder}", f"-ip={HOST}", f"-ip.bind={HOST}", f"-bucket={BUCKET}",
        *(f"-{part}={plan.ports[name]}" for part, name in parts.items()),
        "-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
    )
    return Program("s3", command, s3_keys(plan), (), lambda: health.s3(plan), folder)


def s3_keys(plan: Plan) -> dict[str, str]:
    """The keys of the bucket."""
    return {
        "AWS_ACCESS_KEY_ID": plan.passwords["s3_access"],
        "AWS_SECRET_ACCESS_KEY": plan.passwords["s3_secret"],
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def _mlflow(places: Places, plan: Plan, needs: tuple[str, ...]) -> Program:
    command = [
        str(BIN / "mlflow"), "server", "--host", HOST, "--port", str(plan.ports["mlflow"]), "--workers", "1",
        "--artifacts-destination", f"s3://{BUCKET}/mlflow",
    ]
    environment = {
        **s3_keys(plan), "MLFLOW_S3_ENDPOINT_URL": plan.url("s3"),
        "MLFLOW_BACKEND_STORE_URI": plan.database("mlflow", "psycopg"),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    if mlflow_has_login():
        command += ["--app-name", "basic-auth"]
        environment |= {
            "MLFLOW_AUTH_CONFIG_PATH": str(places.home / "mlflow-auth.ini"),
            "MLFLOW_AUTH_ADMIN_USERNAME": USER,
            "MLFLOW_AUTH_ADMIN_PASSWORD": plan.passwords["mlflow"],
            "MLFLOW_FLASK_SERVER_SECRET_KEY": plan.passwords["mlflow_session"],
        }
    return Program(
        "mlflow", tuple(command), environment, (*needs, "s3"), lambda: health.answers(f"{plan.url('mlflow')}/health"),
        places.data / "mlflow",
    )


def mlflow_has_login() -> bool:
    """Whether MLflow can ask for a password: its basic-auth app needs the package Flask-WTF (`mlflow[auth]`)."""
    from importlib.util import find_spec

    return find_spec("flask_wtf") is not None


def auth_file(plan: Plan) -> str:
    """MLflow's file on its users. It holds the URL of their database, and so a password."""
    database = plan.database("mlflow_auth", "psycopg").replace("%", "%%")
    return f"[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = {database}\n" + (
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )


def _prefect(places: Places, plan: Plan, needs: tuple[str, ...]) -> Program:
    environment = {
        "PREFECT_HOME": str(places.data / "prefect"),
        **_prefect_database(plan),
        "PREFECT_SERVER_API_AUTH_STRING": plan.prefect_login,
        "PREFECT_API_AUTH_STRING": plan.prefect_login,
        "PREFECT_API_URL": f"{plan.url('prefect')}/api",
        "PREFECT_UI_API_URL": f"{plan.url('prefect')}/api",
        "PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_SIZE": "5",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    }
    command = (str(BIN / "prefect"), "server", "start", "--host", HOST, "--port", str(plan.ports["prefect"]))
    return Program(
        "prefect", command, environment, needs, lambda: health.answers(f"{plan.url('prefect')}/api/health"),
        places.data / "prefect",
    )


def _prefect_database(plan: Plan) -> dict[str, str]:
    if not prefect_on_postgres(plan):
        return {}  # SQLite under PREFECT_HOME
    return {"PREFECT_SERVER_DATABASE_CONNECTION_URL": plan.database("prefect", "asyncpg")}


def prefect_on_postgres(plan: Plan) -> bool:
    """Whether Prefect's tables can be made in Postgres: they need the extension pg_trgm."""
    return plan.postgres is not None or has_trigrams(programs_folder())


def _worker(places: Places, plan: Plan) -> Program:
    command = (
        str(BIN / "prefect"), "worker", "start", "--pool", WORK_POOL, "--type", "process", "--name", "stack",
        "--limit", "2", "--with-healthcheck", "--install-policy", "never",
    )
    environment = {
        **client_environment(places, plan),
        "PREFECT_WORKER_WEBSERVER_HOST": HOST, "PREFECT_WORKER_WEBSERVER_PORT": str(plan.ports["worker"]),
    }
    # Flow runs of a process worker start in its folder and find the project's packages there.
    path = os.pathsep.join(filter(None, (str(PROJECT), os.environ.get("PYTHONPATH", ""))))
    return Program(
        "worker", command, {**environment, "PYTHONPATH": path}, ("prefect", "mlflow", "s3", *NODES),
        lambda: health.answers(f"{plan.url('worker')}/health"), PROJECT, whole_environment=True,
    )


def _ray(places: Places, plan: Plan) -> dict[str, str]:
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": plan.passwords["ray"],
        # Workers read shards and write checkpoints in the storage themselves.
        "AWS_ACCESS_KEY_ID": plan.passwords["s3_access"],
        "AWS_SECRET_ACCESS_KEY": plan.passwords["s3_secret"],
        "AWS_DEFAULT_REGION": "us-east-1",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        # On a machine that has other things to do, too.
        "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "240",
        # Workers are processes of this project.
        "PYTHONPATH": os.pathsep.join(filter(None, (str(PROJECT), os.environ.get("PYTHONPATH", "")))),
    }


def _ray_head(places: Places, plan: Plan) -> Program:
    command = (
        str(BIN / "ray"), "start", "--head", "--block", "--disable-usage-stats", f"--node-ip-address={HOST}",
        f"--port={plan.ports['ray']}", f"--ray-client-server-port={plan.ports['ray_client']}",
        "--include-dashboard=true", f"--dashboard-host={HOST}", f"--dashboard-port={plan.ports['ray_dashboard']}",
        # What trains runs on the nodes.
        "--num-cpus=0", f"--object-store-memory={OBJECT_STORE}", f"--temp-dir={places.ray}",
    )
    return Program(
        "ray-head", command, _ray(places, plan), (), lambda: health.ray_nodes(plan) >= 1, places.data / "ray-head"
    )


def _ray_node(places: Places, plan: Plan, name: str) -> Program:
    command = (
        str(BIN / "ray"), "start", "--block", "--disable-usage-stats", f"--address={HOST}:{plan.ports['ray']}",
        f"--node-ip-address={HOST}", "--num-cpus=1", f"--object-store-memory={OBJECT_STORE}",
        f'--resources={{"{name}": 1}}', "--include-log-monitor=false",
    )
    return Program(
        name, command, _ray(places, plan), ("ray-head",), lambda: health.ray_has(plan, name), places.data / name
    )
