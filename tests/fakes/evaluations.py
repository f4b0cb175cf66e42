"""Evaluation folders as stage evaluate writes them, made by rule: which questions a model gets right is an argument."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from PIL import Image
from pydantic import JsonValue

from tasks.evaluate.report import Answered, BenchmarkReport, Example, Report, Score, write_examples, write_report

COLOURS = ("red", "green", "blue", "yellow")
SUBJECTS = ("nat", "soc", "lan")
KINDS = ("conv", "detail", "complex")
SETTINGS: dict[str, JsonValue] = {"rule": "llava", "prompt_format": "QCM-A"}
JUDGE: dict[str, JsonValue] = {"judge": {"kind": "scripted"}, "rules_digest": "abc"}
LETTERS = "ABCD"

Right = Callable[[int], bool]
Scored = Callable[[int], tuple[float, float] | None]


def always(_: int) -> bool:
    return True


def steady(_: int) -> tuple[float, float] | None:
    return (8.0, 7.0)


def paint(folder: Path, index: int) -> str:
    """A picture of one colour; its file, relative to the folder."""
    file = folder / "images" / f"{index:03d}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        Image.new("RGB", (48, 48), COLOURS[index % 4]).save(file)
    return f"images/{file.name}"


def question(folder: Path | None, index: int, right: bool, salt: str = "") -> Example:
    """A ScienceQA-layout question on a picture; without a folder it names no picture."""
    truth = index % 4
    chosen = truth if right else (truth + 1) % 4
    options = " ".join(f"({letter}) {colour}" for letter, colour in zip(LETTERS, COLOURS, strict=True))
    group = SUBJECTS[index % 3]
    return Example(
        id=f"q{index:04d}",
        image=None if folder is None else paint(folder, index % 8),
        prompt=f"<image>\nWhich colour is square {index}{salt}?\nContext: N/A\nOptions: {options}",
        correct=f"{LETTERS[truth]}. {COLOURS[truth]}",
        groups=(group, "img"),
        sighted=Answered(
            text=f"The answer is {LETTERS[chosen]}.", outcome="right" if right else "wrong", choice=LETTERS[chosen]
        ),
        blind=Answered(text="The answer is A.", outcome="right" if truth == 0 else "wrong", choice="A"),
    )


def review(folder: Path | None, index: int, scores: tuple[float, float] | None) -> Example:
    """A LLaVA-Bench-layout question, judged or failed."""
    judged = scores is not None
    return Example(
        id=f"b{index:03d}",
        image=None if folder is None else paint(folder, index % 8),
        prompt="<image>\nDescribe the picture in detail.",
        correct="A square of one colour fills the whole picture.",
        groups=(KINDS[index % 3],),
        sighted=Answered(
            text="A coloured square.",
            outcome="judged" if judged else "failed",
            scores=scores,
            reason=None if judged else "no two scores on the first line",
            words="8 7\nAssistant 2 leaves out where the square lies." if judged else "I cannot tell.",
            attempts=1 if judged else 3,
        ),
        blind=Answered(text="A picture.", outcome="judged", scores=(8.0, 3.0), words="8 3\nToo vague.", attempts=1),
    )


def accuracy(examples: Sequence[Example]) -> Score:
    """Share of right answers with rough intervals: figures to look at, not to rely on."""
    share = 100 * sum(example.sighted.outcome == "right" for example in examples) / len(examples)
    blind = 100 * sum(bool(example.blind and example.blind.outcome == "right") for example in examples) / len(examples)
    reach = 100 / len(examples) ** 0.5
    return Score(
        value=share, low=max(0.0, share - reach), high=min(100.0, share + reach), n=len(examples),
        right=sum(example.sighted.outcome == "right" for example in examples), random=25.0, blind=blind,
        blind_low=max(0.0, blind - reach), blind_high=min(100.0, blind + reach),
    )


def relative(examples: Sequence[Example]) -> Score:
    """LLaVA-Bench's relative score."""
    found = [example.sighted.scores for example in examples if example.sighted.scores]
    if not found:
        return Score(value=None, n=0)
    value = 100 * sum(score for _, score in found) / sum(reference for reference, _ in found)
    return Score(value=value, low=value - 4, high=value + 4, n=len(found), blind=37.5, blind_low=33.0, blind_high=42.0)


def rows_of(
    examples: Sequence[Example], whole: str, score: Callable[[Sequence[Example]], Score]
) -> dict[str, Score]:
    groups = list(dict.fromkeys(group for example in examples for group in example.groups))
    found = {group: score([example for example in examples if group in example.groups]) for group in groups}
    return {**found, whole: score(examples)}


def evaluation(
    folder: Path,
    *,
    questions: int = 300,
    right: Right = always,
    bench: int = 0,
    scored: Scored = steady,
    unparsed: float = 0.0,
    failed: float = 0.0,
    settings: Mapping[str, JsonValue] = SETTINGS,
    judge: Mapping[str, JsonValue] = JUDGE,
    pictures: bool = False,
    salt: str = "",
) -> Path:
    """Write an evaluation and return its folder. Rates are in percent."""
    folder.mkdir(parents=True, exist_ok=True)
    painted = folder if pictures else None
    asked = [question(painted, index, right(index), salt) for index in range(questions)]
    benchmarks = {
        "scienceqa": BenchmarkReport(
            rows=rows_of(asked, "avg", accuracy), rates={"unparsed": unparsed, "missing": 0.0}, settings=dict(settings)
        )
    }
    write_examples(folder, "scienceqa", asked)
    if bench:
        judged = [review(painted, index, scored(index)) for index in range(bench)]
        benchmarks["llava_bench"] = BenchmarkReport(
            rows=rows_of(judged, "all", relative), rates={"failed": failed}, settings=dict(judge)
        )
        write_examples(folder, "llava_bench", judged)
    write_report(folder, Report(benchmarks=benchmarks))
    return folder


def digest_of_name(name: str) -> str:
    """A digest that looks like one."""
    return hashlib.sha256(name.encode()).hexdigest()
