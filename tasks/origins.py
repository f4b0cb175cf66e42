"""Where a conversation comes from: its image and the teacher's answers. Generate writes it, lineage reads it."""

from __future__ import annotations

from model.records import Kind
from tasks.artifacts import Frozen

ORIGINS = "origins.jsonl"


class Origin(Frozen):
    """One line of `origins.jsonl`. A search reads lines as bytes: digests stand in them as they are."""

    id: str
    """Of the sample."""
    kind: Kind
    image: str
    """Id of its image."""
    sha256: str
    """Of the image's file."""
    answers: tuple[str, ...]
    """The ledger's keys of the answers to every attempt; the sample is what the last one says."""

    def line(self) -> str:
        """The origin as one JSON line."""
        return self.model_dump_json()
