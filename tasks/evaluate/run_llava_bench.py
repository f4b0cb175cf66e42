"""Ask a model the questions of a LLaVA-Bench-layout set, have the answers judged, and score them, blind ones beside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import JsonValue

from configs.schema import EvaluateConfig, LlavaBenchConfig
from model.records import IMAGE_TOKEN
from tasks.artifacts import digest_of
from tasks.errors import DataError
from tasks.evaluate.answers import Answerer, Prompt, answer_all
from tasks.evaluate.judge_runs import Verdict, judge_runs, needed_note, orders, rows_of_runs
from tasks.evaluate.judging import Judge, JudgeRules
from tasks.evaluate.llava_bench import BenchQuestion, load_bench, withhold
from tasks.evaluate.pictures import check_readable, first_there, keep
from tasks.evaluate.rates import with_bounds
from tasks.evaluate.report import Answered, BenchmarkReport, Example, Judged, Score, rounded

NAME = "llava_bench"
JUDGED, FAILED = "judged", "failed"


@dataclass(frozen=True)
class Bench:
    """The questions to ask, and the image of each."""

    questions: list[BenchQuestion]
    images: list[Path]


def load(root: Path, config: LlavaBenchConfig) -> Bench:
    """The questions in the order of their file, at most `limit` of them.

    Raises DataError as `load_bench` does, and if an image is not there or cannot be read.
    """
    questions = load_bench(root / config.questions, root / config.context, root / config.references)[: config.limit]
    images = [_image(root / config.images, question) for question in questions]
    for image, question in {image: question for image, question in zip(images, questions, strict=True)}.items():
        check_readable(image, f"question {question.id}")
    return Bench(questions, images)


def prompts_of(bench: Bench, config: LlavaBenchConfig, *, blind: bool) -> list[Prompt]:
    """What is asked: the image first, then the question; blind, the question alone."""
    front = "" if blind else f"{IMAGE_TOKEN}\n"
    return [
        Prompt(front + question.text, None if blind else image, config.max_new_tokens)
        for question, image in zip(bench.questions, bench.images, strict=True)
    ]


def run(
    folder: Path,
    bench: Bench,
    config: EvaluateConfig,
    answerer: Answerer,
    judge: Judge,
    rules: JudgeRules,
    seed: int,
    progress: Callable[[int], None],
) -> tuple[BenchmarkReport, list[Example]]:
    """Ask, have judged, score, and keep the images. `progress` hears the work done, answers and judgements together."""
    own = config.llava_bench
    assert own is not None
    prompts = prompts_of(bench, own, blind=False)
    hidden = prompts_of(bench, own, blind=True) if config.blind else []
    texts = answer_all(answerer, [*prompts, *hidden], config.batch, progress)
    twice = bench.questions * (2 if config.blind else 1)
    judged = judge_runs(
        judge, rules, twice, texts, own.judge_runs, lambda done: progress(len(texts) + done), swap=own.swap
    )
    count = len(bench.questions)
    # Rules have no date: they are what their code is, and the same on any day.
    dated = own.judge.kind == "openai"
    examples = [
        Example(
            id=question.id,
            image=keep(bench.images[index], folder, NAME, question.image),
            prompt=prompts[index].text,
            correct=question.reference,
            groups=(question.category,),
            sighted=_answered(texts[index], judged[index], dated=dated),
            blind=_answered(texts[count + index], judged[count + index], dated=dated) if config.blind else None,
        )
        for index, question in enumerate(bench.questions)
    ]
    return _report(bench, judged[:count], judged[count:], config, own, rules, seed), examples


def work(bench: Bench, config: EvaluateConfig) -> int:
    """Answers and judgements of a run, for its progress."""
    own = config.llava_bench
    assert own is not None
    judgements = own.judge_runs * len(orders(swap=own.swap))
    return (1 + judgements) * (2 if config.blind else 1) * len(bench.questions)


def _report(
    bench: Bench,
    sighted: Sequence[Verdict],
    blind: Sequence[Verdict],
    config: EvaluateConfig,
    own: LlavaBenchConfig,
    rules: JudgeRules,
    seed: int,
) -> BenchmarkReport:
    bootstrap_seed = int(digest_of(["bootstrap", NAME, seed])[:8], 16)
    rows = _rows(bench, sighted, config, own, bootstrap_seed)
    blind_rows = _rows(bench, blind, config, own, bootstrap_seed) if blind else {}
    all_made = [judgement for verdict in sighted for judgement in verdict.judgements]
    failed, blind_failed = _failed(sighted), _failed(blind)
    counts = {
        "questions": len(sighted), JUDGED: len(all_made) - failed, FAILED: failed, "blind_failed": blind_failed,
        "asked_again": sum(item.attempts > 1 for verdict in (*sighted, *blind) for item in verdict.judgements),
    }
    if own.swap:
        counts["preference_turned"] = sum(verdict.turned for verdict in sighted)
    report = BenchmarkReport(
        rows={name: _beside(score, blind_rows.get(name)) for name, score in rows.items()},
        rates={FAILED: rounded(failed / len(all_made))},
        counts=counts,
        settings={
            "judge": _judge_settings(own),
            "rules": rules.source,
            "rules_digest": rules.digest,
            # Only where they are not the published ones, so that older evaluations stay comparable.
            **({"judge_runs": own.judge_runs} if own.judge_runs > 1 else {}),
            **({"swap": True} if own.swap else {}),
            "max_failed_share": own.max_failed_share,
            "max_new_tokens": own.max_new_tokens,
            "limit": own.limit,
            "blind": config.blind,
            "confidence": config.confidence,
            "interval": "bootstrap",
            "bootstrap": config.bootstrap,
            "bootstrap_seed": bootstrap_seed,
        },
        told=_told([*sighted, *blind]) if own.judge.kind == "openai" else {},
        notes=tuple(_notes(sighted, blind, own)),
    )
    return with_bounds(report, len(all_made), config.confidence)


def _notes(sighted: Sequence[Verdict], blind: Sequence[Verdict], own: LlavaBenchConfig) -> Iterator[str]:
    made = [judgement for verdict in sighted for judgement in verdict.judgements]
    failed, blind_failed = _failed(sighted), _failed(blind)
    if failed:
        yield f"{failed} of {len(made)} judgements failed {max(item.attempts for item in made)} times; left out"
    if failed > own.max_failed_share * len(made):
        yield f"the scores are withheld: more than {own.max_failed_share:.0%} of the judgements failed"
    if blind_failed:
        yield f"{blind_failed} of {len(made)} judgements of blind answers failed; left out"
    if own.swap and (turned := sum(verdict.turned for verdict in sighted)):
        yield f"{turned} of {len(made) // 2} times the judge preferred the other answer when their order was swapped"
    yield from needed_note(sighted)


def _rows(
    bench: Bench, judged: Sequence[Verdict], config: EvaluateConfig, own: LlavaBenchConfig, seed: int
) -> dict[str, Score]:
    """The rows, withheld where too much failed."""
    pairs = [(question.category, verdict) for question, verdict in zip(bench.questions, judged, strict=True)]
    rows = rows_of_runs(pairs, confidence=config.confidence, resamples=config.bootstrap, seed=seed)
    made = sum(len(verdict.judgements) for verdict in judged)
    return withhold(rows) if _failed(judged) > own.max_failed_share * made else rows


def _failed(judged: Sequence[Verdict]) -> int:
    return sum(verdict.failed for verdict in judged)


def _beside(score: Score, blind: Score | None) -> Score:
    if blind is None:
        return score
    return score.model_copy(update={"blind": blind.value, "blind_low": blind.low, "blind_high": blind.high})


def _judge_settings(own: LlavaBenchConfig) -> dict[str, JsonValue]:
    """What of the endpoint shapes a judgement; addresses and names of secrets do not belong into a report."""
    shown: dict[str, JsonValue] = own.judge.model_dump(include={"kind", "model", "temperature", "max_tokens"})
    return shown


def _told(verdicts: Sequence[Verdict]) -> dict[str, str]:
    """Who judged and when, over all judgements, as far as it is known."""
    made = [judgement for verdict in verdicts for judgement in verdict.judgements]
    days = sorted({moment[:10] for judgement in made if (moment := _moment(judgement.answered))})
    served = sorted({judgement.served for judgement in made if judgement.served})
    told = {"judge as served": ", ".join(served), "judged": " to ".join(dict.fromkeys([*days[:1], *days[-1:]]))}
    return {name: value for name, value in told.items() if value}


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _answered(text: str, verdict: Verdict, *, dated: bool) -> Answered:
    """The answer with what became of it; the words are those of the first judgement that tells them."""
    made = verdict.judgements
    scores = verdict.scores
    told = next((item for item in made if (item.scores is None) is (scores is None)), made[0])
    return Answered(
        text=text,
        outcome=FAILED if scores is None else JUDGED,
        reason=None if scores is not None else told.failure,
        scores=scores,
        words=told.words,
        attempts=max(item.attempts for item in made),
        judge=told.served or None,
        judged=_moment(max((item.answered for item in made if item.answered is not None), default=None))
        if dated else None,
        judgements=tuple(_judged(verdict, dated=dated)) if len(made) > 1 else (),
    )


def _judged(verdict: Verdict, *, dated: bool) -> Iterator[Judged]:
    for number, run in enumerate(verdict.runs, 1):
        for swapped, item in zip(orders(swap=len(run) > 1), run, strict=True):
            yield Judged(
                run=number, swapped=swapped, scores=item.scores, words=item.words, attempts=item.attempts,
                judge=item.served or None, judged=_moment(item.answered) if dated else None,
            )


def _image(folder: Path, question: BenchQuestion) -> Path:
    """COCO's own files carry the split in their names, the benchmark's questions do not."""
    path = first_there([folder / question.image, folder / f"COCO_val2014_{question.image}"])
    if path is None:
        raise DataError(
            f"image {folder / question.image} of question {question.id} is not there; set evaluate.llava_bench.images"
        )
    return path
