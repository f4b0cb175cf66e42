"""A registered version as a folder, laid out as MLflow loads it.

    MLmodel, pyfunc_model.py   how MLflow runs it: models from code, nothing is pickled
    artifacts/model/           the Hugging Face folder, for transformers and vLLM as it is; or, if linked,
    artifacts/weights.json     {"uri", "digest"} of that folder elsewhere
    evaluation/                report.json and examples/*.jsonl: what the gate compares challengers with
    canary.json                a few questions and this model's answers (`canary`)
    model_card.md, provenance.json, experiment.yaml
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.artifacts import content_digest
from tasks.register.canary import CANARY, Canary, answered
from tasks.register.evidence import EXAMPLES, REPORT
from tasks.storage import file_table

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

MODEL_CODE = Path(__file__).with_name("pyfunc_model.py")
EVALUATION, WEIGHTS = "evaluation", "artifacts/model"
CARD, PROVENANCE, EXPERIMENT = "model_card.md", "provenance.json", "experiment.yaml"
REQUIRED = ("mlflow", "torch", "transformers", "pillow", "jinja2", "pandas")
"""What a serving environment needs: the versions that are installed here are written down."""
FETCHING = ("fsspec", "s3fs")
"""What linked weights are fetched by."""
PICTURE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAFElEQVR4nGM8oaHBgA0wYRUdtBIA4DgBKJ8lCQoAAAAASUVORK5CYII="
)
"""A small red square, for the input example."""


@dataclass(frozen=True)
class Link:
    """Weights that stay where they are: the uri of their Hugging Face folder, and its digest."""

    uri: str
    digest: str


@dataclass(frozen=True)
class Contents:
    """What goes into a version."""

    model: Path
    """The Hugging Face folder."""
    evaluation: Path
    """The folder of the EvalReport."""
    files: Mapping[str, str]
    """Texts by file name: model card, provenance, experiment."""
    link: Link | None = None
    """Where the weights stay, if they are not copied."""
    canary: Canary = field(default_factory=Canary)
    """Questions that the packaged model is asked; its answers are kept."""


def write_package(folder: Path, contents: Contents, *, location: str, model_id: str, run_id: str) -> str:
    """Write the folder of a version; returns the digest of its evaluation.

    location, model_id and run_id are those of the MLflow logged model that the folder becomes. The packaged model is
    asked its canary questions, where there are any.
    """
    _save(folder, contents, location, model_id, run_id)
    for name, text in contents.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    if contents.canary.probes:
        (folder / CANARY).write_text(answered(str(folder), contents.canary).model_dump_json(indent=1), encoding="utf-8")
    return _copy_evaluation(contents.evaluation, folder / EVALUATION)


def _save(folder: Path, contents: Contents, location: str, model_id: str, run_id: str) -> None:
    """Write the model as MLflow lays it out. The input example is checked against the signature, and not run."""
    import pandas  # type: ignore[import-untyped]
    from mlflow import pyfunc
    from mlflow.models import Model

    example = pandas.DataFrame({"image": [PICTURE], "prompt": ["What is in the picture?"]})
    with _artifacts(contents) as artifacts:
        pyfunc.save_model(
            path=str(folder),
            mlflow_model=Model(artifact_path=location, model_uuid=model_id, run_id=run_id, model_id=model_id),
            python_model=str(MODEL_CODE),
            artifacts=artifacts,
            signature=_signature(),
            input_example=(example, {"max_new_tokens": 32, "temperature": 0.0}),
            pip_requirements=requirements(linked=contents.link is not None),
        )


@contextmanager
def _artifacts(contents: Contents) -> Iterator[dict[str, str]]:
    """What MLflow is to copy, by name: the weights, or the file that says where they are."""
    if contents.link is None:
        with _named_model(contents.model) as source:
            yield {"model": str(source)}
        return
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "weights.json")
        path.write_text(json.dumps(asdict(contents.link)), encoding="utf-8")
        yield {"weights": str(path)}


@contextmanager
def _named_model(model: Path) -> Iterator[Path]:
    """The folder under the name `model`, which MLflow keeps: a version is to lie at the same place always."""
    if model.name == "model":
        yield model
        return
    with tempfile.TemporaryDirectory() as scratch:
        link = Path(scratch, "model")
        link.symlink_to(model.absolute(), target_is_directory=True)
        yield link


def _signature() -> ModelSignature:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    return ModelSignature(
        inputs=Schema([ColSpec(DataType.string, "image"), ColSpec(DataType.string, "prompt")]),
        outputs=Schema([ColSpec(DataType.string)]),
        params=ParamSchema(
            [ParamSpec("max_new_tokens", DataType.long, 64), ParamSpec("temperature", DataType.double, 0.0)]
        ),
    )


def requirements(*, linked: bool = False) -> list[str]:
    """Pip requirements of a serving environment; local parts of versions (+cpu) are no part of them."""
    names = REQUIRED + (FETCHING if linked else ())
    return [f"{name}=={metadata.version(name).partition('+')[0]}" for name in names]


def _copy_evaluation(source: Path, target: Path) -> str:
    """Copy report and examples, the images aside; returns their digest."""
    (target / EXAMPLES).mkdir(parents=True)
    shutil.copyfile(source / REPORT, target / REPORT)
    for path in sorted((source / EXAMPLES).glob("*.jsonl")):
        shutil.copyfile(path, target / EXAMPLES / path.name)
    return content_digest(file_table(target))
