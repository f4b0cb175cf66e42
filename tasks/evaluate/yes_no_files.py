"""Answers to POPE and MME made elsewhere: one JSON object a line for POPE, MME's own files with a fourth column."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tasks.errors import ScoringError
from tasks.evaluate.benchmark import Bootstrap, Question
from tasks.evaluate.json_files import named, read_lines
from tasks.evaluate.mme import Mme, read_task, task_files
from tasks.evaluate.pope import SUBSETS, Pope, read_subset
from tasks.evaluate.rates import rate_text, with_bounds
from tasks.evaluate.replay import Missing
from tasks.evaluate.report import Answered, BenchmarkReport, Score
from tasks.evaluate.yes_no import MISSING, YesNoRule, share

TEXTS = ("text", "answer", "output")


def score_pope(
    pairs: Sequence[tuple[Path, Path]], rule: YesNoRule, missing: Missing, bootstrap: Bootstrap
) -> BenchmarkReport:
    """Score files of answers, each with the annotations it answers; a subset is told by the annotations' file name.

    Raises ScoringError for a file of another benchmark, answers given twice, or answers that are missing where that
    is an error; DataError for annotations that cannot be used.
    """
    questions: list[Question] = []
    texts: dict[str, str] = {}
    for labels, predictions in pairs:
        subset = _subset(labels)
        if any(subset in one.groups for one in questions):
            raise ScoringError(f"{labels}: the subset {subset} is given twice; give one file of each")
        asked = read_subset(labels, subset, None)
        texts |= _answers(predictions, subset, {one.id for one in asked})
        questions += asked
    pope = Pope(tuple(questions), rule, "", 0, bootstrap)
    lacking = [one.id for one in questions if one.id not in texts]
    if lacking and missing is Missing.ERROR:
        raise ScoringError(
            f"{len(lacking)} of {len(questions)} questions have no answer: {named(lacking)}; --missing wrong counts "
            "them as wrong"
        )
    answers = {
        one.id: pope.parse(one, texts[one.id]) if one.id in texts else Answered(text="", outcome=MISSING)
        for one in questions
    }
    report = pope.score(answers)
    both = report.model_copy(update={"rates": {**report.rates, MISSING: share(MISSING, answers)}})
    return with_bounds(both, len(answers), bootstrap.confidence)


def score_mme(folder: Path, bootstrap: Bootstrap) -> BenchmarkReport:
    """Score a folder of MME's result files: <task>.txt with image, question, answer, and the answer of the model.

    Raises DataError as `read_task` does, ScoringError where a line has no answer of a model.
    """
    rows = [row for path in task_files(folder) for row in read_task(path, None)]
    if lacking := [question.id for question, said in rows if said is None]:
        raise ScoringError(f"{len(lacking)} lines have no fourth column with the model's answer: {named(lacking)}")
    mme = Mme(tuple(question for question, _ in rows), "", 0, bootstrap)
    return mme.score({question.id: mme.parse(question, said or "") for question, said in rows})


def report_lines(title: str, report: BenchmarkReport) -> list[str]:
    """A scored report as text: accuracies, then further figures, each with its interval."""
    lines = [title, "", "accuracy"]
    for name, score in {**report.rows, **report.topics}.items():
        lines.append(f"{name:<32} {_line(score)}")
    lines += ["", "further figures"]
    for name, score in report.measures.items():
        lines.append(f"{name:<32} {_line(score)}")
    unread = "; ".join(f"{name} {rate_text(report, name, 2)}" for name in report.rates)
    return [*lines, "", f"rule {report.settings['rule']}; {unread}", *(f"Note: {note}" for note in report.notes)]


def _line(score: Score) -> str:
    return f"{_cell(score.value)}  ({_cell(score.low)} to {_cell(score.high)})  n {score.n}"


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _subset(annotations: Path) -> str:
    found = [subset for subset in SUBSETS if subset in annotations.name]
    if len(found) != 1:
        raise ScoringError(f"{annotations}: the name must hold one of {', '.join(SUBSETS)}, as POPE's files do")
    return found[0]


def _answers(path: Path, subset: str, asked: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for row in read_lines(path):
        text = next((row[name] for name in TEXTS if isinstance(row.get(name), str)), None)
        if "question_id" not in row or text is None:
            raise ScoringError(f"{path}: a line is no answer: it needs question_id and text, but is {str(row)[:80]}")
        name = f"{subset}-{row['question_id']}"
        if name in found:
            raise ScoringError(f"{path} answers question {row['question_id']} twice; keep one line of each")
        found[name] = str(text)
    if found and not asked & found.keys():
        raise ScoringError(f"{path} answers none of the questions of {subset}: is it of another benchmark?")
    return {name: text for name, text in found.items() if name in asked}
