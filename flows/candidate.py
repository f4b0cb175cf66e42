"""What stages register and promote are told of a run: where the model comes from, and what is round it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flows.report_page import environment_of
from tasks.artifacts import Artifact, EvalReport, digest_of
from tasks.code import PROJECT
from tasks.register.evidence import Surroundings
from tasks.register.leak import overlap
from tasks.register.provenance import provenance_of
from tasks.register.version import Candidate

if TYPE_CHECKING:
    from flows.pipeline import Spine

HARDWARE = ("Machine", "Workers", "Python")
ANSWERS = ("scienceqa/questions", "llava_bench/questions", "llava_bench/judged")
"""Counts of an evaluation that say how many examples were answered, of which each benchmark has one at least."""


def candidate_of(spine: Spine) -> Candidate:
    """What the model is registered with."""
    run, config = spine.run, spine.run.experiment.model_dump(mode="json")
    train, known = run.experiment.train, environment_of(run)
    artifacts: dict[str, Artifact] = {
        "ingest": spine.images, "generate": spine.conversations, "shard": spine.shards, "base": spine.base,
        "align": spine.aligned, "instruct": spine.instructed, "evaluate": spine.evaluation,
    }
    provenance = provenance_of(
        artifacts, config, {name: known[name] for name in HARDWARE}, PROJECT,
        train.workers * max(1, train.gpus_per_worker),
    )
    return Candidate(
        experiment=run.experiment.id, run=run.id, run_id=run.tracked.mlflow.run_id, checkpoint=spine.instructed.digest,
        evaluation=spine.evaluation.digest, git_commit=run.code.commit, git_dirty=run.code.dirty,
        data={name: made.digest for name, made in spine.data().items()}, config=digest_of(config),
        provenance=provenance,
    )


def surroundings_of(spine: Spine) -> Surroundings:
    """What the gate asks about beside the scores."""
    run, paid = spine.run, spine.conversations.facts.get("usd_spent")
    mixed = [shards for stage in ("align", "instruct") for shards in run.specs.mixed(stage).values()]
    return Surroundings(
        overlap=overlap(run.local(spine.shards), run.local(spine.evaluation), [*map(run.local, mixed)]),
        teacher_usd=float(paid) if isinstance(paid, int | float) else None,
        seconds_per_answer=seconds_per_answer(spine.evaluation, times=2 if run.experiment.evaluate.blind else 1),
        weight_bytes=weight_bytes(run.local(spine.instructed) / "model"),
    )


def seconds_per_answer(evaluation: EvalReport, times: int) -> float | None:
    """Time of the evaluation over its answers, the judge's time included; `times` is 2 where blind ones were asked for.

    What the evaluation itself tells comes first.
    """
    told = evaluation.facts.get("seconds_per_answer")
    if isinstance(told, int | float):
        return float(told)
    counts = evaluation.counts
    asked = counts.get(ANSWERS[0], 0) + max(counts.get(name, 0) for name in ANSWERS[1:])
    return evaluation.made_by.seconds / (asked * times) if asked and evaluation.made_by.seconds else None


def weight_bytes(model: Path) -> int:
    """Size of the weights of a Hugging Face folder."""
    return sum(path.stat().st_size for path in model.glob("*.safetensors"))
