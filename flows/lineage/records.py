"""What `llavaflow lineage` finds, as data."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, JsonValue

from tasks.artifacts import Frozen


class KnownVersion(Frozen):
    """A version in the registry: what its tags tell (named without prefix)."""

    version: str
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    run_id: str = ""

    @property
    def data(self) -> dict[str, str]:
        """Descriptor name to digest of what it learned from."""
        return {name.removeprefix("data."): value for name, value in self.tags.items() if name.startswith("data.")}


class Talk(Frozen):
    """Conversations of one ConversationSet."""

    digest: str
    samples: tuple[str, ...]
    """Ids."""


class Use(Frozen):
    """Samples of one stage in one ShardSet."""

    digest: str
    stage: str
    """align, instruct, or held_out_* of them: those no stage trains on."""
    samples: tuple[str, ...]
    """Keys."""
    shards: tuple[str, ...]


class Learner(Frozen):
    """A checkpoint, or a version of the registry, that had the samples among those it was trained on."""

    name: str
    """The stage of a checkpoint, the number of a version."""
    digest: str
    """Of the checkpoint."""
    why: str
    aliases: tuple[str, ...] = ()


class Upward(Frozen):
    """Everything that came of an image, an answer or a set of prompts."""

    subject: str
    conversations: tuple[Talk, ...]
    uses: tuple[Use, ...]
    checkpoints: tuple[Learner, ...]
    versions: tuple[Learner, ...]
    unknown: tuple[str, ...]
    """What could not be looked into, a line each."""


class Part(Frozen):
    """One artifact behind a version."""

    stage: str
    digest: str
    key: str = ""
    state: str
    """here; gone; or unknown, where nothing says which artifact it was."""
    made: dict[str, JsonValue] = Field(default_factory=dict)
    counts: dict[str, int] = Field(default_factory=dict)


class ShardLine(Frozen):
    """One shard that a version was trained on."""

    shard: str
    samples: int
    sha256: str


class Downward(Frozen):
    """Everything behind a version of the registry."""

    model: str
    version: str
    aliases: tuple[str, ...]
    origin: dict[str, str]
    """experiment, run, git_commit, git_dirty, as far as they are known."""
    parts: tuple[Part, ...] = ()
    """Evaluation, checkpoints, base models, shards, conversations, images."""
    shards: tuple[ShardLine, ...] = ()
    learned: dict[str, int] = Field(default_factory=dict)
    """Numbers of samples by stage, of conversations, of the teacher's answers, of different images."""
    teacher: str = ""
    prompts: str = ""
    """Digest of the prompts."""
    unknown: tuple[str, ...] = ()
    """What is not recorded or no longer there, a line each."""
