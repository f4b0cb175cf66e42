"""`llavaflow score`: score prediction and review files made elsewhere. Reads files, prints figures, changes nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from pydantic import JsonValue

from tasks.errors import ScoringError
from tasks.evaluate.benchmark import Bootstrap
from tasks.evaluate.ensemble import Scheme, combine, p_value
from tasks.evaluate.extraction import Rule
from tasks.evaluate.predictions import Predictions, check_benchmark, read_predictions
from tasks.evaluate.replay import Missing, Source, mark_predictions, other_source, replay, source_name
from tasks.evaluate.report import BenchmarkReport
from tasks.evaluate.reviews import read_reviews, score_reviews
from tasks.evaluate.scienceqa import Marked, Problems, breakdown, is_test_split, load_split
from tasks.evaluate.tables import (
    ensemble_json,
    ensemble_text,
    replay_json,
    replay_text,
    reviews_json,
    reviews_text,
)
from tasks.evaluate.yes_no import YesNoRule
from tasks.evaluate.yes_no_files import report_lines, score_mme, score_pope

app = typer.Typer(help="Score prediction and review files made elsewhere.", no_args_is_help=True)

ProblemsOption = Annotated[Path, typer.Option("--problems", help="problems.json, or the folder that holds it.")]
SplitsOption = Annotated[Path | None, typer.Option("--splits", help="pid_splits.json; else each question's own split.")]
SplitOption = Annotated[str, typer.Option("--split", help="Which split to score.")]
MissingOption = Annotated[Missing, typer.Option("--missing", help="What a question without a prediction is.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
ConfidenceOption = Annotated[float, typer.Option("--confidence", min=0.5, max=0.999, help="Of the intervals.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Of whatever is drawn at random.")]
FROM_HELP = "Read the texts, or take the stored choices. Default: stored where the file has them and no rule is named."


@app.command("scienceqa")
def scienceqa(
    problems: ProblemsOption,
    predictions: Annotated[Path, typer.Option("--predictions", help="Results JSON, output JSON or JSONL, map, list.")],
    splits: SplitsOption = None,
    split: SplitOption = "test",
    rule: Annotated[Rule | None, typer.Option("--rule", help="How a text is read; llava by default.")] = None,
    source: Annotated[Source | None, typer.Option("--from", help=FROM_HELP)] = None,
    missing: MissingOption = Missing.ERROR,
    confidence: ConfidenceOption = 0.95,
    as_json: JsonOption = False,
) -> None:
    """Accuracy on ScienceQA with the official breakdown."""
    questions = load_split(problems, splits, split)
    found = _predictions(predictions, questions, split)
    taken = source or _default_source(found, rule)
    main = replay(questions, found, taken, rule or Rule.LLAVA, missing, confidence)
    other = other_source(questions, found, taken, rule or Rule.LLAVA)
    if as_json:
        _print_json({"predictions": predictions.name, "split": split, **replay_json(main, other)})
    else:
        title = f"ScienceQA, split {split}: {predictions.name}, by {source_name(taken, rule or Rule.LLAVA)}"
        _print(replay_text(title, main, other))


@app.command("scienceqa-ensemble")
def scienceqa_ensemble(
    problems: ProblemsOption,
    model: Annotated[Path, typer.Option("--model", help="Predictions of the model that sees.")],
    llm: Annotated[Path, typer.Option("--llm", help="Predictions of the text-only LLM.")],
    scheme: Annotated[Scheme, typer.Option("--scheme", help="How two answers become one.")],
    requery: Annotated[Path | None, typer.Option("--requery", help="The LLM's second answers, for judge.")] = None,
    splits: SplitsOption = None,
    split: SplitOption = "test",
    rule: Annotated[Rule, typer.Option("--rule", help="How texts are read; the paper's by default.")] = Rule.OFFICIAL,
    missing: MissingOption = Missing.ERROR,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """The paper's ensembles of a model that sees and a text-only LLM."""
    if (requery is not None) is not (scheme is Scheme.JUDGE):
        raise ScoringError("--requery FILE and --scheme judge belong together: give both or neither")
    questions = load_split(problems, splits, split)
    own, text_only = (_outcomes(path, questions, split, rule, missing) for path in (model, llm))
    second = _second_answers(requery, questions, split, rule) if requery else None
    result = combine(questions, own, text_only, scheme, second, seed)
    rows = {
        name: breakdown(questions, marked)
        for name, marked in (("model", own), ("llm", text_only), (scheme.value, result.marked))
    }
    p = p_value(own, result.marked)
    if as_json:
        settings: dict[str, JsonValue] = {"split": split, "rule": rule.value, "seed": seed, "missing": missing.value}
        _print_json({**settings, **ensemble_json(rows, result, p, is_test_split(questions))})
    else:
        title = f"ScienceQA, split {split}: {model.name} with {llm.name}, {scheme.value}, rule {rule.value}"
        _print(ensemble_text(f"{title}, seed {seed}", rows, result, p, is_test_split(questions)))


