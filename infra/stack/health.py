"""Whether a service does its work by now. None of these raises where it does not."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

from infra.stack.plan import BUCKET, Plan

PATIENCE = 3.0
"""Seconds that one question may take."""
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def answers(url: str, headers: dict[str, str] | None = None) -> bool:
    """Whether it says 200."""
    return _body(url, headers) is not None


def postgres(plan: Plan) -> bool:
    """Whether it takes our password."""
    import psycopg

    try:
        with psycopg.connect(plan.database("postgres"), connect_timeout=round(PATIENCE)) as connection:
            connection.execute("select 1")
    except psycopg.Error:
        return False
    return True


def s3(plan: Plan) -> bool:
    """Whether it lists the bucket for our key: it answers some time before it can."""
    import s3fs

    try:
        OPENER.open(plan.url("s3"), timeout=PATIENCE).close()
    except urllib.error.HTTPError:  # it is there, and wants a key
        pass
    except OSError:
        return False
    filesystem = s3fs.S3FileSystem(
        key=plan.passwords["s3_access"], secret=plan.passwords["s3_secret"], use_listings_cache=False,
        skip_instance_cache=True,
        client_kwargs={"endpoint_url": plan.url("s3"), "region_name": "us-east-1"},
        config_kwargs={"connect_timeout": PATIENCE, "read_timeout": PATIENCE, "retries": {"max_attempts": 1}},
    )
    try:
        filesystem.ls(BUCKET)
    except OSError:
        return False
    return True


def ray_nodes(plan: Plan) -> int:
    """How many nodes of the cluster are alive."""
    return len(_alive(plan))


def ray_has(plan: Plan, resource: str) -> bool:
    """Whether a node that is alive has a resource."""
    return any(resource in node for node in _alive(plan))


def _alive(plan: Plan) -> list[dict[str, float]]:
    """Resources of each node that is alive."""
    token = {"Authorization": f"Bearer {plan.passwords['ray']}"}
    body = _body(f"{plan.url('ray_dashboard')}/api/v0/nodes?detail=1", token)
    if body is None:
        return []
    try:
        nodes = json.loads(body)["data"]["result"]["result"]
    except (ValueError, KeyError, TypeError):
        return []
    return [node.get("resources_total") or {} for node in nodes if node.get("state") == "ALIVE"]


def _body(url: str, headers: dict[str, str] | None = None) -> bytes | None:
    try:
        with OPENER.open(urllib.request.Request(url, headers=headers or {}), timeout=PATIENCE) as reply:
            return bytes(reply.read())
    except (OSError, ValueError):  # HTTPError is an OSError
        return None
