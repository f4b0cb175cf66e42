"""The environment of whoever uses the stack: the worker, and a person who sources the file `env`."""

from __future__ import annotations

import os
import shlex

from infra.stack.places import PROJECT, Places
from infra.stack.plan import BUCKET, HOST, USER, Plan


def client_environment(places: Places, plan: Plan) -> dict[str, str]:
    """Addresses and keys, by the names that llavaflow and the libraries know."""
    return {
        "LLAVAFLOW_ROOT": str((PROJECT / os.environ.get("LLAVAFLOW_ROOT", "runs")).absolute()),
        "LLAVAFLOW_STORAGE": f"s3://{BUCKET}",
        "LLAVAFLOW_S3_ENDPOINT": plan.url("s3"),
        "LLAVAFLOW_LEDGER_URL": plan.database("ledger", "psycopg"),
        "LLAVAFLOW_MLFLOW_URI": plan.url("mlflow"),
        "LLAVAFLOW_PREFECT_API_URL": f"{plan.url('prefect')}/api",
        "LLAVAFLOW_RAY_ADDRESS": f"{HOST}:{plan.ports['ray']}",
        "LLAVAFLOW_WORK_POOL": "llavaflow",
        "AWS_ACCESS_KEY_ID": plan.passwords["s3_access"],
        "AWS_SECRET_ACCESS_KEY": plan.passwords["s3_secret"],
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": plan.url("s3"),
        "MLFLOW_TRACKING_URI": plan.url("mlflow"),
        "MLFLOW_TRACKING_USERNAME": USER,
        "MLFLOW_TRACKING_PASSWORD": plan.passwords["mlflow"],
        "PREFECT_API_URL": f"{plan.url('prefect')}/api",
        "PREFECT_API_AUTH_STRING": plan.prefect_login,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": plan.passwords["ray"],
        "RAY_API_SERVER_ADDRESS": plan.url("ray_dashboard"),
        "NO_PROXY": "localhost,127.0.0.1",
        "no_proxy": "localhost,127.0.0.1",
    }


def env_file(places: Places, plan: Plan) -> str:
    """The same as a shell reads it."""
    head = "# Source this to use the stack: `. .stack/env`. It holds secrets.\n"
    lines = (f"export {name}={shlex.quote(value)}\n" for name, value in client_environment(places, plan).items())
    return head + "".join(lines)
