"""The MLflow registry: a version a checkpoint and evaluation, its tags, and the alias of the champion.

What lies in a version is said in `package`. An alias is last-writer-wins in MLflow; `promote` supplies lock,
precondition and history.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, JsonValue

from tasks.artifacts import Frozen, ModelVersion, canonical_json, content_digest
from tasks.errors import RegistryError
from tasks.register.evidence import Evidence, read_evidence
from tasks.register.package import EVALUATION, WEIGHTS, write_package
from tasks.storage import file_table
from tasks.tracking import MlflowStore

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion as Version

PREFIX = "llavaflow."
TAG_LENGTH = 5000


class Candidate(Frozen):
    """What a version is registered with. Digests are those of the descriptors."""

    experiment: str
    run: str
    """The pipeline's id of the run."""
    run_id: str
    """MLflow's id of it."""
    checkpoint: str
    evaluation: str
    git_commit: str | None = None
    git_dirty: bool | None = None
    data: dict[str, str] = Field(default_factory=dict)
    """Descriptor name to digest of everything it learned from."""

    def tags(self) -> dict[str, str]:
        """The tags that say where the version comes from."""
        plain = {
            "experiment": self.experiment,
            "run": self.run,
            "checkpoint": self.checkpoint,
            "evaluation": self.evaluation,
            "git_commit": self.git_commit or "",
            "git_dirty": "" if self.git_dirty is None else str(self.git_dirty).lower(),
            **{f"data.{name}": digest for name, digest in sorted(self.data.items())},
        }
        return {PREFIX + name: value for name, value in plain.items() if value}


class MlflowRegistry:
    """One registered model and the alias of its champion."""

    def __init__(self, store: MlflowStore, name: str, alias: str) -> None:
        self.store = store
        self.name = name
        self.alias = alias

    # ------------------------------------------------------------------------------------------------ versions

    def register(self, candidate: Candidate, model: Path, evaluation: Path, card: str) -> ModelVersion:
        """Register a checkpoint with its evaluation; the same two again give the version there is.

        `model` is the Hugging Face folder, `evaluation` the folder of the EvalReport, `card` the model card's text.
        Raises RegistryError when MLflow refuses.
        """
        evidence = read_evidence(evaluation, candidate.checkpoint, candidate.evaluation)
        with self._refusals("register the model"):
            found = self._find(candidate)
            if found is None:
                self._create_model()
                found = self._create_version(candidate, model, evaluation, card, evidence.scores())
        return _descriptor(found)

    def evidence(self, version: str) -> Evidence:
        """The evaluation that a version was registered with.

        Raises RegistryError if there is no such version, or its evaluation was altered since.
        """
        with self._refusals(f"fetch the evaluation of version {version}"), tempfile.TemporaryDirectory() as scratch:
            from mlflow.artifacts import download_artifacts

            tags = self._version(version).tags
            if PREFIX + "evidence" not in tags:
                raise RegistryError(
                    f"version {version} of {self.name} was not registered by llavaflow and has no evaluation; "
                    f"point the alias {self.alias} to a version that has one"
                )
            folder = Path(download_artifacts(f"{self._location(version)}/{EVALUATION}", dst_path=scratch))
            if content_digest(file_table(folder)) != tags[PREFIX + "evidence"]:
                raise RegistryError(
                    f"the evaluation of version {version} was altered after it was registered; register its model anew"
                )
            return read_evidence(folder, tags[PREFIX + "checkpoint"], tags[PREFIX + "evaluation"])

    def weights(self, version: str) -> str:
        """Uri of a version's Hugging Face folder."""
        with self._refusals(f"find version {version}"):
            return f"{self._location(version)}/{WEIGHTS}"

    def fetch(self, version: str, folder: Path) -> Path:
        """A version's Hugging Face folder as a local one, fetched to `folder` unless it lies there already.

        Raises RegistryError if there is no such version, or it holds no such folder.
        """
        if folder.is_dir():
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        with self._refusals(f"fetch version {version} of {self.name}"):
            from mlflow.artifacts import download_artifacts

            with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
                fetched = Path(download_artifacts(self.weights(version), dst_path=scratch))
                shutil.move(fetched, folder)
        return folder

    def rows(self) -> list[dict[str, JsonValue]]:
        """Every version, newest first, as `llavaflow models --json` prints them."""
        aliases = self._aliases()
        with self._refusals("list the versions"):
            return [_row(version, aliases) for version in self._versions()]

    def tag(self, version: str, tags: Mapping[str, str]) -> None:
        """Set tags of a version (named without prefix)."""
        with self._refusals(f"tag version {version}"):
            for name, value in tags.items():
                self.store.client().set_model_version_tag(self.name, version, PREFIX + name, value)

    # ------------------------------------------------------------------------------------------------ champion

    def champion(self) -> str | None:
        """The version that the alias points to."""
        return next((version for alias, version in self._aliases().items() if alias == self.alias), None)

    def set_champion(self, version: str) -> None:
        """Point the alias to a version."""
        with self._refusals(f"move the alias {self.alias} to version {version}"):
            self.store.client().set_registered_model_alias(self.name, self.alias, version)

    # ------------------------------------------------------------------------------------------------ within

    def _aliases(self) -> dict[str, str]:
        client = self.store.client()
        from mlflow.exceptions import MlflowException

        try:
            return {alias: str(version) for alias, version in client.get_registered_model(self.name).aliases.items()}
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return {}
            raise RegistryError(f"MLflow did not say which version is {self.alias}: {error}") from error

    def _version(self, version: str) -> Version:
        return self.store.client().get_model_version(self.name, version)

    def _location(self, version: str) -> str:
        return str(self.store.client().get_model_version_download_uri(self.name, version)).rstrip("/")

    def _versions(self, condition: str = "") -> list[Version]:
        found: list[Version] = []
        token: str | None = None
        while True:
            page = self.store.client().search_model_versions(f"name = '{self.name}'{condition}", page_token=token)
            found += page
            token = page.token
            if not token:
                return sorted(found, key=lambda version: -int(version.version))

    def _find(self, candidate: Candidate) -> Version | None:
        same = {"checkpoint": candidate.checkpoint, "evaluation": candidate.evaluation}
        condition = "".join(f" and tags.`{PREFIX}{name}` = '{value}'" for name, value in same.items())
        return next(iter(self._versions(condition)), None)

    def _create_model(self) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self.store.client().create_registered_model(self.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _create_version(
        self, candidate: Candidate, model: Path, evaluation: Path, card: str, scores: dict[str, float]
    ) -> Version:
        """Log the model, then name it: a process killed in between leaves a logged model that nothing points to."""
        import mlflow
        from mlflow.entities import LoggedModelOutput

        client = self.store.client()
        mlflow.set_tracking_uri(self.store.uri)
        experiment = client.get_run(candidate.run_id).info.experiment_id
        logged = client.create_logged_model(
            experiment, name=self.name, source_run_id=candidate.run_id, tags=candidate.tags()
        )
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch, "package")
            evidence = write_package(
                folder, model, evaluation, card, location=logged.artifact_location, model_id=logged.model_id,
                run_id=candidate.run_id,
            )
            client.log_model_artifacts(logged.model_id, str(folder))
        client.finalize_logged_model(logged.model_id, "READY")
        client.log_outputs(candidate.run_id, [LoggedModelOutput(logged.model_id, step=0)])
        tags = {**candidate.tags(), PREFIX + "evidence": evidence, **score_tags(scores)}
        return client.create_model_version(
            self.name, f"models:/{logged.model_id}", run_id=candidate.run_id, tags=tags, model_id=logged.model_id
        )

    @contextmanager
    def _refusals(self, what: str) -> Iterator[None]:
        """Turn what MLflow raises into one line."""
        self.store.client()
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException as error:
            line = str(error).splitlines()[0]
            raise RegistryError(f"MLflow ({self.store.uri}) did not {what}: {line}") from error


