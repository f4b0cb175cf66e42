"""The model that is evaluated: where it is, how it is talked to, what tells it from others; and how it is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import JsonValue

from configs.schema import EvaluateConfig, OpenAIEndpoint
from tasks.artifacts import content_digest
from tasks.errors import ConfigError
from tasks.evaluate.answers import Answerer
from tasks.evaluate.endpoint import Asking, EndpointAnswerer
from tasks.evaluate.kept import FILE, KeptAnswers
from tasks.evaluate.spread import SpreadAnswerer, Workers
from tasks.storage import file_table


@dataclass(frozen=True)
class Subject:
    """A folder of Hugging Face's layout or an endpoint. `template` None: the checkpoint's own chat template."""

    identity: Mapping[str, JsonValue]
    """All that shapes its answers: digest and template, or address and name."""
    folder: Path | None = None
    template: str | None = None
    endpoint: OpenAIEndpoint | None = None


def of_folder(folder: Path, template: str | None, digest: str | None = None) -> Subject:
    """A checkpoint; without a digest every file is read for one. Raises ConfigError if it is no model folder."""
    if not (folder / "config.json").is_file():
        raise ConfigError(f"{folder} holds no config.json: it is no model folder")
    told: dict[str, JsonValue] = {"digest": digest or content_digest(file_table(folder)), "template": template}
    return Subject(told, folder, template)


def of_endpoint(endpoint: OpenAIEndpoint) -> Subject:
    """A model behind an endpoint."""
    told: dict[str, JsonValue] = {"base_url": endpoint.base_url.rstrip("/"), "model": endpoint.model}
    return Subject(told, endpoint=endpoint)


def open_answerer(
    subject: Subject, config: EvaluateConfig, asking: Asking, work: Path, connect: Callable[[], None]
) -> Answerer:
    """The model, ready to answer. What a checkpoint answers is kept under `work`; for an endpoint the ledger does it.

    `connect` starts or joins the Ray cluster, where the experiment has several workers answer.

    Raises ModelError if the folder is not what it should be, EnvironmentProblem where the engine is not installed.
    """
    if subject.endpoint is not None:
        return EndpointAnswerer(subject.endpoint, asking)
    assert subject.folder is not None, "a subject has a folder or an endpoint"
    open_one = partial(_opened, subject.folder, subject.template, config)
    several = config.workers > 1
    workers = Workers(config.workers, config.gpus_per_worker, connect)
    answerer = SpreadAnswerer(open_one, workers) if several else open_one()
    return KeptAnswers(answerer, subject.identity, work / FILE)


def _opened(folder: Path, template: str | None, config: EvaluateConfig) -> Answerer:
    """Torch is imported here and not sooner: an endpoint needs none of it."""
    if config.engine == "vllm":
        from tasks.evaluate.vllm_engine import VllmAnswerer

        return VllmAnswerer(folder, template)
    from model.decode import HuggingFaceAnswerer

    return HuggingFaceAnswerer(folder, template, precision=config.precision)
