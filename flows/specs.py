"""What each stage's result depends on: its code, the part of the experiment it reads, and its parents.

These are the cache keys of the pipeline, all on one page. What changes only how fast, how safe or how dear a result
is come by (workers' failures, retries, checkpoints, budgets) is left out on purpose, so that changing it rebuilds
nothing. `tests/unit/flows/test_specs.py` proves that the code of a stage names every module of ours it imports.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from configs.schema import (
    CADENCE,
    LICENCE,
    SAFETY,
    Experiment,
    FolderModel,
    PackagedEfficientNet,
    PackagedGguf,
    ShapesSource,
    StageConfig,
)
from configs.settings import Settings
from flows.mixtures import others_of
from flows.places import withdrawn_of
from flows.roots import (
    check_places,
    fingerprint,
    fingerprint_model,
    fingerprints,
    outside_benchmarks,
    source_places,
    test_sets,
)
from tasks.artifacts import BaseModels, Checkpoint, ConversationSet, EvalReport, ImageSet, ShardSet
from tasks.errors import DataError
from tasks.ingest.fingerprint import fingerprint as data_fingerprint
from tasks.stages import StageSpec

WORLD = ("tasks/scripted", "tasks/world")
RECORDS = ("model/records.py", "model/questions.py")
IMAGES = ("tasks/image_files.py", "tasks/spans.py")
CHAT = (
    "tasks/chat/client.py", "tasks/chat/body.py", "tasks/chat/errors.py", "tasks/chat/openai.py",
    "tasks/chat/records.py", "tasks/ledger/ledger.py",
)

MODEL = (
    "model/build.py", "model/efficientnet.py", "model/images.py", "model/own_template.py",
    "model/templates.py", "model/tokenize.py", "model/towers.py",
)

CODE: dict[str, tuple[str, ...]] = {
    "ingest": ("tasks/ingest", "tasks/world", *IMAGES, *RECORDS),
    "generate": ("tasks/generate", "tasks/names.py", "tasks/origins.py", *CHAT, *WORLD, "model/records.py"),
    "shard": ("tasks/shard", "tasks/shards.py", *IMAGES, *RECORDS),
    "base": (
        "tasks/base", "tasks/world", *RECORDS, "model/attention.py", "model/efficientnet.py", "model/images.py",
        "model/loss.py", "model/packed.py", "model/pieces.py", "model/templates.py", "model/tokenize.py",
        "model/towers.py",
    ),
    "train": (
        "tasks/train", "tasks/shards.py", "tasks/spans.py", *MODEL, "model/attention.py", "model/flops.py",
        "model/lora.py", "model/loss.py", "model/memory.py", "model/order.py", "model/packed.py", "model/packing.py",
        "model/pieces.py", "model/records.py", "model/shapes.py", "model/stages.py",
    ),
    "evaluate": (
        "tasks/evaluate", *CHAT, *WORLD, "tasks/names.py", "tasks/statistics.py", *MODEL, "model/decode",
        "model/sampling.py", *RECORDS,
    ),
}
"""Source files and packages of each stage, relative to the project's root."""

PARENTS: dict[str, tuple[str, ...]] = {
    "ingest": (),
    "generate": ("ingest",),
    "shard": ("ingest", "generate"),
    "base": (),
    "align": ("base", "shard"),
    "instruct": ("align", "shard"),
    "evaluate": ("instruct", "ingest"),
}
"""The stages that make artifacts, in order, and whose artifacts the method of `Specs` of that name takes."""

