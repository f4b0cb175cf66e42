"""THE SPINE: from images with captions to a promoted model and a report a person can read.

    images -> conversations -> shards --+
                                        +-> aligned -> instructed -> evaluation -> version -> promotion -> report
    base models ------------------------+

Every step is made when something asks for it, and only if it is not there already (`tasks/making.py`). What its key
is made of stands in `flows/specs.py`, what it does in `tasks/<stage>/run.py`.
"""

from __future__ import annotations

from functools import cached_property

from prefect import flow
from prefect.futures import PrefectFuture

from flows.approval import suspend_if_asked
from flows.candidate import candidate_of, surroundings_of
from flows.events import failure_told
from flows.outcome import Ending
from flows.prefect_artifacts import publish, title
from flows.report_page import ending_of, page_of, review_of
from flows.roots import outside_benchmarks, source_places, test_sets
from flows.run import Run, open_run
from flows.submissions import stop_jobs
from tasks.artifacts import BaseModels, Checkpoint, ConversationSet, EvalReport, ImageSet, ModelVersion, ShardSet
from tasks.base.task import base
from tasks.evaluate.task import evaluate
from tasks.generate.task import generate
from tasks.ingest.task import ingest
from tasks.register.run import incomparable_champion
from tasks.register.task import Decided, champion, promote, register
from tasks.report.page import write_review
from tasks.report.task import report
from tasks.shard.task import shard
from tasks.train.task import train


@flow(name="pipeline", flow_run_name=title, on_cancellation=[stop_jobs], on_crashed=[stop_jobs])
def pipeline(experiment: str, overrides: tuple[str, ...] = (), tag: str = "") -> Ending:
    """Run an experiment to the end: an id or a YAML file, `a.b.c=value` overrides, and a word to find the run by."""
    with open_run(experiment, overrides, tag) as run, failure_told(run), run.ending_early():
        ending = Spine(run).finish()
        hours = run.experiment.gate.approval_hours
    suspend_if_asked(ending, hours)
    return ending


@flow(
    name="part", flow_run_name="{experiment} up to {last}", on_cancellation=[stop_jobs], on_crashed=[stop_jobs]
)
def part(experiment: str, last: str, overrides: tuple[str, ...] = (), tag: str = "") -> Ending:
    """Run an experiment up to one of its stages."""
    with open_run(experiment, overrides, tag) as run, failure_told(run), run.ending_early():
        spine = Spine(run)
        getattr(spine, PARTS[last])
        if "conversations" in vars(spine):
            write_review(run.review_file, review_of(run, spine.conversations, spine.images))
        return run.ending


class Spine:
    """The artifacts of a run."""

    def __init__(self, run: Run) -> None:
        self.run, self.specs = run, run.specs

    @cached_property
    def images(self) -> ImageSet:
        """Images with captions and boxes, and the test sets that came with them."""
        experiment, settings = self.run.experiment, self.run.settings
        places, tested = source_places(experiment, settings), test_sets(experiment, settings)
        cache, withdrawn = self.run.home / "decoded.db", frozenset(self.specs.withdrawn)
        return ingest(self.run, self.specs.ingest(), places, tested, cache, withdrawn)

    @cached_property
    def conversations(self) -> ConversationSet:
        """What the teacher wrote about them."""
        return generate(self.run, self.specs.generate(self.images), self.images)

    @cached_property
    def shards(self) -> ShardSet:
        """Training samples of both stages."""
        spec = self.specs.shard(self.images, self.conversations)
        return shard(self.run, spec, self.images, self.conversations)

    @cached_property
    def base_started(self) -> PrefectFuture[BaseModels]:
        """The base models under way: they need no data, so they are made while the data are."""
        return base.submit(self.run, self.specs.base())

    @cached_property
    def base(self) -> BaseModels:
        """The vision tower and the language model."""
        return self.base_started.result()

    @cached_property
    def aligned(self) -> Checkpoint:
        """The checkpoint whose projector speaks the language model's language."""
        self.run.training_ahead = True
        _ = self.base_started
        shards, models = self.shards, self.base
        return train(self.run, self.specs.align(models, shards), models, shards, self.run.cluster, self.run.submission)

    @cached_property
    def instructed(self) -> Checkpoint:
        """The checkpoint that follows instructions about images."""
        aligned, shards = self.aligned, self.shards
        run, spec = self.run, self.specs.instruct(aligned, shards)
        checkpoint = train(run, spec, aligned, shards, run.cluster, run.submission)
        self.run.training_ahead = False
        return checkpoint

    @cached_property
    def evaluation(self) -> EvalReport:
        """What the benchmarks say of it."""
        checkpoint, images = self.instructed, self.images
        outside = outside_benchmarks(self.run.experiment, self.run.settings)
        return evaluate(self.run, self.specs.evaluate(checkpoint, images), checkpoint, images, outside)

    @cached_property
    def version(self) -> ModelVersion:
        """Its version in the registry."""
        checkpoint, evaluation = self.instructed, self.evaluation
        return register(self.run, self.run.registry, candidate_of(self), checkpoint, evaluation)

    @cached_property
    def champion_anew(self) -> tuple[str, EvalReport] | None:
        """The champion and its evaluation by the present rules, where it was measured by others; else None."""
        run, images, registry = self.run, self.images, self.run.registry
        version = incomparable_champion(registry, self.version, run.local(self.evaluation))
        weights = None if version is None else registry.tag_of(version, "checkpoint")
        if version is None or weights is None:
            return None
        model = champion(run, self.specs.champion(weights), registry, version)
        outside = outside_benchmarks(run.experiment, run.settings)
        return version, evaluate(run, self.specs.evaluate_champion(model, images), model, images, outside)

    @cached_property
    def promotion(self) -> Decided:
        """Whether it became the champion, and why."""
        run, anew = self.run, self.champion_anew
        return promote(run, run.desk, run.registry, self.version, self.evaluation, surroundings_of(self), anew)

    def data(self) -> dict[str, ImageSet | ConversationSet | ShardSet | BaseModels]:
        """What the model learned from."""
        return {"images": self.images, "conversations": self.conversations, "shards": self.shards, "base": self.base}

    def finish(self) -> Ending:
        """Everything, and the report of it."""
        run, decided = self.run, self.promotion
        run.ending = ending_of(run, self.evaluation, decided)
        report(run, run.report_file, page_of(self, decided))
        publish(run, decided.judged.verdict)
        promotion = decided.promotion
        run.tracked.end(run.report_file, {"decision": promotion.verdict, "version": promotion.challenger})
        return run.ending


PARTS = {
    "ingest": "images", "generate": "conversations", "shard": "shards", "base": "base", "align": "aligned",
    "instruct": "instructed", "evaluate": "evaluation", "register": "version", "promote": "promotion",
}
"""The artifact that each stage makes."""
