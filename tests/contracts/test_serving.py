"""infra/ of the endpoint: every metric that dashboard and alerts name exists, and Ray Serve takes its file."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import yaml

from configs.load import load_serving
from tasks.serve.figures import Figures

NAME = re.compile(r"llavaflow_[a-z_]+")


def existing() -> dict[str, set[str]]:
    """Names of samples with their labels, as a scraper sees them."""
    figures = Figures()
    found: dict[str, set[str]] = {}
    for metric in vars(figures).values():
        for family in getattr(metric, "describe", list)():
            labels = set(getattr(metric, "_labelnames", ()))
            endings = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}[family.type]
            for ending in endings:
                found[family.name + ending] = labels | ({"le"} if ending == "_bucket" else set())
    return found


def expressions(project: Path) -> list[str]:
    dashboard = json.loads((project / "infra/dashboards/serve.json").read_text(encoding="utf-8"))
    rules = yaml.safe_load((project / "infra/serve/alerts.yaml").read_text(encoding="utf-8"))
    told = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return told + [rule["expr"] for group in rules["groups"] for rule in group["rules"]]


def test_every_metric_that_is_shown_or_alerted_on_exists(project: Path) -> None:
    known = existing()
    named = {name for expression in expressions(project) for name in NAME.findall(expression)}
    assert named and named <= set(known)
    for expression in expressions(project):
        labels = {name for part in re.findall(r"by \(([^)]*)\)", expression) for name in part.split(", ")}
        labels |= set(re.findall(r"[{,]\s*(\w+)=", expression))
        assert labels <= set().union(*(known[name] for name in NAME.findall(expression))), expression


def test_every_metric_is_shown(project: Path) -> None:
    named = {name for expression in expressions(project) for name in NAME.findall(expression)}
    bases = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in existing()}
    assert bases == {re.sub(r"_(total|bucket)$", "", name) for name in named}


def test_panels_have_ids_of_their_own_and_do_not_overlap(project: Path) -> None:
    panels = json.loads((project / "infra/dashboards/serve.json").read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)


def test_ray_serve_takes_the_file_and_what_it_names_exists(project: Path) -> None:
    from ray.serve.schema import ServeDeploySchema

    told: dict[str, Any] = yaml.safe_load((project / "infra/serve/ray-serve.yaml").read_text(encoding="utf-8"))
    checked = ServeDeploySchema.model_validate(told)
    (application,) = checked.applications
    for named in (application.import_path, application.args["parts"]):
        module, _, function = str(named).partition(":")
        assert callable(getattr(importlib.import_module(module), function))
    limits = load_serving(application.args["set"]).limits
    (deployment,) = told["applications"][0]["deployments"]
    assert deployment["max_ongoing_requests"] >= limits.concurrency + limits.queue, "Ray must not queue in front of us"
    assert told["http_options"]["request_timeout_s"] > limits.seconds
    assert deployment["autoscaling_config"]["target_ongoing_requests"] <= limits.concurrency
