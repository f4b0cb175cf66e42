"""A wish on its way: the messages of its next attempt, what was wrong with those before, what a reply makes of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from configs.schema import ChecksConfig
from model.records import IMAGE_TOKEN, AnnotatedImage, Sample, Turn
from tasks.artifacts import Frozen
from tasks.chat.records import Message
from tasks.generate.checks.objects import Lexicon
from tasks.generate.checks.written import wrong_language
from tasks.generate.kinds import AskedKind
from tasks.generate.languages.base import Language
from tasks.generate.parse import Rejected, parse
from tasks.generate.prompt import asking_again
from tasks.ledger.ledger import Answer, Request

ATTEMPTS_A_TURN = 1000


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is asked next for a wish, and what came of it so far."""

    number: int
    """Of the wish."""
    id: str
    kind: AskedKind
    turn: int
    image: AnnotatedImage
    question: str
    """Of a detailed description, which has none of its own; else empty."""
    messages: tuple[Message, ...]
    faults: tuple[Rejected, ...] = ()
    """One an attempt that failed."""
    reply: str = ""
    """The last one."""
    asked: tuple[str, ...] = ()
    """The ledger's keys of the answers that failed."""

    @property
    def request(self) -> Request:
        """The request to send."""
        return Request(self.messages, self.turn * ATTEMPTS_A_TURN + len(self.faults))


class Accepted(Frozen):
    """A sample, and what the checks noticed."""

    number: int
    """Of the wish."""
    sample: Sample
    attempts: int
    claimed: tuple[str, ...] = ()
    """Categories of objects that the answers speak of, each once."""
    unsupported: tuple[str, ...] = ()
    """Those of them that neither captions nor boxes support."""
    answers: tuple[str, ...] = ()
    """The ledger's keys of the answers to every attempt; the sample is what the last one says."""
    sha256: str = ""
    """Of the image's file."""


class Rejection(Frozen):
    """A wish that no sample came of: one line of `rejected.jsonl`."""

    id: str
    image: str
    kind: AskedKind
    question: str
    """Of a detailed description; else empty, the questions being part of the reply."""
    reason: str
    """The last fault, `code: words`."""
    reply: str
    attempts: int
    reasons: tuple[str, ...]
    """The fault of every attempt."""

    @classmethod
    def of(cls, attempt: Attempt) -> Rejection:
        """The rejection of a wish after its last attempt."""
        reasons = tuple(f"{fault.code}: {fault.told}" for fault in attempt.faults)
        return cls(
            id=attempt.id, image=attempt.image.id, kind=attempt.kind, question=attempt.question, reason=reasons[-1],
            reply=attempt.reply, attempts=len(reasons), reasons=reasons,
        )

    def line(self) -> str:
        """The rejection as one JSON line."""
        return json.dumps(self.model_dump(mode="json"), ensure_ascii=False)


class Judge:
    """Decides what becomes of a reply."""

    def __init__(self, language: Language, lexicon: Lexicon, checks: ChecksConfig) -> None:
        self._language, self._lexicon, self._checks = language, lexicon, checks

    def tried(self, attempt: Attempt, answer: Answer) -> Accepted | Attempt:
        """The sample that an answer makes, or the wish with one fault more behind it."""
        if answer.reply is None:
            fault = Rejected("endpoint", answer.failure or "no reply")
            return replace(attempt, faults=(*attempt.faults, fault), asked=(*attempt.asked, answer.key))
        text = answer.reply.text
        found, asked = self._checked(attempt, text, answer.reply.finish_reason), (*attempt.asked, answer.key)
        if isinstance(found, Accepted):
            return found.model_copy(update={"answers": asked})
        complaint = self._language.complaint(found.code, found.told)
        messages = asking_again(attempt.messages, text, complaint)
        return replace(attempt, faults=(*attempt.faults, found), reply=text, messages=messages, asked=asked)

    def _checked(self, attempt: Attempt, text: str, finish_reason: str) -> Accepted | Rejected:
        turns = parse(attempt.kind, text, attempt.question, finish_reason, self._language)
        if isinstance(turns, Rejected):
            return turns
        if fault := wrong_language(turns, self._language):
            return fault
        claimed = tuple(dict.fromkeys(self._lexicon.claimed(turns)))
        unsupported = self._lexicon.unsupported(claimed, attempt.image)
        if unsupported and self._checks.unsupported_objects == "reject":
            return Rejected(
                "unsupported objects", f"it speaks of things that the picture may not show ({', '.join(unsupported)})"
            )
        sample = Sample(id=attempt.id, image=attempt.image.id, kind=attempt.kind, conversations=_shown(turns))
        return Accepted(
            number=attempt.number, sample=sample, attempts=len(attempt.faults) + 1, claimed=claimed,
            unsupported=unsupported, sha256=attempt.image.sha256,
        )


def _shown(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """The turns with the image in front of the first."""
    first, *others = turns
    return (Turn(role="human", text=f"{IMAGE_TOKEN}\n{first.text}"), *others)
