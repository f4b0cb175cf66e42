"""The stage generate: ask the teacher for conversations about images, from captions and boxes alone.

Every answer is in the ledger before it is used, so a run that is stopped goes on where it was. What a reply must be
stands in `parse` and `checks`; a reply that fails is asked for again, with the reason, a bounded number of times.
Nothing grows with the number of images but an index of ids and offsets: annotations are read again when they are
wanted, and what has come of each wish waits on disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import JsonValue

from configs.schema import GenerateConfig
from tasks.errors import DataError
from tasks.generate.asking import Asking, Outcome, by_number
from tasks.generate.attempt import Attempt, Judge
from tasks.generate.checks.objects import Lexicon
from tasks.generate.finish import write_set
from tasks.generate.images import CaptionedImages
from tasks.generate.kinds import KINDS
from tasks.generate.languages.known import LANGUAGES
from tasks.generate.plan import Wish, choose
from tasks.generate.prompt import Prompts, detail_question, load_prompts, messages_for
from tasks.generate.spool import Spool
from tasks.generate.statistics import Statistics
from tasks.ledger.ledger import Asker, Tally
from tasks.progress import Progress
from tasks.stages import Built

TOP = 10
"""Unsupported objects that the facts name."""


def build_conversations(
    folder: Path, images: Path, config: GenerateConfig, seed: int, asker: Asker | None, progress: Progress
) -> Built:
    """Write the files of a ConversationSet into `folder`, from the ImageSet in `images`.

    `asker` may be None where `generate.samples` is 0. Raises DataError when no image has a caption, or when more
    wishes are rejected than `generate.max_rejected_share` allows (as soon as that is certain); EndpointError and
    BudgetExhausted as the asker does. Answers that were paid for stay in the ledger in every case.
    """
    prompts = load_prompts(config.prompts or LANGUAGES[config.language].prompts, config.inputs)
    if asker is None or config.samples == 0:
        return _empty(folder, config, prompts)
    with CaptionedImages(images) as captioned:
        if not captioned.ids:
            raise DataError("no image has a caption, so the teacher has nothing to write from; add captions to it")
        if captioned.uncaptioned:
            progress.note(f"{captioned.uncaptioned} images have no caption and are left out")
        wishes = choose(captioned.ids, config.samples, config.mix, seed)
        with Spool(folder, len(wishes)) as accepted, Spool(folder, len(wishes)) as rejected:
            outcome = Outcome(len(wishes), accepted, rejected)
            judge = Judge(LANGUAGES[config.language], Lexicon(config.language, captioned.categories), config.checks)
            asking = Asking(asker, judge, config.max_attempts, config.max_rejected_share, outcome, progress)
            asking.ask(_attempts(wishes, captioned, prompts))
            statistics = _finish(folder, outcome, wishes, captioned.ids, config)
        return _built(outcome, statistics, asker.model, asker.tally, prompts, captioned.uncaptioned)


def _attempts(wishes: Sequence[Wish], images: CaptionedImages, prompts: Prompts) -> Iterator[Attempt]:
    """The first attempt of each wish, made when it is wanted."""
    for number, wish in enumerate(wishes):
        image, identity = images.read(wish.place), wish.id(images.ids)
        question = detail_question(prompts, identity) if wish.kind == "detail" else ""
        messages = messages_for(prompts, wish.kind, image, wish.turn)
        yield Attempt(number, identity, wish.kind, wish.turn, image, question, messages)


def _finish(
    folder: Path, outcome: Outcome, wishes: Sequence[Wish], images: Sequence[str], config: GenerateConfig
) -> Statistics:
    order = sorted(range(len(wishes)), key=[wish.id(images) for wish in wishes].__getitem__)
    kinds = [wish.kind for wish in wishes]
    near = config.checks.near_duplicates
    statistics = write_set(folder, outcome, order, kinds, LANGUAGES[config.language], near)
    outcome.check(config.max_rejected_share)
    return statistics


def _empty(folder: Path, config: GenerateConfig, prompts: Prompts) -> Built:
    with Spool(folder, 0) as none:
        outcome = Outcome(0, none, none)
        statistics = _finish(folder, outcome, (), (), config)
        return _built(outcome, statistics, None, Tally(), prompts, 0)


def _built(
    outcome: Outcome, statistics: Statistics, model: str | None, tally: Tally, prompts: Prompts, uncaptioned: int
) -> Built:
    kinds = statistics.kinds
    samples = sum(kind.samples for kind in kinds.values())
    replies = tally.used + tally.saved
    counts: dict[str, int] = {
        "samples": samples,
        **{str(kind): kinds[kind].samples for kind in KINDS},
        "turns": sum(kind.turns for kind in kinds.values()),
        "rejected": outcome.reasons.total(),
        "mended": sum(kind.mended for kind in kinds.values()),
        "images_without_captions": uncaptioned,
        "asked": tally.asked,
        "from_ledger": tally.from_ledger,
        "input_tokens": replies.input_tokens,
        "output_tokens": replies.output_tokens,
    }
    return Built(counts, {
        "teacher": model,
        "language": statistics.language,
        "prompts": prompts.digest,
        "rejected_by_reason": dict(by_number(outcome.reasons)),
        "faults_by_reason": dict(by_number(outcome.faults)),
        "unsupported_objects": _unsupported(statistics),
        "usd_spent": round(tally.used.usd, 6),
        "usd_saved": round(tally.saved.usd, 6),
        "usd_per_accepted": round(replies.usd / samples, 6) if samples else 0.0,
    })


def _unsupported(statistics: Statistics) -> JsonValue:
    """Of each kind: the share of samples that speak of an unsupported object, how many a sample, the most frequent."""
    return {
        str(kind): {
            "share": round(counts.with_unsupported / counts.samples, 4),
            "mean": round(counts.unsupported_total / counts.samples, 4),
            "top": dict(Counter(counts.unsupported).most_common(TOP)),
        }
        for kind, counts in statistics.kinds.items() if counts.samples
    }