@app.command("llava-bench")
def llava_bench(
    reviews: Annotated[list[Path], typer.Option("--reviews", help="Review files (JSONL), one or several.")],
    more: Annotated[list[Path] | None, typer.Argument(metavar="F...", help="Further review files.")] = None,
    reference: Annotated[int, typer.Option("--reference", min=1, max=2, help="Which assistant is the reference.")] = 1,
    max_failed_share: Annotated[
        float, typer.Option("--max-failed-share", min=0.0, max=1.0, help="Above it the score is withheld.")
    ] = 0.2,
    confidence: ConfidenceOption = 0.95,
    resamples: Annotated[int, typer.Option("--bootstrap", min=100, help="Resamples of the bootstrap.")] = 2000,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Relative score of LLaVA-Bench reviews, per file, with mean and deviation over the files."""
    scored = [
        score_reviews(read_reviews(path, reference), max_failed_share, confidence, resamples, seed)
        for path in [*reviews, *(more or [])]
    ]
    if as_json:
        _print_json(reviews_json(scored))
    else:
        _print(reviews_text(scored))


@app.command("pope")
def pope(
    annotations: Annotated[list[Path], typer.Option("--annotations", help="coco_pope_<subset>.json, one or several.")],
    predictions: Annotated[list[Path], typer.Option("--predictions", help="JSONL of question_id and text, one each.")],
    rule: Annotated[YesNoRule, typer.Option("--rule", help="How a text becomes yes or no.")] = YesNoRule.LLAVA,
    missing: MissingOption = Missing.ERROR,
    confidence: ConfidenceOption = 0.95,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """POPE: accuracy, precision, recall, F1 and yes-ratio per subset, and the mean F1 that tables quote."""
    if len(annotations) != len(predictions):
        raise ScoringError(f"{len(annotations)} annotations but {len(predictions)} predictions: give one for each")
    pairs = list(zip(annotations, predictions, strict=True))
    report = score_pope(pairs, rule, missing, Bootstrap(confidence=confidence, seed=seed))
    _print_report("pope", "POPE", report, as_json)


@app.command("mme")
def mme(
    results: Annotated[Path, typer.Option("--results", help="Folder of <task>.txt, the model's answer in column 4.")],
    confidence: ConfidenceOption = 0.95,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """MME: accuracy, accuracy+ and points per task, for perception and for cognition."""
    _print_report("mme", "MME", score_mme(results, Bootstrap(confidence=confidence, seed=seed)), as_json)


def _print_report(benchmark: str, title: str, report: BenchmarkReport, as_json: bool) -> None:
    if as_json:
        _print_json({"benchmark": benchmark, **report.model_dump(mode="json", exclude={"ensemble"})})
    else:
        _print(report_lines(title, report))


def _predictions(path: Path, questions: Problems, split: str) -> Predictions:
    found = read_predictions(path, list(questions))
    check_benchmark(found, questions, split)
    return found


def _default_source(found: Predictions, rule: Rule | None) -> Source:
    """Published figures come from stored choices; who names a rule wants the texts read by it."""
    return Source.OUTPUTS if found.texts and (rule is not None or not found.stored) else Source.STORED


def _outcomes(path: Path, questions: Problems, split: str, rule: Rule, missing: Missing) -> dict[str, Marked]:
    """An ensemble reads texts, as published; a file that has none gives its stored choices."""
    found = _predictions(path, questions, split)
    return mark_predictions(questions, found, Source.OUTPUTS if found.texts else Source.STORED, rule, missing)


def _second_answers(path: Path, questions: Problems, split: str, rule: Rule) -> dict[str, Marked]:
    """Only the questions that were asked again."""
    found = _predictions(path, questions, split)
    marked = mark_predictions(questions, found, Source.OUTPUTS if found.texts else Source.STORED, rule, Missing.WRONG)
    return {pid: answer for pid, answer in marked.items() if pid in found.pids}


def _print(lines: Sequence[str]) -> None:
    typer.echo("\n".join(lines))


def _print_json(value: dict[str, JsonValue]) -> None:
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False))
