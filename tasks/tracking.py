"""Tracking in MLflow: `MlflowStore`, a server or a SQLite store, and `MlflowTracker`, a run in it.

A run is found again by the pipeline's own id of it, so that a pipeline that is started again goes on in the runs it
already has. Points that a run already holds are not logged twice.

MLflow costs seconds to import and seconds more to create its SQLite store. Nothing here does either before `prepare`
or the first record: call `prepare` in a thread while the pipeline works.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from pydantic import JsonValue

from tasks.artifacts import canonical_json
from tasks.errors import ConfigError, EnvironmentProblem
from tasks.tracker import dotted, figures

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
    from mlflow.tracking import MlflowClient

RUN_TAG = "llavaflow.run"
STAGE_TAG = "llavaflow.stage"
DIGEST_TAG = "llavaflow.digest"

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Our requirements are written down, so that there is nothing to infer and nothing to compare (2.4 s).
    "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",
    "MLFLOW_UV_AUTO_DETECT": "false",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "false",
}
"""What MLflow is told before it is imported, where the caller has not said otherwise."""

# Limits of MLflow's API (mlflow/utils/validation.py).
METRICS_A_CALL, VALUES_A_CALL = 1000, 100
PARAM_LENGTH, TAG_LENGTH, DATASET_DIGEST_LENGTH = 6000, 8000, 36

T = TypeVar("T")


class MlflowStore:
    """An MLflow server, or a SQLite store with its artifacts in a folder. Connects on first use, once."""

    def __init__(self, uri: str, artifacts: str | None = None) -> None:
        self.uri = uri
        self.artifacts = artifacts
        self._lock = threading.RLock()
        self._client: MlflowClient | None = None

    @classmethod
    def under(cls, root: Path, artifacts: str | None = None) -> Self:
        """The store of a machine of its own: `<root>/mlflow.db`, and `<root>/mlartifacts/` or another uri."""
        home = root.expanduser().absolute()
        return cls(f"sqlite:///{home}/mlflow.db", artifacts or (home / "mlartifacts").as_uri())

    def client(self) -> MlflowClient:
        """The client, its store made or migrated. Raises EnvironmentProblem when the store cannot be reached."""
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def experiment(self, name: str) -> str:
        """Id of an experiment, which is created if there is none."""
        from mlflow.exceptions import MlflowException

        client = self.client()
        with self._lock:
            if found := client.get_experiment_by_name(name):
                return str(found.experiment_id)
            try:
                return str(client.create_experiment(name, artifact_location=self.artifacts))
            except MlflowException:
                if found := client.get_experiment_by_name(name):  # another process was faster
                    return str(found.experiment_id)
                raise

    def _connect(self) -> MlflowClient:
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        import mlflow
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
        from sqlalchemy.exc import SQLAlchemyError

        if self.uri.startswith("sqlite:///"):
            Path(self.uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        # The registry resolves `models:/m-...` by the process-wide uri, whatever its client was given.
        mlflow.set_tracking_uri(self.uri)
        mlflow.set_registry_uri(self.uri)
        try:
            client = MlflowClient(self.uri, registry_uri=self.uri)
            client.search_experiments(max_results=1)
        except (MlflowException, SQLAlchemyError, OSError) as error:
            raise EnvironmentProblem(
                f"the MLflow store {self.uri} cannot be used ({_first_line(error)}); start the server or mend its uri"
            ) from error
        return client


class MlflowTracker:
    """A run in MLflow. `run` is the pipeline's own id of it; the run of a stage has the same id and a parent.

    `system_seconds` is how often processor, memory, disk, network and GPU are sampled; None leaves them out.
    """

    def __init__(
        self, store: MlflowStore, experiment: str, run: str, *, system_seconds: float | None = 5.0,
        stage: str | None = None, parent: MlflowTracker | None = None,
    ) -> None:
        self.store = store
        self.experiment = experiment
        self.run = run
        self.stage = stage
        self._parent = parent
        self._system_seconds = system_seconds
        self._lock = threading.RLock()
        self._id: str | None = None
        self._known: Run | None = None
        self._monitor: SystemMetricsMonitor | None = None

    @property
    def run_id(self) -> str:
        """MLflow's id of the run, which is created or found on first use."""
        with self._lock:
            if self._id is None:
                self._id = self._attach()
            return self._id

    def prepare(self) -> None:
        """Import MLflow, create or migrate the store, open the run."""
        _ = self.run_id

    def params(self, values: Mapping[str, JsonValue]) -> None:
        """See `Tracker`. Raises ConfigError if the run holds another value already: a run has one configuration."""
        from mlflow.entities import Param

        client, run_id = self.store.client(), self.run_id
        old = client.get_run(run_id).data.params
        new = {name: str(value)[:PARAM_LENGTH] for name, value in dotted(values)}
        for name in sorted(old.keys() & new.keys()):
            if old[name] != new[name]:
                raise ConfigError(f"run {self.run} already has {name}={old[name]}; start a new run for {new[name]}")
        for some in _batches([Param(name, value) for name, value in new.items() if name not in old], VALUES_A_CALL):
            client.log_batch(run_id, params=some)

    def metrics(self, rows: Iterable[Mapping[str, object]]) -> None:
        """See `Tracker`."""
        from mlflow.entities import Metric

        client, run_id = self.store.client(), self.run_id
        now = int(time.time() * 1000)
        points = [Metric(name, value, now, step) for step, name, value in figures(rows)]
        for some in _batches(self._unknown(points), METRICS_A_CALL):
            client.log_batch(run_id, metrics=some)

    def tags(self, values: Mapping[str, str]) -> None:
        """See `Tracker`."""
        from mlflow.entities import RunTag

        client, run_id = self.store.client(), self.run_id
        for some in _batches([RunTag(name, text[:TAG_LENGTH]) for name, text in values.items()], VALUES_A_CALL):
            client.log_batch(run_id, tags=some)

    def dataset(self, name: str, uri: str, digest: str, context: str) -> None:
        """See `Tracker`. MLflow keeps 36 characters of a digest; the whole of it is a tag of the input."""
        client, run_id = self.store.client(), self.run_id
        from mlflow.entities import Dataset, DatasetInput, InputTag

        scheme, found, _ = uri.partition("://")
        source_type = scheme if found and scheme != "file" else "local"
        data = Dataset(name, digest[:DATASET_DIGEST_LENGTH], source_type, canonical_json({"uri": uri}))
        marks = [InputTag("mlflow.data.context", context), InputTag(DIGEST_TAG, digest)]
        client.log_inputs(run_id, [DatasetInput(data, marks)])

    def artifact(self, path: Path, folder: str = "") -> None:
        """See `Tracker`."""
        client, run_id = self.store.client(), self.run_id
        if path.is_dir():
            client.log_artifacts(run_id, str(path), folder or None)
        else:
            client.log_artifact(run_id, str(path), folder or None)

    def child(self, name: str) -> MlflowTracker:
        """See `Tracker`."""
        return MlflowTracker(
            self.store, self.experiment, self.run, system_seconds=self._system_seconds, stage=name, parent=self
        )

    def __enter__(self) -> Self:
        """See `Tracker`; does not wait for MLflow."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See `Tracker`."""
        run_id = self.run_id
        if self._monitor is not None:
            self._monitor.finish()  # type: ignore[no-untyped-call]
        self.store.client().set_terminated(run_id, _status(kind))

    def _attach(self) -> str:
        """Find the run by its tags and go on in it, or create it."""
        client, experiment = self.store.client(), self.store.experiment(self.experiment)
        tags = {RUN_TAG: self.run, STAGE_TAG: self.stage or ""}
        if self._parent is not None:
            tags["mlflow.parentRunId"] = self._parent.run_id
        query = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        found = client.search_runs([experiment], query, max_results=1)
        if found:
            self._known = found[0]
            run_id = str(found[0].info.run_id)
            client.update_run(run_id, status="RUNNING")
        else:
            run_id = str(client.create_run(experiment, tags=tags, run_name=self.stage or self.run).info.run_id)
        self._watch(run_id)
        return run_id

    def _watch(self, run_id: str) -> None:
        if self._system_seconds is None:
            return
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        self._monitor = SystemMetricsMonitor(  # type: ignore[no-untyped-call]
            run_id, sampling_interval=self._system_seconds, resume_logging=True, tracking_uri=self.store.uri
        )
        self._monitor.start()  # type: ignore[no-untyped-call]

    def _unknown(self, points: list[Metric]) -> list[Metric]:
        """Without the points that a run which was found again holds already."""
        if self._known is None:
            return points
        client, names = self.store.client(), {point.key for point in points} & self._known.data.metrics.keys()
        held = {
            (old.key, old.step, old.value) for name in names for old in client.get_metric_history(self.run_id, name)
        }
        return [point for point in points if (point.key, point.step, point.value) not in held]


def _status(kind: type[BaseException] | None) -> str:
    if kind is None:
        return "FINISHED"
    return "FAILED" if issubclass(kind, Exception) else "KILLED"


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
