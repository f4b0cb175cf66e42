"""Descriptors that stages hand on: small, immutable, JSON.

A descriptor names a finished folder by uri and content digest, and says what it was made from and by whom. Live
objects and path conventions never cross a stage; whoever needs the bytes asks the store for a local folder
(`Store.local`) and opens what the descriptor's class says lies in it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue

MANIFEST = "manifest.json"


class Frozen(BaseModel):
    """An immutable value that is written as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class MadeBy(Frozen):
    """Who made an artifact."""

    stage: str
    code: str
    """Digest of the source files that the stage runs."""
    config: str
    """Digest of the part of the experiment that the stage reads."""
    libraries: dict[str, str] = Field(default_factory=dict)
    git_commit: str | None = None
    git_dirty: bool | None = None
    created: str = ""
    """UTC, ISO 8601."""
    seconds: float = 0.0


class FileEntry(Frozen):
    """One file of an artifact."""

    size: int
    sha256: str


class Artifact(Frozen):
    """A finished folder. Equal content gives an equal digest, whenever and wherever it was made."""

    kind: ClassVar[str] = "Artifact"

    uri: str
    digest: str
    """sha256 over the sorted table of the folder's files (path, size, sha256)."""
    key: str
    """Cache key it was made under."""
    counts: dict[str, int] = Field(default_factory=dict)
    parents: dict[str, str] = Field(default_factory=dict)
    """Descriptor name to digest, of everything it was made from."""
    facts: dict[str, JsonValue] = Field(default_factory=dict)
    """What else a reader wants to know without opening the folder: losses, spent money, scores."""
    made_by: MadeBy


class ImageSet(Artifact):
    """Images, most with captions and boxes, decoded once, hashed, de-duplicated; samples and questions given with them.

    images/part-00000.tar ... the images as they came, as members <id>.jpg or <id>.png: few large files, whatever the
                              number of images
    annotations.jsonl         one `model.records.AnnotatedImage` a line, sorted by id
    given/<stage>.jsonl       samples that came with the images, for a stage of training (align, instruct): one
                              `model.records.Sample` a line, sorted by id, where a source brings any
    questions.jsonl           one {"id", "image", "problem"} a line, sorted by id, where a source brings any; `image` is
                              the id of an AnnotatedImage or null, `problem` a `model.questions.Problem`
    quarantine.jsonl          one {"id", "reason", "detail"} a line, sorted by id
    withdrawn.txt             sha256 of the images that were withdrawn when it was made, one a line, where any were
    benchmarks/scienceqa/     ScienceQA layout, where the source brings it (shapes)
    benchmarks/llava_bench/   LLaVA-Bench layout, likewise
    benchmarks/pope/          POPE layout, where the experiment wants one
    """

    kind: ClassVar[str] = "ImageSet"


class ConversationSet(Artifact):
    """Instruction conversations.

    conversations.jsonl   one `model.records.Sample` a line (the LLaVA JSON fields and `kind`), sorted by id
    origins.jsonl         where each of them comes from: one `tasks.origins.Origin` a line, in the same order
    rejected.jsonl        one `tasks.generate.attempt.Rejection` a line, sorted by id: {"id", "image", "kind",
                          "question", "reason", "reply", "attempts", "reasons" (of every attempt)}
    statistics.json       lengths, question types and objects, by kind: `tasks.generate.statistics.Statistics`
    """

    kind: ClassVar[str] = "ConversationSet"


class ShardSet(Artifact):
    """WebDataset shards.

    align/shard-0010.tar ...       members key.jpg (or .png) and key.json (a `model.records.Sample`); a shard is named
                                   by its place among the hashes of images (`tasks.shard.partition`)
    instruct/shard-011.tar ...     text-only samples have no image member; those of several images have key.1.jpg,
                                   key.2.jpg ... beside key.jpg
    held_out/align/, held_out/instruct/
                                   shards of samples that no stage trains on: all those of an image that is held out
    index/align.jsonl, index/instruct.jsonl, index/held_out_align.jsonl, index/held_out_instruct.jsonl
                                   one {"key", "shard", "json": [offset, size, sha256], "image": the same or null} a
                                   line ("more": a list of further images), in shard order: random access without
                                   reading a tar from its start
    shards.jsonl                   one `tasks.shards.ShardEntry` a line
    """

    kind: ClassVar[str] = "ShardSet"


class BaseModels(Artifact):
    """The vision tower and the language model, ordinary Hugging Face folders.

    vision/     a CLIP (or other) vision model with its image processor
    language/   a causal language model with its tokenizer
    history.jsonl   one {"part", "step", "loss", ...} a line, of what was trained here
    """

    kind: ClassVar[str] = "BaseModels"


class Checkpoint(Artifact):
    """A `LlavaForConditionalGeneration` folder (safetensors, processor, chat template) under model/.

    metrics.jsonl   one {"step", "loss", "lr", "projector_lr", "grad_norm", "tokens", "supervised_tokens", "samples"} a
                    line. What differs from run to run is in the facts, over the whole stage: step_seconds,
                    tokens_per_second, supervised_tokens_per_second, samples_per_second, waiting_share, row_fill, mfu,
                    memory_gb, matmul_ceiling, row_tokens, out_of_memory, ...
    samples.jsonl   quarantined or truncated samples, with reasons
    answers.jsonl   where held-out samples were answered on the way: one {"step", "key", "picture", "question",
                    "wanted", "answer"} a line; answers/ has the pictures
    adapter/        where the stage trained adapters: these and the projector, for peft, on what the stage started from;
                    model/ has them merged in

    A champion fetched out of the registry to be evaluated anew (stage `champion`) has model/ alone.
    """

    kind: ClassVar[str] = "Checkpoint"


class EvalReport(Artifact):
    """What the benchmarks said of one checkpoint.

    report.json     `tasks.evaluate.report.Report`
    examples/<benchmark>.jsonl   one answered example a line, sighted and blind
    ensemble.jsonl  where the experiment has an ensemble: one `tasks.evaluate.ensembling.Combined` a question
    images/         the images that the examples name
    """

    kind: ClassVar[str] = "EvalReport"


class ModelVersion(Frozen):
    """A version in the MLflow registry."""

    name: str
    version: str
    source: str
    """Uri of the logged model."""
    run_id: str
    checkpoint: str
    """Digest of the checkpoint it holds."""
    evaluation: str
    """Digest of its evaluation report."""


class Promotion(Frozen):
    """What the gate decided and what came of it."""

    verdict: Literal["promote", "hold", "needs_approval"]
    reasons: tuple[str, ...]
    challenger: str
    champion_before: str | None
    champion_after: str | None


Descriptor = TypeVar("Descriptor", bound=Artifact)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no white space: one text for one value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest_of(value: Any) -> str:
    """sha256 (hex) of a JSON value's canonical form."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def content_digest(files: dict[str, FileEntry]) -> str:
    """Digest of a folder: sha256 over its sorted file table."""
    return digest_of([[path, entry.size, entry.sha256] for path, entry in sorted(files.items())])
