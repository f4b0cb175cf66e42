"""Stage evaluate, as the orchestrator runs it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from configs.schema import EnsembleConfig
from tasks.artifacts import Checkpoint, EvalReport, ImageSet
from tasks.evaluate.endpoint import EndpointAnswerer
from tasks.evaluate.run import build_evaluation
from tasks.evaluate.subject import Subject, of_folder, open_answerer
from tasks.ledger.ledger import Budget
from tasks.making import StageRun
from tasks.progress import Progress
from tasks.stages import Built, StageSpec

TITLE = "evaluate {run.experiment.id}"


@task(name="evaluate", task_run_name=TITLE, cache_policy=NO_CACHE)
def evaluate(
    run: StageRun, spec: StageSpec[EvalReport], instructed: Checkpoint, images: ImageSet, outside: Mapping[str, Path]
) -> EvalReport:
    """What the benchmarks say of the checkpoint. `outside` are roots of those that did not come with the images."""

    def build(folder: Path, progress: Progress) -> Built:
        train = run.experiment.train
        template = train.stages.instruct.template or train.template
        subject = of_folder(run.local(instructed) / "model", template, instructed.digest)
        return _asked(run, spec, subject, images, outside, folder, progress)

    return run.make(spec, build)


@task(name="evaluate model", task_run_name=TITLE, cache_policy=NO_CACHE)
def evaluate_model(
    run: StageRun, spec: StageSpec[EvalReport], subject: Subject, images: ImageSet | None, outside: Mapping[str, Path]
) -> EvalReport:
    """What the benchmarks say of any other model."""

    def build(folder: Path, progress: Progress) -> Built:
        return _asked(run, spec, subject, images, outside, folder, progress)

    return run.make(spec, build)


def _asked(
    run: StageRun, spec: StageSpec[EvalReport], subject: Subject, images: ImageSet | None,
    outside: Mapping[str, Path], folder: Path, progress: Progress,
) -> Built:
    config, bench = run.experiment.evaluate, run.experiment.evaluate.llava_bench
    brought = {path.name: path for path in (run.local(images) / "benchmarks").glob("*")} if images else {}
    roots = {**brought, **outside}
    rules = roots["llava_bench"] / bench.rules if bench and bench.rules else None
    ensemble = config.scienceqa.ensemble if config.scienceqa else None
    answerer = open_answerer(
        subject, config, lambda endpoint: run.asking(endpoint, "model", progress=progress), run.work(spec),
        run.connect_cluster,
    )
    with ExitStack() as stack:
        judge = stack.enter_context(run.asking(bench.judge, "judge", progress=progress)) if bench else None
        llm = stack.enter_context(run.asking(ensemble.llm, "llm", _budget(ensemble), progress)) if ensemble else None
        built = build_evaluation(folder, roots, config, answerer, judge, run.experiment.seed, progress, rules, llm)
        spent = sum(asker.tally.used.usd for asker in (judge, llm) if asker)
    spent += answerer.usd if isinstance(answerer, EndpointAnswerer) else 0.0
    facts = built.facts if subject.endpoint is None else {**built.facts, "model": dict(subject.identity)}
    return Built(built.counts, {**facts, "usd_spent": round(spent, 6)})


def _budget(ensemble: EnsembleConfig) -> Budget | None:
    if ensemble.budget_usd is None:
        return None
    return Budget(ensemble.budget_usd, "evaluate.scienceqa.ensemble.budget_usd")
