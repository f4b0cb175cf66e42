"""Where what outlives a run is kept, by the settings: on this machine, or under one prefix in S3 (LLAVAFLOW_STORAGE).

    <storage>/cache/       artifacts, as in `tasks/storage.py`
    <storage>/work/        checkpoints of training that is under way
    <storage>/mlflow/      artifacts of MLflow, where its store is our own (a server has its own place)
    <storage>/ledger/      what the ledger paid for, run by run, where the ledger is a file of this machine
    <storage>/withdrawn/   withdrawn images
    <storage>/runs/<id>/   folders of ended runs: report, log, configuration, result
    <storage>/             lock and trail of promotions, where no database is named (`flows/desk.py`)

Keys come from the AWS_* variables of whoever reads or writes, and are never handed on.
"""

from __future__ import annotations

from typing import Any

from configs.settings import Settings
from tasks.remote_spans import FileCache
from tasks.storage import Store
from tasks.tracking import MlflowStore
from tasks.withdrawn import WithdrawnImages


def storage_options(uri: str, settings: Settings) -> dict[str, Any] | None:
    """What fsspec has to be told to reach an uri."""
    return {"endpoint_url": settings.s3_endpoint} if uri.startswith("s3://") and settings.s3_endpoint else None


def storage_of(settings: Settings, part: str) -> str | None:
    """The uri of a part of the storage; None where all is kept on this machine."""
    return f"{settings.storage.rstrip('/')}/{part}" if settings.storage else None


def store_of(settings: Settings) -> Store:
    """The store of artifacts."""
    home = settings.home()
    root = settings.store or storage_of(settings, "cache") or str(home / "cache")
    return Store(root, home / "scratch", storage_options(root, settings))


def ledger_of(settings: Settings) -> str:
    """The URL of the ledger."""
    return settings.ledger_url or f"sqlite:///{settings.home()}/ledger.db"


def checkpoints_of(settings: Settings) -> str | None:
    """Where checkpoints of training under way lie; None for their work folders on this machine."""
    return settings.checkpoints or storage_of(settings, "work")


def mlflow_of(settings: Settings) -> MlflowStore:
    """MLflow's store: the server that is named, or one of this machine."""
    if settings.mlflow_uri:
        return MlflowStore(settings.mlflow_uri)
    return MlflowStore.under(settings.home(), storage_of(settings, "mlflow"))


def withdrawn_of(settings: Settings) -> WithdrawnImages:
    """The list of withdrawn images."""
    uri = storage_of(settings, "withdrawn")
    return WithdrawnImages(settings.home()) if uri is None else WithdrawnImages(uri, storage_options(uri, settings))


def shard_cache_of(settings: Settings) -> FileCache:
    """Where a machine keeps shards that it reads from the storage."""
    return FileCache(settings.home() / "scratch" / "shards", settings.shard_cache_gb * 10**9)
