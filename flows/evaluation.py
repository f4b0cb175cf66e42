"""Evaluate a model that the experiment did not train: its benchmarks, without its training."""

from __future__ import annotations

from prefect import flow

from flows.events import failure_told
from flows.named_model import Named, subject_of
from flows.outcome import Ending
from flows.pipeline import Spine
from flows.roots import outside_benchmarks
from flows.run import open_run
from tasks.evaluate.task import evaluate_model
from tasks.report.collect import read_benchmarks


@flow(name="evaluation", flow_run_name="{experiment}: {named.model}")
def evaluation(experiment: str, named: Named, overrides: tuple[str, ...] = (), tag: str = "") -> Ending:
    """Ask a model the benchmarks of an experiment. Test sets that come with its images are made if need be."""
    with open_run(experiment, overrides, tag) as run, failure_told(run), run.ending_early():
        subject = subject_of(named, run.tracked.store, run.home / "work" / "models")
        outside = outside_benchmarks(run.experiment, run.settings)
        wanted = [name for name in ("scienceqa", "llava_bench") if getattr(run.experiment.evaluate, name) is not None]
        images = None if all(name in outside for name in wanted) else Spine(run).images
        report = evaluate_model(run, run.specs.evaluate_model(dict(subject.identity), images), subject, images, outside)
        scores = report.facts.get("scores")
        assert isinstance(scores, dict), "an evaluation tells its scores"
        run.ending = Ending(
            benchmarks=read_benchmarks(run.local(report)),
            scores={name: float(value) for name, value in scores.items() if isinstance(value, int | float)},
        )
        return run.ending
