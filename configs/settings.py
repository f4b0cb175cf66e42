"""What differs between machines: folders, servers, secrets. Read from the environment, never from an experiment."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Environment variables `LLAVAFLOW_*`, e.g. LLAVAFLOW_ROOT."""

    model_config = SettingsConfigDict(env_prefix="LLAVAFLOW_", frozen=True, extra="ignore")

    root: Path = Path("runs")
    """Everything a run writes lies under here: run folders, cache, registry, ledger, homes of the libraries."""
    storage: str | None = None
    """s3://bucket/prefix to keep everything under that outlives a run (`flows/places.py`); default is the root."""
    store: str | None = None
    """Where artifacts are kept: a folder or s3://bucket/prefix; default is `cache/` under the storage or the root."""
    shard_cache_gb: int = 100
    """Disk that a machine may fill with shards it reads from S3, in GB."""
    checkpoints: str | None = None
    """Where checkpoints of training under way are kept: a folder that every worker reaches, or s3://bucket/prefix;
    default is `work/` under the storage or the root."""
    data_root: Path | str | None = None
    """Folder, or s3://bucket/prefix, that relative data roots of experiments lie under."""
    mlflow_uri: str | None = None
    """MLflow tracking server; default is a SQLite store under the root."""
    prefect_api_url: str | None = None
    """Prefect API; default is a server of our own for the time of the run, its database under the root."""
    ledger_url: str | None = None
    """SQLAlchemy URL of the ledger; default is SQLite under the root."""
    feedback_url: str | None = None
    """SQLAlchemy URL of the feedback on answers; default is SQLite under the root."""
    ledger_only: bool = False
    """Whether endpoints are never asked: what the ledger has no answer to is an error. For reproductions."""
    s3_endpoint: str | None = None
    """Endpoint of an S3 that is not Amazon's; keys come from the usual AWS_* variables."""
    ray_address: str | None = None
    """An existing Ray cluster; default is one of our own for the time of the run."""
    ray_jobs: str | None = None
    """Dashboard of a Ray cluster, http://host:8265, that training is submitted to as a job; it has to reach the
    storage, and its nodes to have this project installed (`tasks/train/submission.py`)."""
    ray_job_python: str = "python"
    """The interpreter of that cluster's nodes."""
    ray_temp: Path | None = None
    """Folder of our own cluster's logs and sockets; default is `ray/` under the root. Its path has to be short."""

    serve_keys: SecretStr | None = None
    """API keys of the endpoint, separated by commas; without any, whoever reaches it may ask."""

    def home(self) -> Path:
        """The root as an absolute path."""
        return self.root.expanduser().absolute()
