"""A stage of training as a job that is submitted to a Ray cluster, instead of driven from here.

The job is the driver then (`tasks/train/submitted.py`), so it may lie on a cluster that this process only reaches by
its dashboard's address, and lives on when this process dies. Its submission id names the stage's key, so whoever comes
to the same key, or comes back, goes on watching the same job. What the two tell each other lies in the storage:

    <place>/order.json      what to do: a `JobOrder`
    <place>/built/...       the finished folder, `built.json` (counts and facts) last
    <place>/failure.json    why there is none
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import fsspec
from pydantic import Field, JsonValue

from configs.schema import Experiment
from tasks import errors
from tasks.artifacts import Artifact, Frozen
from tasks.errors import EnvironmentProblem, LlavaflowError, TrainingError
from tasks.progress import Progress
from tasks.sinks import failing_for_good
from tasks.stages import Built
from tasks.train.board import Line

ORDER, FAILURE, BUILT, RESULT = "order.json", "failure.json", "built.json", "built"
MARK = "llavaflow-line "
"""Begins the lines of a job's output that are meant for its watcher."""
POLL_SECONDS = 1.0
STOPPING_SECONDS = 300
"""How long a job that is told to stop may take to keep a checkpoint, before Ray kills it."""
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
RUN, FLOW_RUN = "llavaflow_run", "llavaflow_flow_run"
"""Metadata of a job: the run and the flow run it works for (see `flows/reaper.py`)."""


class JobOrder(Frozen):
    """What a job is to do. Holds no secret: keys come from the environment of the cluster's nodes."""

    stage: str
    name: str
    """Of the stage's work folder: a digest of all that shapes the result."""
    start: dict[str, JsonValue]
    """Descriptor of the BaseModels or Checkpoint to go on from."""
    start_kind: str
    shards: dict[str, JsonValue]
    others: dict[str, dict[str, JsonValue]] = Field(default_factory=dict)
    """Descriptors of the other sources of the stage's mixture, by name."""
    experiment: dict[str, JsonValue]
    store: str
    options: dict[str, JsonValue]
    checkpoints: str | None = None


@dataclass(frozen=True)
class Place:
    """A folder of the storage that both sides reach."""

    uri: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def write(self, name: str, text: str) -> None:
        """Write a file. Raises EnvironmentProblem where the storage cannot be reached."""
        with failing_for_good(f"{self.uri}/{name}"):
            filesystem = self._filesystem()
            filesystem.makedirs(self.uri, exist_ok=True)
            filesystem.pipe_file(f"{self.uri}/{name}", text.encode())

    def read(self, name: str) -> str | None:
        """A file; None where there is none."""
        filesystem = self._filesystem()
        filesystem.invalidate_cache()
        try:
            return str(filesystem.cat_file(f"{self.uri}/{name}").decode())
        except FileNotFoundError:
            return None

    def put(self, folder: Path, name: str) -> None:
        """Copy a folder's files here, under a name."""
        with failing_for_good(f"{self.uri}/{name}"):
            filesystem = self._filesystem()
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                target = f"{self.uri}/{name}/{path.relative_to(folder).as_posix()}"
                filesystem.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
                filesystem.put_file(str(path), target)

    def get(self, name: str, folder: Path) -> None:
        """Copy the files under a name to a folder."""
        filesystem = self._filesystem()
        base = str(filesystem._strip_protocol(f"{self.uri}/{name}")).rstrip("/") + "/"
        for path in filesystem.find(f"{self.uri}/{name}"):
            target = folder / str(path).removeprefix(base)
            target.parent.mkdir(parents=True, exist_ok=True)
            filesystem.get_file(path, str(target))

    def clear(self) -> None:
        """Remove it with all it holds."""
        filesystem = self._filesystem()
        filesystem.invalidate_cache()
        if filesystem.exists(self.uri):
            filesystem.rm(self.uri, recursive=True)

    def _filesystem(self) -> Any:
        return fsspec.core.url_to_fs(self.uri, **self.options)[0]


@dataclass(frozen=True)
class Job:
    """A job of the cluster."""

    id: str
    status: str
    metadata: Mapping[str, str]
    message: str = ""

    @property
    def ended(self) -> bool:
        """Whether it does nothing any more."""
        return self.status in ENDED


