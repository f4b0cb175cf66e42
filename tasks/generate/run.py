"""The stage generate: ask the teacher for conversations about images, from captions and boxes alone.

Every answer is in the ledger before it is used, so a run that is stopped goes on where it was. What a reply must be
stands in `parse`; a reply that fails is asked for again, with the reason, a bounded number of times.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from configs.schema import GenerateConfig
from model.records import IMAGE_TOKEN, AnnotatedImage, Sample, Turn
from tasks.chat_records import Message
from tasks.errors import DataError
from tasks.generate.parse import Rejected, parse
from tasks.generate.plan import Wish, choose
from tasks.generate.prompt import KINDS, Prompts, asking_again, detail_question, load_prompts, messages_for
from tasks.image_files import read_annotations
from tasks.ledger import Answer, Asker, Request
from tasks.progress import Progress
from tasks.stages import Built

ATTEMPTS_A_TURN = 1000


@dataclass(frozen=True)
class _Asked:
    """A wish on its way: the messages of the next attempt, and what came of the last."""

    wish: Wish
    question: str
    messages: tuple[Message, ...]
    attempts: int = 0
    reply: str = ""
    fault: Rejected | None = None

    @property
    def request(self) -> Request:
        """The request of the next attempt."""
        return Request(self.messages, self.wish.turn * ATTEMPTS_A_TURN + self.attempts)


@dataclass
class _Outcome:
    """What has come of the wishes so far."""

    samples: list[Sample] = field(default_factory=list)
    rejected: list[_Asked] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.samples) + len(self.rejected)

    def reasons(self) -> dict[str, int]:
        """Rejected wishes by reason, most frequent first."""
        counted = Counter(asked.fault.code for asked in self.rejected if asked.fault)
        return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def build_conversations(
    folder: Path, images: Path, config: GenerateConfig, seed: int, asker: Asker, progress: Progress
) -> Built:
    """Write `conversations.jsonl` and `rejected.jsonl` into `folder`, from the ImageSet in `images`.

    Raises DataError when no image has a caption, or when more wishes are rejected than
    `generate.max_rejected_share` allows (as soon as that is certain); EndpointError and BudgetExhausted as the asker
    does. Answers that were paid for stay in the ledger in every case.
    """
    prompts = load_prompts(config.prompts)
    annotated = list(read_annotations(images))
    captioned = {image.id: image for image in annotated if any(caption.strip() for caption in image.captions)}
    if not captioned:
        raise DataError("no image has a caption, so the teacher has nothing to write from; add captions to the data")
    if len(captioned) < len(annotated):
        progress.note(f"{len(annotated) - len(captioned)} images have no caption and are left out")
    wishes = choose(sorted(captioned), config.samples, config.mix, seed)
    outcome = _Outcome()
    for start in range(0, len(wishes), asker.wave):
        first = [_first(wish, captioned, prompts) for wish in wishes[start : start + asker.wave]]
        _wave(first, config, asker, outcome, _Shown(progress, len(wishes), asker))
        _check(outcome, len(wishes), config.max_rejected_share)
    _write(folder, outcome)
    return _built(outcome, asker, prompts, len(annotated) - len(captioned))


@dataclass(frozen=True)
class _Shown:
    """Progress over all wishes."""

    progress: Progress
    total: int
    asker: Asker

    def update(self, outcome: _Outcome) -> None:
        """Show how far it is."""
        used = self.asker.tally.used
        money = {"usd": round(used.usd, 4)} if used.usd else {}
        self.progress.update(len(outcome), self.total, rejected=len(outcome.rejected), **money)


def _first(wish: Wish, images: Mapping[str, AnnotatedImage], prompts: Prompts) -> _Asked:
    question = detail_question(prompts, wish.id) if wish.kind == "detail" else ""
    return _Asked(wish, question, messages_for(prompts, wish.kind, images[wish.image], wish.turn))


def _wave(pending: list[_Asked], config: GenerateConfig, asker: Asker, outcome: _Outcome, shown: _Shown) -> None:
    """Ask for all of a wave, and again for what failed, until each is a sample or rejected."""
    while pending:
        again: list[tuple[int, _Asked]] = []
        for position, answer in asker.ask([asked.request for asked in pending]):
            tried = _tried(pending[position], answer)
            if isinstance(tried, Sample):
                outcome.samples.append(tried)
            elif tried.attempts >= config.max_attempts:
                outcome.rejected.append(tried)
            else:
                again.append((position, tried))
            shown.update(outcome)
        pending = [asked for _, asked in sorted(again, key=lambda item: item[0])]


def _tried(asked: _Asked, answer: Answer) -> Sample | _Asked:
    """The sample that an answer makes, or the wish with one attempt more behind it."""
    if answer.reply is None:
        fault = Rejected("endpoint", answer.failure or "no reply")
        return replace(asked, attempts=asked.attempts + 1, fault=fault)
    text = answer.reply.text
    turns = parse(asked.wish.kind, text, asked.question, answer.reply.finish_reason)
    if isinstance(turns, Rejected):
        messages = asking_again(asked.messages, text, turns.told)
        return replace(asked, attempts=asked.attempts + 1, fault=turns, reply=text, messages=messages)
    return _sample(asked.wish, turns)


def _sample(wish: Wish, turns: Sequence[Turn]) -> Sample:
    """The turns with the image in front of the first."""
    first, *others = turns
    shown = Turn(role="human", text=f"{IMAGE_TOKEN}\n{first.text}")
    return Sample(id=wish.id, image=wish.image, kind=wish.kind, conversations=(shown, *others))


def _check(outcome: _Outcome, total: int, max_share: float) -> None:
    if len(outcome.rejected) <= max_share * total:
        return
    reasons = ", ".join(f"{reason} {number}" for reason, number in outcome.reasons().items())
    raise DataError(
        f"{len(outcome.rejected)} of the {len(outcome)} conversations tried so far were rejected ({reasons}), which is "
        f"above generate.max_rejected_share={max_share:g} of {total}; use another teacher or other prompts"
    )


def _write(folder: Path, outcome: _Outcome) -> None:
    with (folder / "conversations.jsonl").open("w", encoding="utf-8") as lines:
        lines.writelines(f"{sample.line()}\n" for sample in sorted(outcome.samples, key=lambda sample: sample.id))
    with (folder / "rejected.jsonl").open("w", encoding="utf-8") as lines:
        lines.writelines(f"{line}\n" for line in _rejections(outcome))


def _rejections(outcome: _Outcome) -> Iterator[str]:
    for asked in sorted(outcome.rejected, key=lambda asked: asked.wish.id):
        fault = asked.fault or Rejected("unknown", "")
        yield json.dumps(
            {
                "id": asked.wish.id, "kind": asked.wish.kind, "reason": f"{fault.code}: {fault.told}",
                "reply": asked.reply, "attempts": asked.attempts,
            },
            ensure_ascii=False,
        )


def _built(outcome: _Outcome, asker: Asker, prompts: Prompts, uncaptioned: int) -> Built:
    kinds = Counter(sample.kind for sample in outcome.samples)
    tally = asker.tally
    replies = tally.used + tally.saved
    counts: dict[str, int] = {
        "samples": len(outcome.samples),
        **{str(kind): kinds[kind] for kind in KINDS},
        "turns": sum(len(sample.conversations) for sample in outcome.samples),
        "rejected": len(outcome.rejected),
        "images_without_captions": uncaptioned,
        "asked": tally.asked,
        "from_ledger": tally.from_ledger,
        "input_tokens": replies.input_tokens,
        "output_tokens": replies.output_tokens,
    }
    return Built(counts, {
        "teacher": asker.model,
        "prompts": prompts.digest,
        "rejected_by_reason": dict(outcome.reasons()),
        "usd_spent": round(tally.used.usd, 6),
        "usd_saved": round(tally.saved.usd, 6),
    })
