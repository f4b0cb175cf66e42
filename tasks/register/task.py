"""Stages register and promote, as the orchestrator runs them."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.artifacts import Checkpoint, EvalReport, Frozen, ModelVersion, Promotion
from tasks.making import StageRun
from tasks.register.desk import Desk
from tasks.register.registry import Candidate, MlflowRegistry
from tasks.register.run import Judged, judge_model, promote_model, register_model


class Decided(Frozen):
    """What the gate found, and what came of it."""

    judged: Judged
    promotion: Promotion


@task(name="register", task_run_name="register {registry.name}", cache_policy=NO_CACHE)
def register(
    run: StageRun, registry: MlflowRegistry, candidate: Candidate, checkpoint: Checkpoint, evaluation: EvalReport
) -> ModelVersion:
    """The version of the checkpoint in the registry; the same checkpoint and evaluation again give the same."""
    with run.step("register") as step:
        version = register_model(
            registry, candidate, run.local(checkpoint), run.local(evaluation), run.experiment.description,
            run.experiment.model_dump(mode="json"), step,
        )
        step.made(f"{version.name} version {version.version}")
        if version.run_id != candidate.run_id:
            step.found("it is registered already")
    return version


@task(name="promote", task_run_name="promote {version.name} version {version.version}?", cache_policy=NO_CACHE)
def promote(
    run: StageRun, desk: Desk, registry: MlflowRegistry, version: ModelVersion, evaluation: EvalReport
) -> Decided:
    """Ask the gate, and move the alias of the champion if it says so."""
    with run.step("promote") as step:
        judged = judge_model(registry, version, run.local(evaluation), run.experiment.gate, run.experiment.seed)
        promotion = promote_model(desk, version, judged, step)
        step.made(f"{promotion.verdict}: champion is version {promotion.champion_after or 'none'}")
        if promotion.champion_before == version.version:
            step.found("it is the champion already")
    return Decided(judged=judged, promotion=promotion)