class Jobs(Protocol):
    """The jobs of a cluster."""

    def all(self) -> list[Job]:
        """Every job that was submitted."""

    def submit(self, id: str, command: str, environment: Mapping[str, str], metadata: Mapping[str, str]) -> None:
        """Start a job. One of that id that was submitted meanwhile is left as it is."""

    def stop(self, id: str) -> None:
        """Tell a job to stop; it may take a while. One that has ended is left as it is."""

    def follow(self, id: str, receive: Callable[[str], None]) -> None:
        """Hand on the lines of a job's output until it ends."""


@dataclass(frozen=True)
class RayJobs:
    """The jobs of the Ray cluster with its dashboard at `address` (http://host:8265).

    Raises EnvironmentProblem where it cannot be reached, or refuses.
    """

    address: str

    def all(self) -> list[Job]:
        """See `Jobs`."""
        listed = self._asked(lambda client: client.list_jobs())
        return [
            Job(job.submission_id, str(job.status.value), job.metadata or {}, job.message or "")
            for job in listed if job.submission_id
        ]

    def submit(self, id: str, command: str, environment: Mapping[str, str], metadata: Mapping[str, str]) -> None:
        """See `Jobs`."""
        try:
            self._asked(
                lambda client: client.submit_job(
                    entrypoint=command, submission_id=id, runtime_env={"env_vars": dict(environment)},
                    metadata=dict(metadata),
                )
            )
        except EnvironmentProblem:
            if not any(job.id == id for job in self.all()):
                raise

    def stop(self, id: str) -> None:
        """See `Jobs`."""
        self._asked(lambda client: client.stop_job(id))

    def follow(self, id: str, receive: Callable[[str], None]) -> None:
        """See `Jobs`."""
        client = self._client()

        async def lines() -> None:
            rest = ""
            async for text in client.tail_job_logs(id):
                *whole, rest = (rest + text).split("\n")
                for line in whole:
                    receive(line)

        asyncio.run(lines())

    def _asked(self, ask: Callable[[Any], Any]) -> Any:
        try:
            return ask(self._client())
        except (RuntimeError, ConnectionError, OSError) as error:
            told = " ".join(str(error).split())[:300]
            raise EnvironmentProblem(
                f"the Ray cluster at {self.address} cannot be asked ({told}); see LLAVAFLOW_RAY_JOBS and RAY_AUTH_TOKEN"
            ) from error

    def _client(self) -> Any:
        from ray.job_submission import JobSubmissionClient

        return JobSubmissionClient(self.address)


