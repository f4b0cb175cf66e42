"""The endpoint put together: the registry's versions as models, alerts as events, uvicorn as the server."""

from __future__ import annotations

import asyncio
import os
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.load import load_serving
from configs.schema import RegistryConfig
from configs.serve import ServeConfig
from configs.settings import Settings
from flows.named_model import REGISTERED
from tasks.errors import ConfigError, EnvironmentProblem
from tasks.serve.app import Parts
from tasks.serve.engines import FolderSource, ServerSource, opener, server_opener
from tasks.serve.following import Canary, Open, Probe, Source, Tell
from tasks.serve.keys import Keys

if TYPE_CHECKING:
    from tasks.register.registry import MlflowRegistry

LOOPBACK = {"127.0.0.1", "::1", "localhost"}


@dataclass(frozen=True)
class Served:
    """The words of the command line: a model as `flows.named_model` names it, and what clients call it."""

    model: str
    name: str = ""


class RegistrySource:
    """Versions of a registered model; `alias` says which, or `version` the one."""

    def __init__(self, registry: MlflowRegistry, version: str | None, fetched: Path) -> None:
        self._registry, self._version, self._fetched = registry, version, fetched

    def pointed(self) -> str | None:
        """See `tasks.serve.following.Source`."""
        return self._version or self._registry.champion()

    def folder(self, version: str) -> Path:
        """See `tasks.serve.following.Source`."""
        return self._registry.fetch(version, self._fetched / f"{self._registry.name}-{version}")

    def canary(self, version: str) -> Canary:
        """See `tasks.serve.following.Source`."""
        told = self._registry.canary(version)
        probes = tuple(Probe(b64decode(probe.image), probe.prompt, probe.answer) for probe in told.probes)
        return Canary(probes, told.tokens, told.share)


def parts_of(served: Served, config: ServeConfig, settings: Settings) -> Parts:
    """What the app is made of. Raises ConfigError if the words name nothing."""
    keys = Keys.of("" if settings.serve_keys is None else settings.serve_keys.get_secret_value())
    found = REGISTERED.fullmatch(served.model)
    name = served.name or (found["name"] if found else RegistryConfig().model_name)
    source, opened = _source(served.model, config, settings)
    challenger = None
    if config.shadow.model is not None:
        challenger, _ = _source(config.shadow.model, config, settings)
    also = (served.model,) if found else ()
    pairs = settings.home() / "serve" / "pairs.db"
    return Parts(name, config, source, opened, keys, alerts(), challenger, pairs, also)


def run(served: Served, config: ServeConfig, host: str, port: int) -> None:
    """Serve until somebody ends it. Raises ConfigError, EnvironmentProblem if the address cannot be listened at."""
    import uvicorn

    from flows.environment import prepare_environment
    from flows.logs import quiet_terminal
    from tasks.serve.app import build_app

    settings = Settings()
    quiet_terminal(verbose=True)
    prepare_environment(settings)
    if host not in LOOPBACK and settings.serve_keys is None:
        raise ConfigError(f"whoever reaches {host} could ask: set LLAVAFLOW_SERVE_KEYS, or listen at 127.0.0.1")
    app = build_app(parts_of(served, config, settings))
    server = uvicorn.Server(
        uvicorn.Config(
            app, host=host, port=port, log_level="warning", access_log=False, server_header=False,
            timeout_graceful_shutdown=int(config.limits.seconds), limit_concurrency=None, backlog=2048,
        )
    )
    try:
        asyncio.run(server.serve())
    except SystemExit as error:
        raise EnvironmentProblem(f"{host}:{port} cannot be listened at; choose another with --port") from error


def alerts() -> Tell:
    """What hands alerts to Prefect, where one is configured."""
    if not os.environ.get("PREFECT_API_URL"):
        return _nobody
    from flows.events import tell

    def told(event: str, payload: Mapping[str, str]) -> None:
        labels = {"llavaflow.model.version": payload["version"]}
        tell(event, f"llavaflow.serve.{payload['model']}", dict(payload), labels)

    return told


def _nobody(event: str, payload: Mapping[str, str]) -> None:
    """Without Prefect an alert is a line of the log, which it is anyway."""


def _source(model: str, config: ServeConfig, settings: Settings) -> tuple[Source, Open]:
    if model.startswith(("http://", "https://")):
        return ServerSource(), server_opener(model, "default", os.environ.get("OPENAI_API_KEY", "none"))
    if model.startswith("models:"):
        return _registered(model, settings), opener(config)
    folder = Path(model).expanduser().absolute()
    folder = folder / "model" if (folder / "model" / "config.json").is_file() else folder
    if not (folder / "config.json").is_file():
        raise ConfigError(f"{model} is no model folder, and neither models:/NAME@ALIAS nor a URL")
    return FolderSource(folder), opener(config)


def _registered(uri: str, settings: Settings) -> RegistrySource:
    from flows.places import mlflow_of
    from tasks.register.registry import MlflowRegistry

    found = REGISTERED.fullmatch(uri)
    if found is None:
        raise ConfigError(f"{uri} is neither models:/NAME/VERSION nor models:/NAME@ALIAS")
    fetched = settings.home() / "work" / "models"
    fetched.mkdir(parents=True, exist_ok=True)
    registry = MlflowRegistry(mlflow_of(settings), found["name"], found["alias"] or "")
    return RegistrySource(registry, found["version"], fetched)


def parts_on_ray(args: Mapping[str, Any]) -> Parts:
    """The parts in a replica on Ray: `model`, `name` and `set` of infra/serve/ray-serve.yaml."""
    from flows.environment import prepare_environment

    settings = Settings()
    prepare_environment(settings)
    served = Served(str(args.get("model", "models:/llavaflow@champion")), str(args.get("name", "")))
    return parts_of(served, load_serving([str(one) for one in args.get("set", ())]), settings)
