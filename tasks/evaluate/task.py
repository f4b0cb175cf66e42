"""Stage evaluate, as the orchestrator runs it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import JsonValue

from tasks.artifacts import Checkpoint, EvalReport, ImageSet
from tasks.evaluate.kept import FILE as KEPT
from tasks.evaluate.kept import KeptAnswers
from tasks.evaluate.run import build_evaluation
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
        from model.decode import HuggingFaceAnswerer

        config, bench = run.experiment.evaluate, run.experiment.evaluate.llava_bench
        brought = {path.name: path for path in (run.local(images) / "benchmarks").glob("*")}
        roots = {**brought, **outside}
        rules = roots["llava_bench"] / bench.rules if bench and bench.rules else None
        train = run.experiment.train
        template = train.stages.instruct.template or train.template
        model = HuggingFaceAnswerer(run.local(instructed) / "model", template)
        told: dict[str, JsonValue] = {"checkpoint": instructed.digest, "template": template}
        answerer = KeptAnswers(model, told, run.work(spec) / KEPT)
        with ExitStack() as stack:
            judge = stack.enter_context(run.asking(bench.judge, "judge")) if bench else None
            built = build_evaluation(
                folder, roots, config, answerer, judge, run.experiment.seed, progress, rules
            )
            spent = judge.tally.used.usd if judge else 0.0
        return Built(built.counts, {**built.facts, "usd_spent": round(spent, 6)})

    return run.make(spec, build)