@dataclass(frozen=True)
class Submitter:
    """Where jobs are submitted to, and for whom."""

    jobs: Jobs
    place: Place
    """Under which every stage has a folder of its own."""
    run: str
    flow_run: str = ""
    python: str = "python"
    """The interpreter of the cluster's nodes."""
    environment: Mapping[str, str] = field(default_factory=dict)
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def build(self, folder: Path, order: JobOrder, progress: Progress, watch: Callable[[Line], None]) -> Built:
        """What the job of an order makes, in `folder`; a job that works at it already is watched, not doubled.

        Raises what the job raised, by its class; TrainingError where it ended otherwise; EnvironmentProblem. When this
        is interrupted the job is told to stop: it keeps a checkpoint, and the same order goes on from there.
        """
        place = Place(f"{self.place.uri.rstrip('/')}/{order.name}", self.place.options)
        if place.read(BUILT) is None:
            self._work(order, place, progress, watch)
        told = place.read(BUILT)
        if told is None:
            raise TrainingError(f"the job of {order.stage} ended without a result; see its log in Ray's dashboard")
        place.get(RESULT, folder)
        return Built(**json.loads(told))

    def done(self, name: str) -> None:
        """Remove what the two sides of an order told each other, after its artifact was published."""
        Place(f"{self.place.uri.rstrip('/')}/{name}", self.place.options).clear()

    def _work(self, order: JobOrder, place: Place, progress: Progress, watch: Callable[[Line], None]) -> None:
        id = self._going_on(order.name)
        if id is None:
            place.write(ORDER, order.model_dump_json())
            place.write(FAILURE, "")
            id = self._submit(order, place)
            progress.note(f"submitted to the Ray cluster as {id}")
        else:
            progress.note(f"the Ray job {id} works at it already; watching it")
        try:
            self._watch(id, progress, watch)
        except BaseException:
            self._stop(id, progress)
            raise
        job = self._job(id)
        if failure := place.read(FAILURE):
            raise _error(json.loads(failure))
        if job.status != "SUCCEEDED":
            raise TrainingError(f"the Ray job {id} ended as {job.status}: {job.message}; run again to go on")

    def _submit(self, order: JobOrder, place: Place) -> str:
        """Submit under the next free id: Ray keeps those of ended jobs."""
        taken = sum(_order_of(job.id) == order.name for job in self.jobs.all())
        id = f"llavaflow-{order.name}-{taken + 1}"
        told = {"place": place.uri, "options": dict(place.options)}
        command = f"{self.python} -m tasks.train.submitted '{json.dumps(told)}'"
        environment = {**self.environment, "RAY_JOB_STOP_WAIT_TIME_S": str(STOPPING_SECONDS)}
        self.jobs.submit(id, command, environment, {RUN: self.run, FLOW_RUN: self.flow_run})
        return id

    def _going_on(self, name: str) -> str | None:
        return next((job.id for job in self.jobs.all() if _order_of(job.id) == name and not job.ended), None)

    def _watch(self, id: str, progress: Progress, watch: Callable[[Line], None]) -> None:
        """Until the job has ended. Its output comes in a thread, as a connection to a log may break or hang."""

        def receive(line: str) -> None:
            if line.startswith(MARK):
                show(json.loads(line.removeprefix(MARK)), progress, watch)

        follower = threading.Thread(target=self._follow, args=(id, receive), name="ray-job", daemon=True)
        follower.start()
        while not self._job(id).ended:
            progress.update(0, 0)
            self.sleep(POLL_SECONDS)
        follower.join(timeout=10)

    def _follow(self, id: str, receive: Callable[[str], None]) -> None:
        try:
            self.jobs.follow(id, receive)
        except Exception as error:  # noqa: BLE001 (the job goes on; only its figures are not seen)
            receive(MARK + json.dumps({"note": f"the output of {id} cannot be followed: {error}"}))

    def _stop(self, id: str, progress: Progress) -> None:
        self.jobs.stop(id)
        progress.note(f"the Ray job {id} was told to stop")
        end = self.clock() + STOPPING_SECONDS
        while not self._job(id).ended and self.clock() < end:
            self.sleep(POLL_SECONDS)

    def _job(self, id: str) -> Job:
        found = next((job for job in self.jobs.all() if job.id == id), None)
        return found or Job(id, "FAILED", {}, "the cluster does not know it any more")


@dataclass(frozen=True)
class Submission:
    """A submitter, and the store that its jobs read from."""

    submitter: Submitter
    store: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def order(
        self, stage: str, name: str, start: Artifact, shards: Artifact, others: Mapping[str, Artifact],
        experiment: Experiment, checkpoints: str | None,
    ) -> JobOrder:
        """What the job of a stage is to do."""
        return JobOrder(
            stage=stage, name=name, start=start.model_dump(mode="json"), start_kind=start.kind,
            shards=shards.model_dump(mode="json"),
            others={name: other.model_dump(mode="json") for name, other in others.items()},
            experiment=experiment.model_dump(mode="json"),
            store=self.store, options=dict(self.options), checkpoints=checkpoints,
        )


def show(told: dict[str, Any], progress: Progress, watch: Callable[[Line], None]) -> None:
    """Hand on a line of a job: {"note"}, {"figures"}, or {"done", "total", "shown"}."""
    if "note" in told:
        progress.note(str(told["note"]))
    elif "figures" in told:
        watch(told["figures"])
    else:
        progress.update(int(told["done"]), int(told["total"]), **told["shown"])


def _order_of(id: str) -> str:
    """The order that a submission id names."""
    return id.removeprefix("llavaflow-").rpartition("-")[0]


def _error(told: Mapping[str, str]) -> LlavaflowError:
    kind = getattr(errors, told["kind"], TrainingError)
    known = isinstance(kind, type) and issubclass(kind, LlavaflowError)
    return kind(told["message"]) if known else TrainingError(f"{told['kind']}: {told['message']}")
