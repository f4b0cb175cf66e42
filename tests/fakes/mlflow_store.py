"""A real MLflow store in a folder of the test. Its tables are made once per process and copied, which saves seconds."""

from __future__ import annotations

import shutil
import tempfile
from functools import cache
from pathlib import Path

from tasks.tracking import MlflowStore


@cache
def _migrated() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="mlflow-template-"))
    MlflowStore.under(folder).client()
    return folder / "mlflow.db"


def fresh_store(folder: Path) -> MlflowStore:
    """An empty store under a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(_migrated(), folder / "mlflow.db")
    return MlflowStore.under(folder)
