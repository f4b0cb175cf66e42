"""Whether the servers that Settings name let us in: a wrong password is told before anything is begun, in one line.

What is not clearly a refusal is no problem here: who cannot answer is found out elsewhere, with more patience.
"""

from __future__ import annotations

import base64
import os
import urllib.error
import urllib.request
from collections.abc import Callable

from configs.settings import Settings

PATIENCE = 10.0
REFUSALS = {401, 403}


def login_problem(service: str, settings: Settings) -> str | None:
    """Why a service does not let us in, naming the variable to mend; None if it does, or cannot be asked."""
    ask = ASKED.get(service)
    return None if ask is None else ask(settings)


def _prefect(settings: Settings) -> str | None:
    url, login = settings.prefect_api_url, os.environ.get("PREFECT_API_AUTH_STRING")
    refused = url is not None and _refused(f"{url.rstrip('/')}/admin/version", login)
    return "it refuses our login; set PREFECT_API_AUTH_STRING" if refused else None


def _mlflow(settings: Settings) -> str | None:
    names = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
    if settings.mlflow_uri is None or os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return None
    user, password = (os.environ.get(name, "") for name in names)
    url = f"{settings.mlflow_uri.rstrip('/')}/api/2.0/mlflow/experiments/search?max_results=1"
    refused = _refused(url, f"{user}:{password}" if user else None)
    return f"it refuses our login; set {' and '.join(names)}" if refused else None


def _ledger(settings: Settings) -> str | None:
    import sqlalchemy as sa
    from sqlalchemy.exc import SQLAlchemyError

    if settings.ledger_url is None or settings.ledger_url.startswith("sqlite"):
        return None
    try:
        engine = sa.create_engine(settings.ledger_url, poolclass=sa.NullPool)
        with engine.connect():
            return None
    except (SQLAlchemyError, ImportError) as error:
        said = " ".join(str(getattr(error, "orig", None) or error).split())
        refused = any(word in said for word in ("authentication failed", "no password supplied", "Access denied"))
        return "it refuses our password; mend LLAVAFLOW_LEDGER_URL" if refused else None


def _s3(settings: Settings) -> str | None:
    if settings.store is None or not settings.store.startswith("s3://"):
        return None
    import s3fs

    told = {"endpoint_url": settings.s3_endpoint} if settings.s3_endpoint else {}
    filesystem = s3fs.S3FileSystem(
        **told, use_listings_cache=False, skip_instance_cache=True,
        config_kwargs={"connect_timeout": PATIENCE, "read_timeout": PATIENCE, "retries": {"max_attempts": 1}},
    )
    try:
        filesystem.ls(settings.store.removeprefix("s3://").partition("/")[0])
    except PermissionError:
        return "it refuses our key; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    except OSError:
        return None
    return None


def _refused(url: str, login: str | None) -> bool:
    headers = {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"} if login else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=PATIENCE):
            return False
    except urllib.error.HTTPError as error:
        error.close()
        return error.code in REFUSALS
    except (OSError, ValueError):
        return False


ASKED: dict[str, Callable[[Settings], str | None]] = {
    "prefect": _prefect, "mlflow": _mlflow, "ledger": _ledger, "s3": _s3,
}
"""What is asked of each service, by the name that the doctor gives it."""
