"""What `llavaflow evaluate --model` names: a LLaVA folder, a version in the registry, or an endpoint."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from configs.schema import OpenAIEndpoint
from tasks.errors import ConfigError

if TYPE_CHECKING:
    from tasks.evaluate.subject import Subject
    from tasks.tracking import MlflowStore

REGISTERED = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>\d+)|@(?P<alias>[^/@]+))")


@dataclass(frozen=True)
class Named:
    """The words of the command line. `model` is a path, models:/NAME/VERSION, models:/NAME@ALIAS, or a URL."""

    model: str
    name: str = ""
    """What an endpoint calls the model."""
    api_key_env: str = "OPENAI_API_KEY"
    template: str | None = None


def subject_of(named: Named, store: MlflowStore, fetched: Path) -> Subject:
    """The model itself. A registered one is fetched to a folder under `fetched`, once.

    Raises ConfigError if the words name nothing, RegistryError if the registry has no such version.
    """
    from tasks.evaluate.subject import of_endpoint, of_folder

    if named.model.startswith(("http://", "https://")):
        if not named.name:
            raise ConfigError(f"--model-name has to say which model of {named.model} is meant")
        endpoint = OpenAIEndpoint(
            kind="openai", base_url=named.model, model=named.name, api_key_env=named.api_key_env, temperature=0.0
        )
        return of_endpoint(endpoint)
    if named.model.startswith("models:"):
        return of_folder(_registered(named.model, store, fetched), named.template)
    folder = Path(named.model).expanduser().absolute()
    if not folder.is_dir():
        raise ConfigError(f"--model {named.model} is no folder, and neither models:/NAME/VERSION nor a URL")
    return of_folder(folder / "model" if (folder / "model" / "config.json").is_file() else folder, named.template)


def _registered(uri: str, store: MlflowStore, fetched: Path) -> Path:
    from tasks.register.registry import MlflowRegistry

    found = REGISTERED.fullmatch(uri)
    if found is None:
        raise ConfigError(f"--model {uri} is neither models:/NAME/VERSION nor models:/NAME@ALIAS")
    registry = MlflowRegistry(store, found["name"], found["alias"] or "")
    version = found["version"] or registry.champion()
    if version is None:
        raise ConfigError(f"no version of {found['name']} has the alias {found['alias']}; see: llavaflow models")
    return registry.fetch(version, fetched / f"{found['name']}-{version}")
