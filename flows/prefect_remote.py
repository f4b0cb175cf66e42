"""The Prefect API that is configured, for commands that ask something of a server that stays."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from configs.settings import Settings
from flows.environment import prepare_environment
from tasks.errors import EnvironmentProblem

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient


@contextmanager
def configured_client() -> Iterator[SyncPrefectClient]:
    """A client of the configured API.

    Raises EnvironmentProblem where none is configured, where it cannot be reached, and where it refuses a request.
    """
    prepare_environment(Settings())
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        raise EnvironmentProblem("no Prefect API is configured: set LLAVAFLOW_PREFECT_API_URL, e.g. http://host:4200/api")
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError

    try:
        with get_client(sync_client=True) as client:
            yield client
    except PrefectHTTPStatusError as error:
        said = " ".join(error.response.text.split())[:300]
        remedy = "; set PREFECT_API_AUTH_STRING" if error.response.status_code == 401 else ""
        raise EnvironmentProblem(f"{url} refused with {error.response.status_code}: {said}{remedy}") from error
    except (httpx.TransportError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not str(error).startswith("Failed to reach API"):
            raise
        raise EnvironmentProblem(f"no Prefect API answers at {url}: {' '.join(str(error).split())}") from error
