"""`llavaflow publish`: tell the Prefect server that a version of a data set is there; automations may retrain on it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import NAMESPACE_URL, UUID, uuid5

from pydantic import JsonValue

from configs.load import load_experiment
from flows.prefect_remote import configured_client
from tasks.artifacts import digest_of
from tasks.errors import ConfigError

WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Publication:
    """A version of a data set, and the experiment that learns from it."""

    dataset: str
    version: str
    experiment: str
    overrides: tuple[str, ...]
    """With {version} filled in."""

    @property
    def id(self) -> UUID:
        """Of the event: the same publication again is the same event."""
        return uuid5(NAMESPACE_URL, f"llavaflow:{self.dataset}:{self.version}:{digest_of(self.payload())}")

    def payload(self) -> dict[str, JsonValue]:
        """What an automation hands to a deployment."""
        return {
            "dataset": self.dataset, "version": self.version, "experiment": self.experiment,
            "overrides": list(self.overrides), "tag": f"{self.dataset}-{self.version}",
        }


def publication_of(dataset: str, version: str, experiment: str | None, overrides: Sequence[str] = ()) -> Publication:
    """Check what is to be published. Raises ConfigError for a name or version that is no word, or no experiment."""
    for what, word in (("data set", dataset), ("version", version)):
        if WORD.fullmatch(word) is None:
            raise ConfigError(f"{what} {word!r} is not a word of letters, digits, '.', '_' and '-'")
    filled = fill(overrides, version)
    load_experiment(experiment or dataset, filled)
    return Publication(dataset, version, experiment or dataset, filled)


def fill(overrides: Sequence[str], version: str) -> tuple[str, ...]:
    """Overrides with {version} replaced; other braces stay, as YAML has them too."""
    return tuple(override.replace("{version}", version) for override in overrides)


def publish(publication: Publication, event: str = "llavaflow.data.published", of: str = "llavaflow.data") -> None:
    """Send the event, and return when the server has it. Raises EnvironmentProblem if it cannot be sent."""
    from prefect.events.schemas.events import Event, Resource

    labels = {
        "prefect.resource.id": f"{of}.{publication.dataset}",
        "prefect.resource.name": publication.dataset,
        "llavaflow.data.version": publication.version,
    }
    sent = Event(
        event=event, resource=Resource.model_validate(labels), payload=publication.payload(), id=publication.id
    )
    with configured_client() as client:
        client.request("POST", "/events", json=[sent.model_dump(mode="json")])
