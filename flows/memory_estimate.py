"""Memory of a training stage on one device, for the plan, from the shapes that are known before anything is built."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from configs.load import deepspeed_file
from configs.schema import BaseConfig, Experiment, FolderModel, MicroLanguage, MicroVision, PackagedEfficientNet
from flows.generation_estimate import Work
from model.flops import LANGUAGES, TOWERS, LanguageShape, Tower, VisionShape, official_load
from model.memory import GB, ROOM, RowLoad, memory_of, row_budget, row_of, setup_of, trained_parameters
from model.shapes import EFFICIENTNET_LITE0, adapter_shape, language_shape, vision_shape

CONFIG = "config.json"
Shape = TypeVar("Shape")


def memory_work(
    stage: str, experiment: Experiment, base: Path | None, tokens: float | None = None, supervised: float | None = None
) -> Work:
    """The estimate of a stage, in words; nothing where the models' shapes are not known yet.

    `base` is the folder of a BaseModels where it is there; `tokens` and `supervised` tokens of a mean sample, those of
    the official data without.
    """
    train = experiment.train
    language, vision = language_of(experiment.base, base), vision_of(experiment.base, base)
    if language is None or vision is None:
        return {}
    sample = sample_of(stage, vision, tokens, supervised)
    trains, adapters = stage != "align", adapter_shape(train.lora, stage)
    setup = setup_of(
        json.loads(deepspeed_file(train.deepspeed).read_text(encoding="utf-8")),
        precision=train.precision, ranks=train.workers, language_trains=trains,
        trained=trained_parameters(language, vision, language_trains=trains, adapters=adapters),
        on_cpu=not train.gpus_per_worker, adapters=adapters,
    )
    config = train.stages.align if stage == "align" else train.stages.instruct
    budget = config.row_tokens
    if budget == "auto":
        if train.device_memory is None:
            return {"row_tokens": "as the worker's memory allows (train.device_memory is not set)"}
        found = row_budget(language, vision, setup, sample, train.device_memory * GB)
        if found is None:
            return {"will fail:": f"no row fits into {train.device_memory:g} GB"}
        budget = found
    memory = memory_of(language, vision, setup, row_of(sample, budget))
    work: Work = {"a device:": memory.words(), "rows of": f"{budget:,} tokens"}
    if train.device_memory is not None and memory.peak > train.device_memory * GB * ROOM:
        work["too much for"] = f"{train.device_memory:g} GB; lower row_tokens, or set it to auto"
    return work


def sample_of(stage: str, vision: Tower, tokens: float | None, supervised: float | None) -> RowLoad:
    """A mean sample."""
    official = official_load(stage, vision)
    tokens = official.tokens if tokens is None else tokens
    share = official.supervised / official.tokens
    return RowLoad(tokens, share * tokens if supervised is None else supervised, official.images)


def language_of(config: BaseConfig, base: Path | None) -> LanguageShape | None:
    """The language model's shape: as it was built, by its folder, by its knobs, or by a recipe's name."""
    if base is not None and (base / "language" / CONFIG).is_file():
        return language_shape(_read(base / "language"))
    model = config.language
    if isinstance(model, MicroLanguage):
        return LanguageShape(
            model.hidden, model.intermediate, model.layers, model.vocab, heads=model.heads, tied=True
        )
    if isinstance(model, FolderModel):
        return language_shape(_read(Path(model.path))) if _there(model) else _named(model.path, LANGUAGES)
    return None


def vision_of(config: BaseConfig, base: Path | None) -> Tower | None:
    """The tower's shape, likewise."""
    if base is not None and (base / "vision" / CONFIG).is_file():
        return vision_shape(_vision_part(_read(base / "vision")))
    model = config.vision
    if isinstance(model, MicroVision):
        features = (model.image_size // model.patch_size) ** 2
        return VisionShape(model.hidden, 4 * model.hidden, model.layers, features, model.patch_size)
    if isinstance(model, PackagedEfficientNet):
        return EFFICIENTNET_LITE0 if model.network == "efficientnet-lite0" else None
    return vision_shape(_vision_part(_read(Path(model.path)))) if _there(model) else _named(model.path, TOWERS)


def _named(path: str, shapes: Mapping[str, Shape]) -> Shape | None:
    name = path.rstrip("/").rsplit("/", 1)[-1].lower()
    return next((shape for known, shape in shapes.items() if name.startswith(known)), None)


def _there(model: FolderModel) -> bool:
    return "://" not in model.path and (Path(model.path) / CONFIG).is_file()


def _read(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    return found


def _vision_part(config: dict[str, object]) -> dict[str, object]:
    """A whole CLIP or SigLIP has its tower's config inside its own."""
    part = config.get("vision_config")
    return part if isinstance(part, dict) else config
