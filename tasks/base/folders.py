"""Base models that are taken, not trained: a Hugging Face folder, a hub id with a pinned revision, a packaged GGUF."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from transformers import AutoImageProcessor, AutoModel, AutoModelForCausalLM, AutoTokenizer

from configs.schema import FolderModel, PackagedGguf
from model.errors import ModelError
from tasks.errors import DataError


def copy_language(folder: Path, config: FolderModel | PackagedGguf) -> int:
    """Load a causal language model and save it as safetensors with its tokenizer. Returns its parameters."""
    if isinstance(config, PackagedGguf):
        return _convert_gguf(folder, config)
    try:
        model = AutoModelForCausalLM.from_pretrained(config.path, revision=config.revision, dtype=torch.bfloat16)
        tokenizer = AutoTokenizer.from_pretrained(config.path, revision=config.revision)
    except (OSError, ValueError) as error:
        raise ModelError(f"no language model at {config.path}: {_first_line(error)}") from error
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return int(model.num_parameters())


def copy_vision(folder: Path, config: FolderModel) -> int:
    """Load a CLIP-type vision tower and save it with its image processor. Returns its parameters."""
    try:
        model = AutoModel.from_pretrained(config.path, revision=config.revision, dtype=torch.bfloat16)
        processor = AutoImageProcessor.from_pretrained(config.path, revision=config.revision)
    except (OSError, ValueError) as error:
        raise ModelError(f"no vision tower at {config.path}: {_first_line(error)}") from error
    tower = getattr(model, "vision_model", model)
    tower.save_pretrained(folder)
    processor.save_pretrained(folder)
    return int(tower.num_parameters())


def _convert_gguf(folder: Path, config: PackagedGguf) -> int:
    """Dequantise a GGUF file into an ordinary folder.

    transformers refuses to save a dequantised model, so its weights move into a fresh one whose config has no
    quantisation entry.
    """
    spec = importlib.util.find_spec(config.package)
    if spec is None or spec.origin is None:
        raise DataError(f"the package {config.package} is not installed; `make smollm2` installs it")
    home = Path(spec.origin).parent
    if not (home / config.file).is_file():
        raise DataError(f"the package {config.package} holds no {config.file}")
    quantised = AutoModelForCausalLM.from_pretrained(home, gguf_file=config.file, dtype=torch.bfloat16)
    tokenizer = AutoTokenizer.from_pretrained(home, gguf_file=config.file)
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
