"""prefect.yaml: only keys that Prefect knows (it ignores others in silence), and entrypoints that are what they say."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.cli.deploy import _models as known
from pydantic import BaseModel

PARAMETERS = ["experiment", "overrides", "tag"]
Tree = dict[str, Any]


@pytest.fixture(scope="module")
def tree(project: Path) -> Tree:
    loaded = yaml.safe_load((project / "prefect.yaml").read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def unknown(tree: Tree, model: type[BaseModel], where: str) -> list[str]:
    """Keys that a model of Prefect does not have: by name or alias."""
    names = set(model.model_fields) | {field.alias for field in model.model_fields.values() if field.alias}
    return [f"{where}.{key}" for key in tree if key not in names]


def all_unknown(tree: Tree) -> Iterator[str]:
    """Unknown keys on every level that Prefect has a model for."""
    yield from unknown(tree, known.PrefectYamlModel, "prefect.yaml")
    for deployment in tree.get("deployments", []):
        where = f"deployments[{deployment.get('name')}]"
        yield from unknown(deployment, known.DeploymentConfig, where)
        yield from unknown(deployment.get("work_pool") or {}, known.WorkPoolConfig, f"{where}.work_pool")
        if isinstance(limit := deployment.get("concurrency_limit"), dict):
            yield from unknown(limit, known.ConcurrencyLimitSpec, f"{where}.concurrency_limit")
        for schedule in deployment.get("schedules") or []:
            yield from unknown(schedule, known.RawScheduleConfig, f"{where}.schedules")


def test_prefect_knows_every_key(tree: Tree) -> None:
    assert list(all_unknown(tree)) == []
    known.PrefectYamlModel.model_validate(tree)


def test_a_mistyped_key_is_seen_on_every_level(tree: Tree) -> None:
    deployment = {
        "entry_point": "a.b",
        "work_pool": {"nam": "y"},
        "concurrency_limit": {"limits": 1},
        "schedules": [{"cron": "0 0 * * *", "time_zone": "Etc/UTC"}],
    }
    mistyped = {**tree, "deployment": [], "deployments": [deployment]}
    assert len(list(all_unknown(mistyped))) == 5


def test_schedules_are_in_utc_and_have_a_slug(tree: Tree) -> None:
    schedules = [schedule for deployment in tree["deployments"] for schedule in deployment.get("schedules", [])]
    assert schedules
    assert all(schedule["timezone"] == "Etc/UTC" and schedule["slug"] for schedule in schedules)


def test_entrypoints_are_module_paths_to_flows_of_the_spine(tree: Tree) -> None:
    for deployment in tree["deployments"]:
        module, name = deployment["entrypoint"].rsplit(".", 1)
        flow = getattr(importlib.import_module(module), name)
        assert flow.fn.__module__ == "flows.pipeline"
        assert list(inspect.signature(flow.fn).parameters) == PARAMETERS


def test_parameters_of_deployments_and_schedules_are_those_of_the_flow(tree: Tree) -> None:
    for deployment in tree["deployments"]:
        assert set(deployment["parameters"]) == set(PARAMETERS)
        for schedule in deployment.get("schedules", []):
            assert set(schedule.get("parameters", {})) <= set(PARAMETERS)
