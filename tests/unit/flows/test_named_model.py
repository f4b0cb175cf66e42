"""What `evaluate --model` names, and what is said where it names nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.schema import EvaluateConfig
from flows.named_model import Named, subject_of
from tasks.chat.client import make_client
from tasks.errors import ConfigError, EnvironmentProblem, RegistryError
from tasks.evaluate.subject import of_folder, open_answerer
from tasks.register.package import Contents
from tasks.register.registry import MlflowRegistry
from tasks.register.version import Candidate
from tasks.tracking import MlflowStore, MlflowTracker
from tests.fakes.evaluations import digest_of_name, evaluation
from tests.fakes.mlflow_store import fresh_store

NOWHERE = MlflowStore("sqlite:////nowhere/mlflow.db")


def folder_of(path: Path, weights: bytes = b"weights") -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    (path / "model.safetensors").write_bytes(weights)
    return path


def named(model: str, tmp_path: Path, **more: str) -> object:
    return subject_of(Named(model, **more), NOWHERE, tmp_path / "fetched").identity


def test_a_folder_is_told_by_its_content_and_its_template(tmp_path: Path) -> None:
    one, same = folder_of(tmp_path / "a"), folder_of(tmp_path / "b")
    other = folder_of(tmp_path / "c", b"others")
    assert named(str(one), tmp_path) == named(str(same), tmp_path) != named(str(other), tmp_path)
    assert named(str(one), tmp_path, template="v1") != named(str(one), tmp_path)


def test_a_checkpoint_of_a_run_is_found_in_its_artifact(tmp_path: Path) -> None:
    folder_of(tmp_path / "artifact" / "model")
    subject = subject_of(Named(str(tmp_path / "artifact")), NOWHERE, tmp_path)
    assert subject.folder == tmp_path / "artifact" / "model"


def test_a_url_is_an_endpoint_and_needs_the_model_s_name(tmp_path: Path) -> None:
    subject = subject_of(Named("http://host/v1/", "gpt", api_key_env="KEY"), NOWHERE, tmp_path)
    assert subject.endpoint is not None and subject.endpoint.api_key_env == "KEY"
    assert subject.identity == {"base_url": "http://host/v1", "model": "gpt"}
    with pytest.raises(ConfigError, match="--model-name has to say"):
        named("http://host/v1", tmp_path)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("no/such/folder", "is no folder, and neither"),
        ("models:/llavaflow", r"neither models:/NAME/VERSION nor"),
        ("models:/llavaflow/latest/1", r"neither models:/NAME/VERSION nor"),
    ],
)
def test_what_names_nothing_is_refused_with_what_would(tmp_path: Path, model: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        named(model, tmp_path)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no config\.json"):
        named(str(tmp_path), tmp_path)


def test_a_registered_version_is_fetched_once_by_number_or_alias(tmp_path: Path) -> None:
    registry = MlflowRegistry(fresh_store(tmp_path / "root"), "llavaflow", "champion")
    run = MlflowTracker(registry.store, "shapes", "run", system_seconds=None)
    known = Candidate(
        experiment="shapes", run="run", run_id=run.run_id, checkpoint=digest_of_name("checkpoint"),
        evaluation=digest_of_name("evaluation"),
    )
    model = folder_of(tmp_path / "checkpoint" / "model")
    registry.register(known, Contents(model, evaluation(tmp_path / "evaluation", questions=8), {}))
    registry.set_champion("1")
    found = [
        subject_of(Named(uri), registry.store, tmp_path / "fetched")
        for uri in ("models:/llavaflow/1", "models:/llavaflow@champion")
    ]
    assert found[0] == found[1] and found[0].identity == of_folder(model, None).identity
    with pytest.raises(ConfigError, match="has the alias rival"):
        subject_of(Named("models:/llavaflow@rival"), registry.store, tmp_path / "fetched")
    with pytest.raises(RegistryError, match="version 7"):
        subject_of(Named("models:/llavaflow/7"), registry.store, tmp_path / "fetched")


def test_an_engine_that_is_not_installed_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    subject = of_folder(folder_of(tmp_path / "a"), None)
    config = EvaluateConfig(engine="vllm")
    with pytest.raises(EnvironmentProblem, match=r"vLLM is not installed.*engine=transformers"):
        open_answerer(subject, config, lambda endpoint: pytest.fail("asked"), tmp_path, lambda: None)


def test_there_is_no_scripted_model_to_evaluate() -> None:
    from configs.schema import ScriptedEndpoint

    with pytest.raises(ConfigError, match="no scripted model"):
        make_client(ScriptedEndpoint(kind="scripted"), None, "model")
