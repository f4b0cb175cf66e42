"""Which version of the registry a word of the command line means."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

from flows.lineage.records import KnownVersion
from tasks.errors import RegistryError

URI = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>\d+)|@(?P<alias>[^/@]+))")


class Versions(Protocol):
    """What lineage reads of a registry (`tasks.register.registry.MlflowRegistry`)."""

    @property
    def name(self) -> str:
        """The registered model."""

    @property
    def alias(self) -> str:
        """The alias of its champion."""

    def tags(self) -> list[tuple[str, str, dict[str, str]]]:
        """(version, run id, tags without prefix) of every version, newest first."""

    def aliases(self) -> Mapping[str, str]:
        """Alias to version."""

    def text(self, version: str, name: str) -> str | None:
        """A text that a version was registered with."""

    def champion(self) -> str | None:
        """The version that the alias points to."""


def known_versions(registry: Versions) -> list[KnownVersion]:
    """All versions, newest first."""
    aliases = registry.aliases()
    return [
        KnownVersion(
            version=version, run_id=run_id, tags=tags,
            aliases=tuple(sorted(alias for alias, pointed in aliases.items() if str(pointed) == version)),
        )
        for version, run_id, tags in registry.tags()
    ]


def version_of(word: str, model: str, versions: Sequence[KnownVersion]) -> KnownVersion:
    """The version that a number, an alias, models:/NAME/VERSION, models:/NAME@ALIAS or a run id means.

    Raises RegistryError where there is none.
    """
    found = URI.fullmatch(word)
    if found is not None and found["name"] != model:
        raise RegistryError(f"{word} is of another model than {model}; name it by --model {found['name']}")
    wanted = word if found is None else found["version"] or found["alias"]
    for version in versions:
        if wanted == version.version or wanted in version.aliases:
            return version
    of_run = [one for one in versions if found is None and wanted in (one.run_id, one.tags.get("run"))]
    if not of_run:
        raise RegistryError(f"{model} has no version, alias or run {word!r}; see: llavaflow models")
    return of_run[0]


def model_name(word: str, default: str) -> str:
    """The registered model that a word names; the default where it names none."""
    found = URI.fullmatch(word)
    return default if found is None else found["name"]