HANDLING = {
    "api_key_env", "timeout_seconds", "connect_seconds", "read_seconds", "concurrency", "requests_per_minute",
    "tokens_per_minute", "max_retries", "circuit_after", "usd_per_million_input", "usd_per_million_output",
    "batch",
}
"""Fields of an endpoint that do not shape its answers."""
WHEREABOUTS = {"root", "expected"} | LICENCE
"""Fields of a source that say where it is, what it should be, or what may be done with it: what it holds has a
fingerprint."""
OF_TEST_SETS = {"problems", "splits", "images", "split", "questions", "annotations", "instances", "skip"}
"""Fields of a benchmark that say which images it shows."""
NOT_OF_EVALUATION: dict[str, Any] = {
    "workers": True,
    "gpus_per_worker": True,
    "scienceqa": {"root": True, "ensemble": {"budget_usd": True, "llm": HANDLING}},
    "llava_bench": {"root": True, "judge": HANDLING},
    "pope": {"root"},
    "mme": {"root"},
    "captions": {"root"},
}
"""Fields of an evaluation that shape no result: where sets lie, as they have fingerprints, and how endpoints are
handled."""

WHERE_SHARDS_LIE: dict[str, Any] = {"mixture": {"__all__": {"shards"}}}
"""Of a training stage: the shards themselves are its parents."""

ELASTIC = ("train.workers",)
"""What may change between a crash and the next start (docs/decisions/0010-workers-may-change.md)."""


