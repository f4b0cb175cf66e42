"""One execution of an experiment: its folder, store, records, trackers, and how it shows itself.

`open_run` is the one door. Who opens a run around a flow (the command line, to show it, and to use the time in which
Prefect starts) hands it to the flow in this way; a flow that a worker starts opens its own.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType

import yaml
from pydantic import JsonValue

from configs.load import load_experiment
from configs.schema import Endpoint, Experiment, OpenAIEndpoint
from configs.settings import Settings
from flows.desk import desk_of
from flows.environment import prepare_environment
from flows.keeping import Keeping
from flows.logs import written_to
from flows.mixtures import reached
from flows.outcome import Ending, Outcome, StageRecord, record_of
from flows.places import checkpoints_of, ledger_of, shard_cache_of, storage_options, store_of
from flows.progress_display import Display, Lines, Nowhere
from flows.shown import ShownProgress, ShownStep
from flows.specs import Specs
from flows.submissions import submission_of
from flows.tracked import Tracked
from tasks.artifacts import Artifact, Descriptor, digest_of
from tasks.chat.client import Role, make_client
from tasks.chat.silent import SilentClient
from tasks.code import CodeState, code_state
from tasks.ledger.ledger import Budget, Ledger, LedgerAsker
from tasks.making import make, running, sweep
from tasks.progress import Progress, Silent
from tasks.register.desk import Desk
from tasks.register.registry import MlflowRegistry
from tasks.remote_spans import readable
from tasks.report.data_review import REVIEW
from tasks.sinks import Sink
from tasks.spans import Spans
from tasks.stages import Build, Built, StageSpec
from tasks.train.cluster import RaySettings, connect, shut_down, warm_up
from tasks.train.submission import Submission

EARLIER = 3
"""How many earlier artifacts of a stage a build may look into for what it can take over."""
LOG, EVENTS, CONFIG, RESULT = "run.log", "events.jsonl", "config.yaml", "result.json"

_CURRENT: ContextVar[Run | None] = ContextVar("run", default=None)


@contextmanager
def open_run(
    experiment: str, overrides: Sequence[str] = (), tag: str = "", display: Display | None = None,
    verbose: bool = False, profile: bool = False,
) -> Iterator[Run]:
    """A run of an experiment; the one that is open already where there is one.

    Raises ConfigError for an experiment that does not resolve; nothing is written in that case.
    """
    if (current := _CURRENT.get()) is not None:
        yield current
        return
    settings = Settings()
    loaded = load_experiment(experiment, overrides)
    prepare_environment(settings)
    with Run(loaded, settings, tag, display or Nowhere(), verbose, profile) as run:
        token = _CURRENT.set(run)
        try:
            yield run
        finally:
            _CURRENT.reset(token)


class Run:
    """See the module. Stages know it as `tasks.making.StageRun`."""

    def __init__(
        self, experiment: Experiment, settings: Settings, tag: str, display: Display, verbose: bool = False,
        profile: bool = False,
    ) -> None:
        self.experiment, self.settings, self.tag, self.display = experiment, settings, tag, display
        self.verbose = verbose
        """Whether libraries may speak, too."""
        self.started = datetime.now(UTC)
        self._clock = time.monotonic()
        self.home = settings.home()
        self.folder = new_folder(self.home, experiment, self.started)
        self.id = self.folder.name
        self.profile = self.folder / "profile" if profile else None
        """See `StageRun`."""
        self.specs = Specs(experiment, settings)
        self.store = store_of(settings)
        self.records: dict[str, StageRecord] = {}
        self.ending = Ending()
        """What the end of the spine knows of the run."""
        self.outcome: Outcome | None = None
        self.training_ahead = False
        """Whether what is built now will be trained on: if so, the cluster starts meanwhile."""
        self.stopping = threading.Event()
        self.going_on: list[str] = []
        """What goes on elsewhere though the run ended early, a line each: notes on the error that ended a stage."""
        self._writing, self._warming = threading.Lock(), threading.Lock()
        self._warm: threading.Thread | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Run:
        config = self.experiment.model_dump(mode="json")
        (self.folder / CONFIG).write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        self._stack.enter_context(running(self.home / "locks"))
        self.logger = self._stack.enter_context(written_to(self.folder / LOG))
        self._lines = Lines(self.logger.info)
        sweep(self.store.scratch, self.home / "locks")
        self.keeping = Keeping(self.settings, self.id, self.started, self.logger)
        self.event("started", experiment=self.experiment.id, tag=self.tag)
        self.tracked = self._stack.enter_context(Tracked(self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.stop()
            self.logger.info("the run ends early", exc_info=error)
        try:
            # Whoever interrupts a run ends its processes, and a cluster that is starting would be waited for.
            if self._warm is not None and (kind is None or issubclass(kind, Exception)):
                shut_down()
            self._stack.__exit__(kind, error, trace)
        except BaseException as late:
            error = error or late
            raise
        finally:
            self.display.close()
            self.outcome = Outcome.of(self, error)
            (self.folder / RESULT).write_text(self.outcome.model_dump_json(indent=1) + "\n", encoding="utf-8")
            if wrong := self.keeping.after(self.folder):
                self.event("not kept", error=wrong)
                logging.getLogger(__name__).error(wrong)

    # ------------------------------------------------------------------------------------------------ for stages

    def make(self, spec: StageSpec[Descriptor], build: Build) -> Descriptor:
        """See `StageRun`."""

        def building(folder: Path, progress: Progress) -> Built:
            self.tracked.building(spec.name)
            self._warm_up()
            return build(folder, progress)

        with self._shown(spec.name) as shown:
            made = make(self.store, self.home / "locks", spec, building, shown, lambda: self.code)
            record = record_of(spec.name, made)
            self._keep(record)
        self.tracked.stage(record, made.artifact)
        return made.artifact

    @contextmanager
    def step(self, name: str) -> Iterator[ShownStep]:
        """See `StageRun`."""
        started = time.monotonic()
        with self._shown(name) as shown:
            step = ShownStep(shown)
            yield step
            seconds = round(time.monotonic() - started, 3)
            self._keep(
                StageRecord(
                    name=name, cached=step.reason is not None, reason=step.reason or "done", seconds=seconds,
                    detail=step.detail,
                )
            )

    def local(self, artifact: Artifact) -> Path:
        """See `StageRun`."""
        return self.store.local(artifact)

    def spans(self, shards: Artifact) -> Path | Spans:
        """See `StageRun`. What no stage of this run has looked at is verified first, or as it is read."""
        if all(record.uri != shards.uri for record in self.records.values()):
            return reached(shards, self.settings)
        return readable(self.store, shards, shard_cache_of(self.settings))

    def connect_cluster(self) -> None:
        """See `StageRun`."""
        connect(self.cluster)

    def work(self, spec: StageSpec[Descriptor]) -> Path:
        """See `StageRun`."""
        return self.home / "work" / spec.work_name

    def figures(self, stage: str, figures: Mapping[str, float | str]) -> None:
        """See `StageRun`."""
        self.tracked.figures(stage, figures)

    def sink(self, spec: StageSpec[Descriptor], folder: Path) -> Sink:
        """See `StageRun`."""
        return self.store.sink(spec.name, spec.key, folder)

    def earlier(self, spec: StageSpec[Descriptor]) -> list[Descriptor]:
        """See `StageRun`."""
        return self.store.newest(spec.makes, spec.name, EARLIER)

    def read_file(self, artifact: Artifact, path: str) -> bytes:
        """See `StageRun`."""
        return self.store.read_file(artifact, path)

    @contextmanager
    def asking(
        self, endpoint: Endpoint, purpose: Role, budget: Budget | None = None, progress: Progress | None = None
    ) -> Iterator[LedgerAsker]:
        """See `StageRun`."""
        key = os.environ.get(endpoint.api_key_env) if isinstance(endpoint, OpenAIEndpoint) else None
        with ExitStack() as stack:
            if isinstance(endpoint, OpenAIEndpoint):
                self.keeping.before_asking()
            client = make_client(endpoint, key, purpose)
            stack.callback(client.close)
            url = ledger_of(self.settings)
            ledger = Ledger(url)
            stack.callback(ledger.close)
            if isinstance(endpoint, OpenAIEndpoint) and self.settings.ledger_only:
                yield LedgerAsker(ledger, SilentClient(client), purpose, budget)
            elif isinstance(endpoint, OpenAIEndpoint):
                from tasks.batches.asking import asker_of

                yield asker_of(stack, endpoint, key, ledger, url, client, purpose, budget, progress or Silent())
            else:
                yield LedgerAsker(ledger, client, purpose, budget)

    # ------------------------------------------------------------------------------------------------ for the spine

    @property
    def cluster(self) -> RaySettings:
        """Where training runs, and answers are spread over workers."""
        train, answering = self.experiment.train, self.experiment.evaluate.workers
        checkpoints = checkpoints_of(self.settings)
        return RaySettings(
            address=self.settings.ray_address, temp=self.settings.ray_temp or self.home / "ray",
            cpus=max(train.workers * train.cpus_per_worker, answering) + 1, verbose=self.verbose,
            checkpoints=checkpoints, storage_options=storage_options(checkpoints or "", self.settings) or {},
        )

    @cached_property
    def submission(self) -> Submission | None:
        """Where training is submitted to, where it is."""
        return submission_of(self.settings, self.id)

    @cached_property
    def code(self) -> CodeState:
        """Commit and library versions."""
        return code_state()

    @cached_property
    def registry(self) -> MlflowRegistry:
        """The registry of models."""
        config = self.experiment.registry
        return MlflowRegistry(self.tracked.store, config.model_name, config.alias)

    @property
    def desk(self) -> Desk:
        """Where promotions are decided and written down."""
        from flows.approval import suspendable  # which knows Prefect, whose loading the run does not wait for

        who = os.environ.get("USER", "")
        return desk_of(self.settings, self.registry, who=who, run=self.id, flow_run=suspendable())

    @property
    def report_file(self) -> Path:
        """Where the report goes."""
        return self.folder / "report.html"

    @property
    def review_file(self) -> Path:
        """Where the review of the teacher's data goes."""
        return self.folder / REVIEW

    @property
    def seconds(self) -> float:
        """Since it started."""
        return round(time.monotonic() - self._clock, 3)

    def event(self, event: str, **told: JsonValue) -> None:
        """Append a line to events.jsonl."""
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **told}
        with self._writing, (self.folder / EVENTS).open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(line, ensure_ascii=False) + "\n")

    @contextmanager
    def ending_early(self) -> Iterator[None]:
        """Within a flow: where one stage fails, those that run beside it are stopped, as the flow waits for them."""
        try:
            yield
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Have stages in other threads end: each hears of it when it next tells its progress."""
        self.stopping.set()
        for child in multiprocessing.active_children():
            child.terminate()

    # ------------------------------------------------------------------------------------------------ within

    @contextmanager
    def _shown(self, stage: str) -> Iterator[ShownProgress]:
        displays: tuple[Display, ...] = (self.display, self._lines)
        for display in displays:
            display.start(stage)
        try:
            yield ShownProgress(stage, displays, self.logger, self.stopping)
        except BaseException as error:
            self.going_on += getattr(error, "__notes__", ())
            self.event("stage failed", name=stage, error=f"{type(error).__name__}: {error}")
            self.display.end(stage, "failed" if isinstance(error, Exception) else "interrupted")
            raise
        self.display.end(stage, self.records[stage].line)

    def _keep(self, record: StageRecord) -> None:
        self.records[record.name] = record
        self.logger.info("%s: %s", record.name, record.line)
        self.event("stage", **record.model_dump(mode="json", exclude={"made_by", "facts"}))

    def _warm_up(self) -> None:
        with self._warming:
            if self.training_ahead and self._warm is None and self.submission is None:
                self._warm = warm_up(self.cluster)


def new_folder(home: Path, experiment: Experiment, started: datetime) -> Path:
    """A folder for a run, its name saying what, when and with which configuration; made at once, as it is the claim."""
    digest = digest_of(experiment.model_dump(mode="json"))[:4]
    name = f"{experiment.id}-{started:%Y%m%d-%H%M%S}-{digest}"
    for number in range(1, 1000):
        folder = home / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise AssertionError(f"a thousand runs began in one second: {name}")