# ---------------------------------------------------------------------------------------------------- files and tags


def score_tags(scores: Mapping[str, float]) -> dict[str, str]:
    """Scores as JSON in one tag, or in several where one would be too long for MLflow's page."""
    text = canonical_json({name: round(value, 4) for name, value in scores.items()})
    parts = [text[start : start + TAG_LENGTH] for start in range(0, len(text), TAG_LENGTH)]
    return {f"{PREFIX}scores" + (f".{index}" if index else ""): part for index, part in enumerate(parts)}


def scores_of(tags: Mapping[str, str]) -> dict[str, JsonValue]:
    """Scores out of the tags of a version; empty if it was registered by other means."""
    first = f"{PREFIX}scores"
    more = [name for name in tags if name.startswith(first + ".")]
    more.sort(key=lambda name: int(name.rpartition(".")[2]))
    found: dict[str, JsonValue] = json.loads("".join(tags.get(name, "") for name in (first, *more)) or "{}")
    return found


def _descriptor(version: Version) -> ModelVersion:
    return ModelVersion(
        name=version.name,
        version=str(version.version),
        source=version.source,
        run_id=version.run_id or "",
        checkpoint=version.tags[PREFIX + "checkpoint"],
        evaluation=version.tags[PREFIX + "evaluation"],
    )


def _row(version: Version, aliases: Mapping[str, str]) -> dict[str, JsonValue]:
    tags = version.tags
    created = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
    return {
        "version": str(version.version),
        "aliases": [alias for alias, pointed in sorted(aliases.items()) if pointed == str(version.version)],
        "decision": tags.get(PREFIX + "decision"),
        "reasons": [*tags.get(PREFIX + "reasons", "").splitlines()],
        "scores": scores_of(tags),
        "experiment": tags.get(PREFIX + "experiment"),
        "run": tags.get(PREFIX + "run"),
        "run_id": version.run_id,
        "checkpoint": tags.get(PREFIX + "checkpoint"),
        "created": created.isoformat(timespec="seconds"),
        "git_commit": tags.get(PREFIX + "git_commit"),
    }
