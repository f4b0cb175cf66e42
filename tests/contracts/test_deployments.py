"""prefect.yaml: only keys that Prefect knows (it ignores others in silence), and entrypoints that are what they say."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

import pytest
import yaml
from prefect.cli.deploy import _models as known
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.client.schemas.schedules import CronSchedule
from prefect.flows import Flow
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools import validate
from pydantic import BaseModel

PARAMETERS = ["experiment", "overrides", "tag"]
DEPLOYED = {
    "retrain": "flows.pipeline.pipeline", "data": "flows.deployed.data",
    "evaluate": "flows.deployed.champion_evaluation", "promote": "flows.deployed.promotion",
}  # fmt: skip
POOLS = ("process", "docker", "kubernetes")
SIZE_LIMIT = 524_288
"""Of a flow run's parameters, in bytes: PREFECT_SERVER_API_MAX_PARAMETER_SIZE."""
ANCHORS = "definitions"
"""The one key of ours: Prefect ignores it, and YAML needs a place for anchors."""
Tree = dict[str, Any]


@pytest.fixture(scope="module")
def tree(project: Path) -> Tree:
    loaded = yaml.safe_load((project / "prefect.yaml").read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


@pytest.fixture(scope="module")
def pool_variables() -> dict[str, set[str]]:
    """Job variables that each type of work pool knows, as Prefect ships them."""
    import prefect

    views = Path(prefect.__file__).parent / "server" / "api" / "collections_data" / "views"
    packages = json.loads((views / "aggregate-worker-metadata.json").read_text(encoding="utf-8"))
    types = {name: worker for workers in packages.values() for name, worker in workers.items()}
    return {name: set(types[name]["default_base_job_configuration"]["variables"]["properties"]) for name in POOLS}


def unknown(tree: Tree, model: type[BaseModel], where: str) -> list[str]:
    """Keys that a model of Prefect does not have: by name or alias."""
    names = set(model.model_fields) | {field.alias for field in model.model_fields.values() if field.alias}
    return [f"{where}.{key}" for key in tree if key not in names]


def all_unknown(tree: Tree) -> Iterator[str]:
    """Unknown keys on every level that Prefect has a model for."""
    yield from unknown({key: tree[key] for key in tree if key != ANCHORS}, known.PrefectYamlModel, "prefect.yaml")
    for deployment in tree.get("deployments", []):
        where = f"deployments[{deployment.get('name')}]"
        yield from unknown(deployment, known.DeploymentConfig, where)
        yield from unknown(deployment.get("work_pool") or {}, known.WorkPoolConfig, f"{where}.work_pool")
        if isinstance(limit := deployment.get("concurrency_limit"), dict):
            yield from unknown(limit, known.ConcurrencyLimitSpec, f"{where}.concurrency_limit")
        for schedule in deployment.get("schedules") or []:
            yield from unknown(schedule, known.RawScheduleConfig, f"{where}.schedules")


def flow_of(deployment: Tree) -> Flow[..., Any]:
    module, name = deployment["entrypoint"].rsplit(".", 1)
    flow = getattr(importlib.import_module(module), name)
    assert isinstance(flow, Flow)
    return flow


def parameter_sets(deployment: Tree) -> list[Tree]:
    """What a run is given by hand, and by each schedule."""
    own: Tree = deployment["parameters"]
    return [own, *(own | schedule.get("parameters", {}) for schedule in deployment["schedules"])]


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


def test_the_deployments_are_the_whole_and_its_parts(tree: Tree) -> None:
    assert {one["name"]: one["entrypoint"] for one in tree["deployments"]} == DEPLOYED


def test_schedules_parse_and_have_a_time_zone_and_a_slug_of_their_own(tree: Tree) -> None:
    schedules = [(one["name"], schedule) for one in tree["deployments"] for schedule in one["schedules"]]
    assert schedules
    for _, schedule in schedules:
        CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"])
        assert schedule["timezone"] in available_timezones()
        assert schedule["active"] is False, "whoever registers the deployments says what starts by itself"
    slugs = [(name, schedule["slug"]) for name, schedule in schedules]
    assert len(slugs) == len(set(slugs)) and all(slug for _, slug in slugs)


def test_a_cron_that_is_none_is_seen() -> None:
    with pytest.raises(ValueError, match="cron"):
        CronSchedule(cron="0 3 * * MO-", timezone="Etc/UTC")


def test_parameters_fit_the_schema_that_prefect_makes_of_the_flow(tree: Tree) -> None:
    for deployment in tree["deployments"]:
        schema = parameter_schema(flow_of(deployment)).model_dump_for_openapi()
        assert list(schema["properties"]) == PARAMETERS
        assert deployment["enforce_parameter_schema"] is True
        for parameters in parameter_sets(deployment):
            assert set(parameters) == set(PARAMETERS)
            validate(parameters, schema, raise_on_error=True)
            assert len(json.dumps(parameters)) < SIZE_LIMIT / 100


def test_one_run_at_a_time_and_what_becomes_of_the_next_is_said(tree: Tree) -> None:
    for deployment in tree["deployments"]:
        limit = ConcurrencyLimitConfig.model_validate(deployment["concurrency_limit"])
        assert limit.limit == 1
        assert set(deployment["concurrency_limit"]) == {"limit", "collision_strategy", "grace_period_seconds"}


def test_places_come_from_the_environment_and_pools_know_the_job_variables(
    tree: Tree, pool_variables: dict[str, set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.utilities.templating import apply_values

    monkeypatch.setenv("LLAVAFLOW_WORK_POOL", "gpus")
    monkeypatch.setenv("LLAVAFLOW_IMAGE", "registry.example/llavaflow:1")
    for deployment in tree["deployments"]:
        place = apply_values(deployment["work_pool"], {})
        assert place["name"] == "gpus"
        assert place["job_variables"] == {"image": "registry.example/llavaflow:1"}
        assert all(set(place["job_variables"]) <= pool_variables[kind] for kind in ("docker", "kubernetes"))
    monkeypatch.delenv("LLAVAFLOW_IMAGE")
    for deployment in tree["deployments"]:
        # No image: a process pool does not know the word, and takes no notice of it.
        assert apply_values(deployment["work_pool"], {})["job_variables"] == {"image": ""}
    assert "image" not in pool_variables["process"]


def test_deployments_carry_the_tag_that_automations_look_for(tree: Tree, project: Path) -> None:
    assert all(deployment["tags"] == ["llavaflow"] for deployment in tree["deployments"])
    assert "prefect.tag.llavaflow" in (project / "infra" / "automations.yaml").read_text(encoding="utf-8")
