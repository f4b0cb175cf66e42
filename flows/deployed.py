"""Flows that only deployments run: parts of the spine that have a schedule of their own.

Each takes what every deployment takes: an experiment, overrides and a tag.
"""

from __future__ import annotations

from collections.abc import Sequence

from prefect import flow

from configs.load import load_experiment
from flows.evaluation import evaluation
from flows.named_model import Named
from flows.outcome import Ending
from flows.pipeline import part, pipeline
from flows.plan import Plan, make_plan
from flows.prefect_artifacts import title
from tasks.errors import ArtifactError

NEVER_BUILT_HERE = ("ingest", "generate", "shard", "base", "align", "instruct")
"""What the promotion flow takes as it is: data and weights. An evaluation it may make anew."""


@flow(name="data", flow_run_name=title)
def data(experiment: str, overrides: tuple[str, ...] = (), tag: str = "") -> Ending:
    """Images, conversations and shards, and no further: nothing is trained."""
    return part.fn(experiment, "shard", overrides, tag)


@flow(name="champion-evaluation", flow_run_name=title)
def champion_evaluation(experiment: str, overrides: tuple[str, ...] = (), tag: str = "") -> Ending:
    """Ask the present champion the experiment's benchmarks: nothing is trained, nothing is promoted.

    Raises ConfigError if there is no champion.
    """
    registry = load_experiment(experiment, overrides).registry
    return evaluation.fn(experiment, Named(f"models:/{registry.model_name}@{registry.alias}"), overrides, tag)


@flow(name="promotion", flow_run_name=title)
def promotion(experiment: str, overrides: tuple[str, ...] = (), tag: str = "") -> Ending:
    """Judge the trained model of an experiment (again) by the gate: data and weights are taken as they are.

    Raises ArtifactError if they would have to be made.
    """
    check_trained(make_plan(experiment, overrides), NEVER_BUILT_HERE)
    return pipeline.fn(experiment, overrides, tag)


def check_trained(plan: Plan, needed: Sequence[str]) -> None:
    """Raise ArtifactError for the first stage that is needed and not there."""
    for stage in plan.stages:
        if stage.name in needed and not stage.cached:
            raise ArtifactError(
                f"{stage.name} of {plan.experiment} is not there ({stage.reason}), and a promotion builds nothing: "
                "run the deployment pipeline/retrain first"
            )