@dataclass(frozen=True)
class Specs:
    """The specs of one run's stages. Each method takes the artifacts that the stage is made from."""

    experiment: Experiment
    settings: Settings

    @cached_property
    def withdrawn(self) -> tuple[str, ...]:
        """sha256 of the images that no model may learn from any more: one list for a run's plan, key and build."""
        return tuple(withdrawn_of(self.settings).now())

    def ingest(self) -> StageSpec[ImageSet]:
        """Images with captions and boxes."""
        data = self.experiment.data
        check_places(self.experiment, self.settings)
        source, *also = [source.model_dump(mode="json", exclude=WHEREABOUTS) for source in data.sources]
        near = data.near_duplicates
        config: dict[str, JsonValue] = {
            "source": source,
            "also": [*also],
            "limits": data.limits.model_dump(mode="json"),
            "near_duplicates": near.model_dump(mode="json") if near else None,
            "data": self._data(),
            "test_sets": self._test_sets(),
            "withdrawn": {sha256: "withdrawn" for sha256 in self.withdrawn},
        }
        return StageSpec("ingest", ImageSet, CODE["ingest"], config)

    def generate(self, images: ImageSet) -> StageSpec[ConversationSet]:
        """Conversations by the teacher."""
        asked = self.experiment.generate.model_dump(
            mode="json", exclude={"budget_usd": True, "teacher": HANDLING}
        )
        config: JsonValue = {"seed": self.experiment.seed, "generate": asked}
        return StageSpec("generate", ConversationSet, CODE["generate"], config, {"ingest": images})

    def shard(self, images: ImageSet, conversations: ConversationSet) -> StageSpec[ShardSet]:
        """Shards of the training samples."""
        written = self.experiment.shard.model_dump(mode="json", exclude={"writers"})
        config: JsonValue = {"seed": self.experiment.seed, "shard": written}
        parents = {"ingest": images, "generate": conversations}
        return StageSpec("shard", ShardSet, CODE["shard"], config, parents)

    def base(self) -> StageSpec[BaseModels]:
        """The two models that LLaVA connects."""
        base = self.experiment.base
        config: dict[str, JsonValue] = base.model_dump(mode="json")
        for part, model in (("vision", base.vision), ("language", base.language)):
            if isinstance(model, FolderModel):
                config[f"{part} folder"] = fingerprint_model(model.path)
            elif isinstance(model, PackagedGguf | PackagedEfficientNet):
                config[f"{part} file"] = _packaged(model)
        return StageSpec("base", BaseModels, CODE["base"], config)

    def align(self, base: BaseModels, shards: ShardSet) -> StageSpec[Checkpoint]:
        """The checkpoint whose projector reads images."""
        config = self._training("align", self.experiment.train.stages.align)
        parents = {"base": base, "shard": shards, **self.mixed("align")}
        return StageSpec("align", Checkpoint, self._training_code(), config, parents, ELASTIC)

    def instruct(self, aligned: Checkpoint, shards: ShardSet) -> StageSpec[Checkpoint]:
        """The checkpoint that answers."""
        config = self._training("instruct", self.experiment.train.stages.instruct)
        parents = {"align": aligned, "shard": shards, **self.mixed("instruct")}
        return StageSpec("instruct", Checkpoint, self._training_code(), config, parents, ELASTIC)

    def mixed(self, stage: str) -> dict[str, ShardSet]:
        """Shard sets that a stage mixes with those of this experiment, as parents: their digests are in its key."""
        config: StageConfig = getattr(self.experiment.train.stages, stage)
        return {f"mixture {name}": shards for name, shards in others_of(config, self.settings).items()}

    def evaluate(self, instructed: Checkpoint, images: ImageSet) -> StageSpec[EvalReport]:
        """What the benchmarks say of the checkpoint."""
        parents = {"instruct": instructed, "ingest": images}
        return StageSpec("evaluate", EvalReport, CODE["evaluate"], self._evaluation(), parents)

    def champion(self, checkpoint: str) -> StageSpec[Checkpoint]:
        """A champion's weights out of the registry. They are what they are: no code of ours shapes them."""
        return StageSpec("champion", Checkpoint, (), {"checkpoint": checkpoint})

    def evaluate_champion(self, champion: Checkpoint, images: ImageSet) -> StageSpec[EvalReport]:
        """What the benchmarks say of the champion by the present rules."""
        return replace(self.evaluate(champion, images), name="evaluate_champion")

    def evaluate_model(self, identity: JsonValue, images: ImageSet | None) -> StageSpec[EvalReport]:
        """What the benchmarks say of a model that this experiment did not train."""
        config = self._evaluation() | {"model": identity}
        return StageSpec("evaluate", EvalReport, CODE["evaluate"], config, {"ingest": images} if images else {})

    def _evaluation(self) -> dict[str, JsonValue]:
        """What an evaluation reads, whatever model it asks."""
        evaluate = self.experiment.evaluate.model_dump(mode="json", exclude=NOT_OF_EVALUATION)
        sets = fingerprints(outside_benchmarks(self.experiment, self.settings))
        return {"seed": self.experiment.seed, "evaluate": evaluate, "sets": sets}

    def _data(self) -> list[JsonValue]:
        """Fingerprints of the sources; None for data that the project makes, or that are not there yet."""
        places = source_places(self.experiment, self.settings)
        return [
            None if place is None or isinstance(source, ShapesSource) else data_fingerprint(source, place)
            for source, place in zip(self.experiment.data.sources, places, strict=True)
        ]

    def _test_sets(self) -> dict[str, JsonValue]:
        """The test sets whose images are kept out; None where they are not there yet."""
        try:
            sets = test_sets(self.experiment, self.settings)
        except DataError:
            return {"missing": None}
        return {
            test_set.name: [
                test_set.config.model_dump(mode="json", include=OF_TEST_SETS), fingerprint(test_set.root)
            ]
            for test_set in sets
        }

    def _training(self, name: str, stage: StageConfig) -> JsonValue:
        """What a stage of training reads. The other stage's part is not in it: each is rebuilt for its own sake.

        The number of workers stays in: sums in bf16 differ with it. The work folder's name leaves it out (ELASTIC).
        """
        lora = self.experiment.train.lora
        adapters = lora.model_dump(mode="json") if lora is not None and name in lora.stages else None
        train = self.experiment.train.model_dump(mode="json", exclude={"stages", *SAFETY}) | {"lora": adapters}
        own = stage.model_dump(mode="json", exclude=dict.fromkeys(CADENCE, True) | WHERE_SHARDS_LIE)
        return {"seed": self.experiment.seed, "train": train, "stage": own}

    def _training_code(self) -> tuple[str, ...]:
        return (*CODE["train"], f"configs/deepspeed/{self.experiment.train.deepspeed}.json")


def _packaged(model: PackagedGguf | PackagedEfficientNet) -> JsonValue:
    """Name and size of a packaged file; None where the package is not installed."""
    found = importlib.util.find_spec(model.package)
    path = Path(found.origin).parent / model.file if found and found.origin else None
    return [model.file, path.stat().st_size] if path and path.is_file() else None


