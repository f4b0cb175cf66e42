"""Fill the report: what the run's artifacts hold, in the words of `tasks.report.inputs`."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from pydantic import JsonValue

from flows.machine import ThisMachine
from flows.outcome import Ending, StageRecord, look_of, shown_path
from flows.run import Run
from tasks.artifacts import Checkpoint, ConversationSet, EvalReport, ImageSet
from tasks.report.collect import (
    read_answers,
    read_benchmarks,
    read_conversations,
    read_curve,
    read_reviews,
    read_watched,
)
from tasks.report.collect_review import read_review
from tasks.report.data_review import DataReview
from tasks.report.evaluation import read_details
from tasks.report.inputs import Compared, Curve, Decision, Reason, ReportInput, Stage
from tasks.report.words import count

if TYPE_CHECKING:
    from flows.pipeline import Spine
    from tasks.register.task import Decided

GIB = 1 << 30
LIBRARIES = ("torch", "transformers", "deepspeed", "ray", "prefect", "mlflow")


def ending_of(run: Run, evaluation: EvalReport, decided: Decided) -> Ending:
    """What the end of the spine knows."""
    scores = evaluation.facts.get("scores")
    assert isinstance(scores, dict), "an evaluation tells its scores"
    return Ending(
        benchmarks=read_benchmarks(run.local(evaluation)),
        scores={name: float(value) for name, value in scores.items() if isinstance(value, int | float)},
        version=decided.promotion.challenger,
        decision=decided.promotion,
        report=shown_path(run.report_file),
    )


def page_of(spine: Spine, decided: Decided) -> ReportInput:
    """Everything on the page."""
    run, evaluation = spine.run, spine.run.local(spine.evaluation)
    spent = [record.usd for record in run.records.values() if record.usd is not None]
    return ReportInput(
        experiment=run.experiment.id,
        description=run.experiment.description,
        run=run.id,
        started=run.started.isoformat(timespec="seconds"),
        seconds=run.seconds,
        seed=run.experiment.seed,
        decision=decision_of(decided),
        benchmarks=run.ending.benchmarks,
        curves=tuple(curves_of(run, {"align": spine.aligned, "instruct": spine.instructed})),
        watched=tuple(
            watched
            for stage, checkpoint in (("align", spine.aligned), ("instruct", spine.instructed))
            for watched in read_watched(stage, run.local(checkpoint))
        ),
        conversations=read_conversations(run.local(spine.conversations), run.local(spine.images)),
        review=review_of(run, spine.conversations, spine.images, run.report_file.name),
        answers=read_answers(evaluation),
        reviews=read_reviews(evaluation),
        details=read_details(evaluation),
        stages=tuple(stage_of(record) for record in run.records.values()),
        usd=sum(spent) if spent else None,
        environment=environment_of(run),
        look=look_of(run),
    )


def review_of(
    run: Run, conversations: ConversationSet, images: ImageSet, report: str | None = None
) -> DataReview:
    """The review of the teacher's data; `report` is the report's page beside it, where there is one."""
    counts, facts = conversations.counts, conversations.facts
    return read_review(run.local(conversations), run.local(images), counts, facts, run.experiment.id, run.id, report)


def decision_of(decided: Decided) -> Decision:
    """The gate's decision as the page shows it."""
    verdict, promotion = decided.judged.verdict, decided.promotion
    return Decision(
        verdict=promotion.verdict,
        version=promotion.challenger,
        champion_before=promotion.champion_before,
        champion_after=promotion.champion_after,
        reasons=tuple(Reason(ok=reason.ok, text=reason.text) for reason in verdict.reasons),
        compared=tuple(Compared(**row.model_dump(exclude={"whole"})) for row in verdict.compared),
    )


def curves_of(run: Run, checkpoints: dict[str, Checkpoint]) -> Iterator[Curve]:
    """The losses of training."""
    for stage, checkpoint in checkpoints.items():
        facts = {name.replace("_", " ").capitalize(): count(number) for name, number in checkpoint.counts.items()}
        facts |= speed_facts(checkpoint.facts)
        yield read_curve(stage, run.local(checkpoint) / "metrics.jsonl", facts)


def speed_facts(facts: Mapping[str, JsonValue]) -> dict[str, str]:
    """How fast a stage trained and what it took, as the page shows it; only what is known of it."""
    shown = {
        "tokens_per_second": ("Tokens a second", "{:,.0f}"), "mfu": ("Utilisation (MFU)", "{:.0%}"),
        "waiting_share": ("Waiting for data", "{:.1%}"), "row_fill": ("Row fill", "{:.0%}"),
        "memory_gb": ("Peak memory of a worker", "{:.1f} GB"), "row_tokens": ("Row budget", "{:,} tokens"),
    }
    found = {words: form.format(facts[name]) for name, (words, form) in shown.items() if name in facts}
    halved = facts.get("out_of_memory")
    return found | ({"Ran out of memory": f"{len(halved)} times"} if isinstance(halved, list) and halved else {})


def stage_of(record: StageRecord) -> Stage:
    """A stage as the page shows it."""
    made = record.made_by
    return Stage(
        name=record.name, cached=record.cached, reason=record.reason, seconds=record.seconds,
        made_seconds=made.seconds if made else None, usd=record.usd, detail=record.detail, digest=record.digest,
        parents=record.parents, code=made.code if made else None, commit=made.git_commit if made else None,
        dirty=made.git_dirty if made else None, created=made.created if made else None,
    )


def machine_line() -> str:
    """What this machine is, in a few words."""
    machine, memory = ThisMachine(), psutil.virtual_memory().total / GIB
    return f"{machine.cpus()} cores, {memory:.0f} GiB, {', '.join(machine.gpus()) or 'no GPU'}"


def environment_of(run: Run) -> dict[str, str]:
    """Where it ran, and with what."""
    train = run.experiment.train
    commit = f"{run.code.commit[:12]}{', changed' if run.code.dirty else ''}" if run.code.commit else "none"
    return {
        "Machine": machine_line(),
        "Workers": f"{train.workers}, DeepSpeed {train.deepspeed}, {train.precision}",
        "Python": platform.python_version(),
        **{name: run.code.libraries[name] for name in LIBRARIES if name in run.code.libraries},
        "Commit": commit,
        "Root": shown_path(Path(os.path.normpath(run.home))),
    }
