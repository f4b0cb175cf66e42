"""What each stage's result depends on: its code, the part of the experiment it reads, and its parents.

These are the cache keys of the pipeline, all on one page. What changes only how fast, how safe or how dear a result
is come by (workers' failures, retries, checkpoints, budgets) is left out on purpose, so that changing it rebuilds
nothing. `tests/unit/flows/test_specs.py` proves that the code of a stage names every module of ours it imports.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from configs.schema import Experiment, FolderModel, PackagedGguf, ShapesSource, StageConfig
from configs.settings import Settings
from flows.roots import fingerprint, fingerprints, outside_benchmarks, source_root
from tasks.artifacts import BaseModels, Checkpoint, ConversationSet, EvalReport, ImageSet, ShardSet
from tasks.ingest.fingerprint import fingerprint as data_fingerprint
from tasks.stages import StageSpec

WORLD = ("tasks/scripted", "tasks/world")
RECORDS = ("model/records.py", "model/questions.py")
IMAGES = ("tasks/image_files.py", "tasks/spans.py")
CHAT = ("tasks/chat.py", "tasks/chat_errors.py", "tasks/chat_openai.py", "tasks/chat_records.py", "tasks/ledger.py")

MODEL = ("model/build.py", "model/images.py", "model/templates.py", "model/tokenize.py")

CODE: dict[str, tuple[str, ...]] = {
    "ingest": ("tasks/ingest", "tasks/world", *RECORDS),
    "generate": ("tasks/generate", *CHAT, *WORLD, *IMAGES, "model/records.py"),
    "shard": ("tasks/shard", "tasks/shards.py", *IMAGES, *RECORDS),
    "base": (
        "tasks/base", "tasks/world", *RECORDS, "model/images.py", "model/packed.py",
        "model/templates.py", "model/tokenize.py",
    ),
    "train": (
        "tasks/train", "tasks/shards.py", "tasks/spans.py", *MODEL, "model/order.py", "model/packed.py",
        "model/packing.py", "model/records.py", "model/stages.py",
    ),
    "evaluate": (
        "tasks/evaluate", *CHAT, *WORLD, "tasks/statistics.py", *MODEL, "model/decode", "model/sampling.py", *RECORDS,
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
    "api_key_env", "timeout_seconds", "concurrency", "max_retries", "usd_per_million_input", "usd_per_million_output",
}
"""Fields of an endpoint that do not shape its answers."""
CADENCE = {"row_tokens", "checkpoint_every", "log_every"}
"""Fields of a training stage that do not shape its result."""


@dataclass(frozen=True)
class Specs:
    """The specs of one run's stages. Each method takes the artifacts that the stage is made from."""

    experiment: Experiment
    settings: Settings

    def ingest(self) -> StageSpec[ImageSet]:
        """Images with captions and boxes."""
        data = self.experiment.data
        config: dict[str, JsonValue] = {
            "source": data.source.model_dump(mode="json", exclude={"root"}),
            "limits": data.limits.model_dump(mode="json"),
        }
        root = source_root(self.experiment, self.settings)
        if root is not None and not isinstance(data.source, ShapesSource):
            config["data"] = data_fingerprint(data.source, root)
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
        config: JsonValue = {"seed": self.experiment.seed, "shard": self.experiment.shard.model_dump(mode="json")}
        parents = {"ingest": images, "generate": conversations}
        return StageSpec("shard", ShardSet, CODE["shard"], config, parents)

    def base(self) -> StageSpec[BaseModels]:
        """The two models that LLaVA connects."""
        base = self.experiment.base
        config: dict[str, JsonValue] = base.model_dump(mode="json")
        for part, model in (("vision", base.vision), ("language", base.language)):
            if isinstance(model, FolderModel) and Path(model.path).is_dir():
                config[f"{part} folder"] = fingerprint(Path(model.path))
            elif isinstance(model, PackagedGguf):
                config[f"{part} file"] = _packaged(model)
        return StageSpec("base", BaseModels, CODE["base"], config)

    def align(self, base: BaseModels, shards: ShardSet) -> StageSpec[Checkpoint]:
        """The checkpoint whose projector reads images."""
        config = self._training(self.experiment.train.stages.align)
        return StageSpec("align", Checkpoint, self._training_code(), config, {"base": base, "shard": shards})

    def instruct(self, aligned: Checkpoint, shards: ShardSet) -> StageSpec[Checkpoint]:
        """The checkpoint that answers."""
        config = self._training(self.experiment.train.stages.instruct)
        return StageSpec("instruct", Checkpoint, self._training_code(), config, {"align": aligned, "shard": shards})

    def evaluate(self, instructed: Checkpoint, images: ImageSet) -> StageSpec[EvalReport]:
        """What the benchmarks say of the checkpoint."""
        evaluate = self.experiment.evaluate.model_dump(
            mode="json", exclude={"scienceqa": {"root": True}, "llava_bench": {"root": True, "judge": HANDLING}}
        )
        config: JsonValue = {
            "seed": self.experiment.seed,
            "evaluate": evaluate,
            "sets": fingerprints(outside_benchmarks(self.experiment, self.settings)),
        }
        parents = {"instruct": instructed, "ingest": images}
        return StageSpec("evaluate", EvalReport, CODE["evaluate"], config, parents)

    def evaluate_model(self, identity: JsonValue, images: ImageSet | None) -> StageSpec[EvalReport]:
        """What the benchmarks say of a model that this experiment did not train."""
        evaluate = self.experiment.evaluate.model_dump(
            mode="json", exclude={"scienceqa": {"root": True}, "llava_bench": {"root": True, "judge": HANDLING}}
        )
        config: JsonValue = {
            "seed": self.experiment.seed,
            "evaluate": evaluate,
            "model": identity,
            "sets": fingerprints(outside_benchmarks(self.experiment, self.settings)),
        }
        return StageSpec("evaluate", EvalReport, CODE["evaluate"], config, {"ingest": images} if images else {})

    def _training(self, stage: StageConfig) -> JsonValue:
        """What a stage of training reads. The other stage's part is not in it: each is rebuilt for its own sake.

        The number of workers stays in: sums in bf16 differ with it.
        """
        train = self.experiment.train.model_dump(mode="json", exclude={"stages", "max_failures", "cpus_per_worker"})
        return {"seed": self.experiment.seed, "train": train, "stage": stage.model_dump(mode="json", exclude=CADENCE)}

    def _training_code(self) -> tuple[str, ...]:
        return (*CODE["train"], f"configs/deepspeed/{self.experiment.train.deepspeed}.json")


def _packaged(model: PackagedGguf) -> JsonValue:
    """Name and size of a packaged file; None where the package is not installed."""
    found = importlib.util.find_spec(model.package)
    path = Path(found.origin).parent / model.file if found and found.origin else None
    return [model.file, path.stat().st_size] if path and path.is_file() else None


