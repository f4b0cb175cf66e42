"""The registry of this installation, as commands reach it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.register.registry import MlflowRegistry


def registry_of(model: str) -> MlflowRegistry:
    """The versions of a model, on the MLflow server that is configured, else in the store under the root."""
    from configs.schema import RegistryConfig
    from configs.settings import Settings
    from flows.environment import prepare_environment
    from flows.logs import quiet_terminal
    from flows.places import mlflow_of
    from tasks.register.registry import MlflowRegistry

    settings = Settings()
    quiet_terminal(verbose=False)
    prepare_environment(settings)
    return MlflowRegistry(mlflow_of(settings), model, RegistryConfig().alias)
