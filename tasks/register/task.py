"""Stages register and promote, as the orchestrator runs them."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.artifacts import Checkpoint, EvalReport, Frozen, ModelVersion, Promotion
from tasks.making import StageRun
from tasks.progress import Progress
from tasks.register.desk import Desk
from tasks.register.evidence import Surroundings
from tasks.register.registry import MlflowRegistry
from tasks.register.run import (
    Anew,
    Judged,
    Material,
    check_champion,
    judge_model,
    promote_model,
    register_model,
)
from tasks.register.version import Candidate
from tasks.stages import Built, StageSpec


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
        experiment = run.experiment
        material = Material(
            run.local(checkpoint), checkpoint.uri, run.local(evaluation), experiment.description,
            experiment.model_dump(mode="json"),
        )
        version = register_model(registry, candidate, material, experiment.registry, step)
        step.made(f"{version.name} version {version.version}")
        if version.run_id != candidate.run_id:
            step.found("it is registered already")
    return version


@task(name="champion", task_run_name="champion {version} out of the registry", cache_policy=NO_CACHE)
def champion(run: StageRun, spec: StageSpec[Checkpoint], registry: MlflowRegistry, version: str) -> Checkpoint:
    """The weights of the champion as a checkpoint, to be evaluated by the present rules."""

    def build(folder: Path, progress: Progress) -> Built:
        registry.fetch_weights(version, folder / "model")
        return Built(facts={"version": version})

    return run.make(spec, build)


@task(name="promote", task_run_name="promote {version.name} version {version.version}?", cache_policy=NO_CACHE)
def promote(
    run: StageRun, desk: Desk, registry: MlflowRegistry, version: ModelVersion, evaluation: EvalReport,
    found: Surroundings, anew: tuple[str, EvalReport] | None,
) -> Decided:
    """Ask the gate, move the alias of the champion if it says so, and see that the new one answers as it did.

    `anew` is a champion and its evaluation by the present rules, where the one in the registry was made by others.
    """
    with run.step("promote") as step:
        gate, again = run.experiment.gate, None
        if anew is not None:
            again = Anew(anew[0], anew[1].digest, run.local(anew[1]))
        judged = judge_model(registry, version, run.local(evaluation), gate, run.experiment.seed, found, again)
        promotion = promote_model(desk, version, judged, step, gate.approval_hours)
        promotion = check_champion(desk, registry, promotion, step)
        step.made(f"{promotion.verdict}: champion is version {promotion.champion_after or 'none'}")
        if promotion.champion_before == promotion.champion_after == version.version:
            step.found("it is the champion already")
    return Decided(judged=judged, promotion=promotion)
