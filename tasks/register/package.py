"""A registered version as a folder, laid out as MLflow loads it.

    MLmodel, pyfunc_model.py   how MLflow runs it: models from code, nothing is pickled
    artifacts/model/           the Hugging Face folder, for transformers and vLLM as it is
    evaluation/                report.json and examples/*.jsonl: what the gate compares challengers with
    model_card.md
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.artifacts import content_digest
from tasks.register.evidence import EXAMPLES, REPORT
from tasks.storage import file_table

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

MODEL_CODE = Path(__file__).with_name("pyfunc_model.py")
EVALUATION, WEIGHTS, CARD = "evaluation", "artifacts/model", "model_card.md"
REQUIRED = ("mlflow", "torch", "transformers", "pillow", "jinja2", "pandas")
"""What a serving environment needs: the versions that are installed here are written down."""
PICTURE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAFElEQVR4nGM8oaHBgA0wYRUdtBIA4DgBKJ8lCQoAAAAASUVORK5CYII="
)
"""A small red square, for the input example."""


def write_package(
    folder: Path, model: Path, evaluation: Path, card: str, *, location: str, model_id: str, run_id: str
) -> str:
    """Write the folder of a version; returns the digest of its evaluation.

    `model` is a Hugging Face folder, `evaluation` the folder of an EvalReport; location, model_id and run_id are those
    of the MLflow logged model that the folder becomes.
    """
    _save(folder, model, location, model_id, run_id)
    (folder / CARD).write_text(card, encoding="utf-8")
    return _copy_evaluation(evaluation, folder / EVALUATION)


def _save(folder: Path, model: Path, location: str, model_id: str, run_id: str) -> None:
    """Write the model as MLflow lays it out. The input example is checked against the signature, and not run."""
    import pandas  # type: ignore[import-untyped]
    from mlflow import pyfunc
    from mlflow.models import Model

    example = pandas.DataFrame({"image": [PICTURE], "prompt": ["What is in the picture?"]})
    with _named_model(model) as source:
        pyfunc.save_model(
            path=str(folder),
            mlflow_model=Model(artifact_path=location, model_uuid=model_id, run_id=run_id, model_id=model_id),
            python_model=str(MODEL_CODE),
            artifacts={"model": str(source)},
            signature=_signature(),
            input_example=(example, {"max_new_tokens": 32, "temperature": 0.0}),
            pip_requirements=requirements(),
        )


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


def requirements() -> list[str]:
    """Pip requirements of a serving environment; local parts of versions (+cpu) are no part of them."""
    return [f"{name}=={metadata.version(name).partition('+')[0]}" for name in REQUIRED]


def _copy_evaluation(source: Path, target: Path) -> str:
    """Copy report and examples, the images aside; returns their digest."""
    (target / EXAMPLES).mkdir(parents=True)
    shutil.copyfile(source / REPORT, target / REPORT)
    for path in sorted((source / EXAMPLES).glob("*.jsonl")):
        shutil.copyfile(path, target / EXAMPLES / path.name)
    return content_digest(file_table(target))
