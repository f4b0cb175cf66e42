"""The files of a ConversationSet, once every wish is accepted or rejected: near duplicates out, sorted, counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tasks.generate.asking import Outcome
from tasks.generate.attempt import Accepted, Rejection
from tasks.generate.checks.duplicates import Signatures, Triples, near_duplicates, triples_of
from tasks.generate.kinds import AskedKind
from tasks.generate.languages.base import Language
from tasks.generate.statistics import Counting, Statistics
from tasks.origins import ORIGINS, Origin

CODE = "near duplicate"


def write_set(
    folder: Path, outcome: Outcome, order: Sequence[int], kinds: Sequence[AskedKind], language: Language,
    near: float | None,
) -> Statistics:
    """Write `conversations.jsonl`, `origins.jsonl`, `rejected.jsonl` and `statistics.json`.

    `order` is the wishes' numbers by their ids, `kinds` their kinds by number. Of two conversations that repeat each
    other the one whose id comes first stays.
    """
    repeats = {} if near is None else _repeats(outcome, order, language, near)
    counting = Counting(language)
    with (
        (folder / "conversations.jsonl").open("w", encoding="utf-8") as conversations,
        (folder / ORIGINS).open("w", encoding="utf-8") as origins,
        (folder / "rejected.jsonl").open("w", encoding="utf-8") as rejected,
    ):
        for number in order:
            if number in outcome.rejected:
                rejected.write(Rejection.model_validate_json(outcome.rejected[number]).line() + "\n")
                continue
            accepted = _accepted(outcome, number)
            if number in repeats:
                outcome.reasons[CODE] += 1
                told = f"{CODE}: it says nearly the same as {_accepted(outcome, repeats[number]).sample.id}"
                rejected.write(_repeated(accepted, kinds[number], told).line() + "\n")
            else:
                conversations.write(accepted.sample.line() + "\n")
                origins.write(_origin(accepted).line() + "\n")
                counting.add(kinds[number], accepted)
    statistics = counting.done()
    (folder / "statistics.json").write_text(statistics.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return statistics


def _origin(accepted: Accepted) -> Origin:
    sample = accepted.sample
    return Origin(
        id=sample.id, kind=sample.kind, image=sample.image or "", sha256=accepted.sha256, answers=accepted.answers
    )


def _accepted(outcome: Outcome, number: int) -> Accepted:
    return Accepted.model_validate_json(outcome.accepted[number])


def _repeats(outcome: Outcome, order: Sequence[int], language: Language, near: float) -> dict[int, int]:
    """Accepted wishes that repeat an earlier one, to that one, by number."""
    numbers = [number for number in order if number in outcome.accepted]

    def triples(place: int) -> Triples:
        return triples_of(_accepted(outcome, numbers[place]).sample.conversations, language)

    signatures = Signatures()
    for place in range(len(numbers)):
        signatures.add(triples(place))
    found = near_duplicates(signatures.leaders(), triples, near)
    return {numbers[place]: numbers[other] for place, other in found}


def _repeated(accepted: Accepted, kind: AskedKind, told: str) -> Rejection:
    answers = "\n\n".join(turn.text for turn in accepted.sample.conversations if turn.role == "gpt")
    return Rejection(
        id=accepted.sample.id, image=accepted.sample.image or "", kind=kind, question="", reason=told, reply=answers,
        attempts=accepted.attempts, reasons=(told,),
    )
