"""The MLflow registry: a version a checkpoint and evaluation, its tags, and the alias of the champion.

What lies in a version is said in `package`. An alias is last-writer-wins in MLflow; `promote` supplies lock,
precondition and history.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import fsspec
from pydantic import JsonValue, ValidationError

from tasks.artifacts import ModelVersion, content_digest
from tasks.errors import RegistryError
from tasks.register.canary import CANARY, Canary, ask
from tasks.register.evidence import Evidence, read_evidence
from tasks.register.package import EVALUATION, WEIGHTS, Contents, write_package
from tasks.register.version import PREFIX, Candidate, descriptor_of, row_of, score_tags
from tasks.storage import file_table
from tasks.tracking import MlflowStore

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion as Version
LINE = 500
"""Longest message of MLflow's that is passed on."""


class MlflowRegistry:
    """One registered model and the alias of its champion."""

    def __init__(self, store: MlflowStore, name: str, alias: str) -> None:
        self.store = store
        self.name = name
        self.alias = alias

    # ------------------------------------------------------------------------------------------------ versions

    def register(self, candidate: Candidate, contents: Contents) -> ModelVersion:
        """Register a checkpoint with its evaluation; the same two again give the version there is.

        Raises RegistryError when MLflow refuses, or the disk is full.
        """
        evidence = read_evidence(contents.evaluation, candidate.checkpoint, candidate.evaluation)
        with self._refusals("register the model"):
            found = self._find(candidate)
            if found is None:
                self._create_model()
                found = self._create_version(candidate, contents, evidence.scores())
        return descriptor_of(found)

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

    def evaluation(self, version: str, into: Path) -> tuple[Path, str]:
        """The files of a version's evaluation, fetched into a folder, and its digest. Images are not among them.

        Raises RegistryError if there is no such version or it has none.
        """
        with self._refusals(f"fetch the evaluation of version {version}"):
            from mlflow.artifacts import download_artifacts

            tags = self._version(version).tags
            if PREFIX + "evaluation" not in tags:
                raise RegistryError(f"version {version} of {self.name} was not registered by llavaflow: no evaluation")
            folder = Path(download_artifacts(f"{self._location(version)}/{EVALUATION}", dst_path=str(into)))
            return folder, tags[PREFIX + "evaluation"]

    def of_alias(self, alias: str) -> str | None:
        """The version that an alias points to."""
        return self._aliases().get(alias)

    def weights(self, version: str) -> str:
        """Uri of a version's Hugging Face folder: in the version, or where it was linked."""
        with self._refusals(f"find version {version}"):
            linked = self._version(version).tags.get(PREFIX + "weights")
            return linked or f"{self._location(version)}/{WEIGHTS}"

    def fetch_weights(self, version: str, folder: Path) -> None:
        """Copy a version's Hugging Face folder to `folder`, which must not exist yet."""
        uri = self.weights(version)
        with self._refusals(f"fetch the weights of version {version}"), tempfile.TemporaryDirectory() as scratch:
            if uri.startswith("s3://"):
                filesystem, path = fsspec.core.url_to_fs(uri)
                filesystem.get(path.rstrip("/") + "/", str(folder), recursive=True)
                return
            from mlflow.artifacts import download_artifacts

            local = Path(uri.removeprefix("file://"))
            shutil.copytree(local if local.is_dir() else Path(download_artifacts(uri, dst_path=scratch)), folder)

    def tag_of(self, version: str, name: str) -> str | None:
        """A tag of a version (named without prefix)."""
        with self._refusals(f"find version {version}"):
            return self._version(version).tags.get(PREFIX + name)

    def text(self, version: str, name: str) -> str | None:
        """A text that a version was registered with (`package`); None if it has no such file."""
        with self._refusals(f"fetch {name} of version {version}"), tempfile.TemporaryDirectory() as scratch:
            path = self._fetched(version, name, scratch)
            return None if path is None else path.read_text(encoding="utf-8")

    def tags(self) -> list[tuple[str, str, dict[str, str]]]:
        """(version, MLflow's run id, tags without prefix) of every version, newest first."""
        with self._refusals("list the versions"):
            return [
                (
                    str(version.version), version.run_id or "",
                    {name.removeprefix(PREFIX): tag for name, tag in version.tags.items() if name.startswith(PREFIX)},
                )
                for version in self._versions()
            ]

    def models(self) -> list[str]:
        """Names of all registered models, this one among them or not."""
        with self._refusals("list the models"):
            found: list[str] = []
            token: str | None = None
            while True:
                page = self.store.client().search_registered_models(page_token=token)
                found += [model.name for model in page]
                token = page.token
                if not token:
                    return sorted(found)

    def aliases(self) -> dict[str, str]:
        """Alias to version."""
        return self._aliases()

    def canary(self, version: str) -> Canary:
        """The questions and answers that a version was registered with; none if it was registered without."""
        with self._refusals(f"fetch version {version}"), tempfile.TemporaryDirectory() as scratch:
            path = self._fetched(version, CANARY, scratch)
            try:
                return Canary() if path is None else Canary.model_validate_json(path.read_bytes())
            except ValidationError as error:
                raise RegistryError(f"{CANARY} of version {version} was altered; register its model anew") from error

    def answers(self, version: str, canary: Canary) -> list[str]:
        """What a version, loaded from the registry, answers to a canary now."""
        with self._refusals(f"load version {version}"):
            return ask(f"models:/{self.name}/{version}", canary.probes, canary.tokens)

    def fetch(self, version: str, folder: Path) -> Path:
        """A version's Hugging Face folder as a local one, fetched to `folder` unless it lies there already.

        Raises RegistryError if there is no such version, or it holds no such folder.
        """
        if folder.is_dir():
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            fetched = Path(scratch, "weights")
            self.fetch_weights(version, fetched)
            shutil.move(fetched, folder)
        return folder

    def rows(self) -> list[dict[str, JsonValue]]:
        """Every version, newest first, as `llavaflow models --json` prints them."""
        aliases = self._aliases()
        with self._refusals("list the versions"):
            return [row_of(version, aliases) for version in self._versions()]

    def tag(self, version: str, tags: Mapping[str, str]) -> None:
        """Set tags of a version (named without prefix)."""
        with self._refusals(f"tag version {version}"):
            for name, value in tags.items():
                self.store.client().set_model_version_tag(self.name, version, PREFIX + name, value)

    # ------------------------------------------------------------------------------------------------ champion

    def champion(self) -> str | None:
        """The version that the alias points to."""
        return next((version for alias, version in self._aliases().items() if alias == self.alias), None)

    def set_champion(self, version: str | None) -> None:
        """Point the alias to a version; None takes it away."""
        client = self.store.client()
        if version is None:
            with self._refusals(f"take the alias {self.alias} away"):
                client.delete_registered_model_alias(self.name, self.alias)
            return
        with self._refusals(f"move the alias {self.alias} to version {version}"):
            client.set_registered_model_alias(self.name, self.alias, version)

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

    def _fetched(self, version: str, name: str, scratch: str) -> Path | None:
        """A local copy of a file of a version; None if it has no such file."""
        from mlflow.artifacts import download_artifacts, list_artifacts

        location = self._location(version)
        if all(Path(found.path).name != name for found in list_artifacts(location)):
            return None
        return Path(download_artifacts(f"{location}/{name}", dst_path=scratch))

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

    def _create_version(self, candidate: Candidate, contents: Contents, scores: dict[str, float]) -> Version:
        """Log the model, then name it: a process killed in between leaves a logged model that nothing points to."""
        import mlflow
        from mlflow.entities import LoggedModelOutput
        from mlflow.exceptions import MlflowException

        client = self.store.client()
        mlflow.set_tracking_uri(self.store.uri)
        experiment = client.get_run(candidate.run_id).info.experiment_id
        logged = client.create_logged_model(
            experiment, name=self.name, source_run_id=candidate.run_id, tags=candidate.tags()
        )
        try:
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch, "package")
                evidence = write_package(
                    folder, contents, location=logged.artifact_location, model_id=logged.model_id,
                    run_id=candidate.run_id,
                )
                client.log_model_artifacts(logged.model_id, str(folder))
        except (OSError, MlflowException):  # MLflow wraps some of the errors of a full disk
            client.finalize_logged_model(logged.model_id, "FAILED")
            raise
        client.finalize_logged_model(logged.model_id, "READY")
        client.log_outputs(candidate.run_id, [LoggedModelOutput(logged.model_id, step=0)])
        linked = {} if contents.link is None else {PREFIX + "weights": contents.link.uri}
        tags = {**candidate.tags(), **linked, PREFIX + "evidence": evidence, **score_tags(scores)}
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
            line = " ".join(str(error).split())[:LINE]
            raise RegistryError(f"MLflow ({self.store.uri}) did not {what}: {line}") from error
        except OSError as error:
            cause = " ".join(str(error).split())
            raise RegistryError(
                f"MLflow ({self.store.uri}) could not {what}: {cause}; see to disk and network, then run again"
            ) from error
