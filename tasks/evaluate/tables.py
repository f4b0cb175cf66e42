"""Scores as aligned text and as JSON, rounded as they are published: ScienceQA to 2 decimals, LLaVA-Bench to 1."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pydantic import JsonValue

from tasks.evaluate.ensemble import Ensemble
from tasks.evaluate.published import published_rows
from tasks.evaluate.rates import rate_text
from tasks.evaluate.replay import OtherSource, Replay
from tasks.evaluate.report import Score, flat
from tasks.evaluate.reviews import ReviewScores, spread
from tasks.evaluate.scienceqa import AVG, COLUMNS, UNSEEN_PAIR

Columns = Mapping[str, float | int | None]

ACCURACY_DIGITS = 2
RELATIVE_DIGITS = 1


def aligned(header: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]) -> list[str]:
    """Lines of a table: names left, cells right, every column as wide as it needs."""
    table = [("", tuple(header)), *((name, tuple(cells)) for name, cells in rows)]
    first = max(len(name) for name, _ in table)
    widths = [max(len(cells[index]) for _, cells in table) for index in range(len(header))]
    return [
        f"{name:<{first}}  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        for name, cells in table
    ]


def accuracy_table(rows: Mapping[str, Columns]) -> list[str]:
    """Named results in the columns of the official breakdown; a column that no result has is left out."""
    heads = {**COLUMNS, UNSEEN_PAIR: "unseen pair"}
    order = [*(name for name in heads if name != AVG), AVG]
    there = [name for name in order if any(cells.get(name) is not None for cells in rows.values())]
    body = ((name, [cell(cells.get(column), ACCURACY_DIGITS) for column in there]) for name, cells in rows.items())
    return aligned([heads[column] for column in there], body)


def cell(value: float | None, digits: int) -> str:
    """A figure as it is printed; a dash where there is none, counts without decimals."""
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.{digits}f}"


def values_of(rows: Mapping[str, Score]) -> dict[str, float | None]:
    """The score of every row."""
    return {name: score.value for name, score in rows.items()}


# ---------------------------------------------------------------------------------------------------- ScienceQA


def replay_text(title: str, main: Replay, other: OtherSource | None) -> list[str]:
    """A scored file of predictions, and what its other source gives."""
    report = main.report
    rows: dict[str, Columns] = {
        "score": values_of(report.rows),
        "low": {name: score.low for name, score in report.rows.items()},
        "high": {name: score.high for name, score in report.rows.items()},
        "random": {name: score.random for name, score in report.rows.items()},
        "questions": {name: score.n for name, score in report.rows.items()},
    }
    whole = report.rows[AVG]
    lines = [title, "", *accuracy_table(rows), ""]
    lines.append(
        f"{whole.right} of {whole.n} right = {cell(whole.value, ACCURACY_DIGITS)} %; "
        + "; ".join(
            f"{name} {report.counts.get(name, 0)} ({rate_text(report, name, ACCURACY_DIGITS)})" for name in report.rates
        )
    )
    if other is not None:
        lines.append(f"By {other.name}: {other.right} right = {cell(100 * other.right / whole.n, ACCURACY_DIGITS)} %")
    return [*lines, *(f"Note: {note}" for note in report.notes)]


def replay_json(main: Replay, other: OtherSource | None) -> dict[str, JsonValue]:
    """The same for machines."""
    report, whole = main.report, main.report.rows[AVG]
    return {
        "benchmark": "scienceqa",
        **report.settings,
        "accuracy": _rounded(whole.value, ACCURACY_DIGITS),
        "correct": whole.right,
        "count": whole.n,
        "scores": {f"scienceqa/{name}": round(value, ACCURACY_DIGITS) for name, value in flat(report)},
        "rows": {COLUMNS.get(name, name): _score_json(score) for name, score in report.rows.items()},
        "topics": {name: _score_json(score) for name, score in report.topics.items()},
        "counts": dict(report.counts),
        "rate_intervals": {name: [*bounds] for name, bounds in report.rate_bounds.items()},
        "other_source": None
        if other is None
        else {
            "name": other.name,
            "accuracy": round(100 * other.right / whole.n, ACCURACY_DIGITS),
            "correct": other.right,
        },
        "notes": list(report.notes),
    }


# ---------------------------------------------------------------------------------------------------- ensemble


def ensemble_text(
    title: str, rows: Mapping[str, Mapping[str, Score]], result: Ensemble, p_value: float, published: bool
) -> list[str]:
    """An ensemble beside its two parts, its branches, and the published rows where the questions are the same."""
    count = len(result.marked)
    shown: dict[str, Columns] = {name: values_of(scores) for name, scores in rows.items()}
    lines = [title, "", *accuracy_table({**shown, **(published_columns() if published else {})}), ""]
    lines += [
        f"{name}: {times} ({cell(100 * times / count, ACCURACY_DIGITS)} %), {result.right[name]} right"
        for name, times in result.branches.items()
    ]
    lines += [f"{name}: {times}" for name, times in result.guesses.items()]
    lines.append(f"second queries that no question needed: {result.unused}")
    lines.append(
        f"oracle (either right): {result.oracle} of {count} = {cell(100 * result.oracle / count, ACCURACY_DIGITS)} %"
    )
    lines.append(f"ensemble against the model alone: McNemar exact p = {p_value:.3g}")
    return lines


def ensemble_json(
    rows: Mapping[str, Mapping[str, Score]], result: Ensemble, p_value: float, published: bool
) -> dict[str, JsonValue]:
    """The same for machines."""
    count = len(result.marked)
    scheme = list(rows)[-1]
    whole = rows[scheme][AVG]
    return {
        "benchmark": "scienceqa-ensemble",
        "scheme": scheme,
        "accuracy": _rounded(whole.value, ACCURACY_DIGITS),
        "correct": whole.right,
        "count": count,
        "rows": {
            part: {COLUMNS.get(name, name): _score_json(score) for name, score in scores.items()}
            for part, scores in rows.items()
        },
        "branches": {
            name: {"count": times, "correct": result.right[name]} for name, times in result.branches.items()
        },
        "guesses": dict(result.guesses),
        "unused_second_queries": result.unused,
        "oracle": {"accuracy": round(100 * result.oracle / count, ACCURACY_DIGITS), "correct": result.oracle},
        "mcnemar_p": p_value,
        "published": _published_json() if published else None,
    }


def _published_json() -> dict[str, JsonValue]:
    return {name: {COLUMNS[key]: value for key, value in row.items()} for name, row in published_rows().items()}


def published_columns() -> dict[str, Columns]:
    """The published rows, named as such."""
    return {f"published: {name}": dict(row) for name, row in published_rows().items()}


# ---------------------------------------------------------------------------------------------------- LLaVA-Bench


def reviews_text(scored: Sequence[ReviewScores]) -> list[str]:
    """Scored review files, one block each, then mean and deviation over them."""
    lines = ["LLaVA-Bench, relative score = 100 * sum(model) / sum(reference)"]
    for part in scored:
        lines += ["", f"{part.path.name}: {part.total - len(part.failed)} of {part.total} judged"]
        heads = ["score", "low", "high", "reference", "model", "n"]
        lines += aligned(heads, [(name, _review_cells(part, name)) for name in part.rows])
        if part.withheld:
            lines.append("Note: withheld, too many judgements failed (--max-failed-share)")
        if part.needed is not None:
            lines.append(
                f"Note: a difference of one point takes about {part.needed} judged answers to be seen (80 % power)"
            )
        if part.failed:
            lines.append(f"Note: {len(part.failed)} failed, left out: question {', '.join(part.failed[:5])}")
    if len(scored) > 1:
        lines += ["", f"over {len(scored)} files"]
        lines += aligned(
            ["mean", "std"],
            [
                (name, [cell(mean, RELATIVE_DIGITS), cell(deviation, RELATIVE_DIGITS)])
                for name, (mean, deviation) in spread(scored).items()
            ],
        )
    return lines


def reviews_json(scored: Sequence[ReviewScores]) -> dict[str, JsonValue]:
    """The same for machines."""
    over_files = spread(scored)
    return {
        "benchmark": "llava_bench",
        "reviews": [
            {
                "file": part.path.name,
                "count": part.total,
                "failed": len(part.failed),
                "withheld": part.withheld,
                "examples_needed": part.needed,
                "rows": {name: _review_json(part, name) for name in part.rows},
            }
            for part in scored
        ],
        "mean": {name: round(mean, RELATIVE_DIGITS) for name, (mean, _) in over_files.items()},
        "std": {name: _rounded(deviation, RELATIVE_DIGITS) for name, (_, deviation) in over_files.items()},
    }


def _review_cells(part: ReviewScores, name: str) -> list[str]:
    score, (reference, model) = part.rows[name], part.means.get(name, (None, None))
    figures = (score.value, score.low, score.high, _times_ten(reference), _times_ten(model))
    return [*(cell(figure, RELATIVE_DIGITS) for figure in figures), str(score.n)]


def _review_json(part: ReviewScores, name: str) -> dict[str, JsonValue]:
    score, (reference, model) = part.rows[name], part.means.get(name, (None, None))
    return {
        "value": _rounded(score.value, RELATIVE_DIGITS),
        "low": _rounded(score.low, RELATIVE_DIGITS),
        "high": _rounded(score.high, RELATIVE_DIGITS),
        "reference": _rounded(_times_ten(reference), RELATIVE_DIGITS),
        "model": _rounded(_times_ten(model), RELATIVE_DIGITS),
        "n": score.n,
    }


def _times_ten(mean: float | None) -> float | None:
    """Means are published on a scale to 100."""
    return None if mean is None else 10 * mean


def _score_json(score: Score) -> dict[str, JsonValue]:
    return {
        "value": _rounded(score.value, ACCURACY_DIGITS),
        "low": _rounded(score.low, ACCURACY_DIGITS),
        "high": _rounded(score.high, ACCURACY_DIGITS),
        "random": _rounded(score.random, ACCURACY_DIGITS),
        "correct": score.right,
        "n": score.n,
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
