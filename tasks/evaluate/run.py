"""Stage evaluate: ask one checkpoint every benchmark of the experiment, and write what came of it.

The model and the judge come in as the two small protocols `Answerer` and `Judge`, so that this stage knows neither
torch nor any endpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from configs.schema import EvaluateConfig
from tasks.errors import ConfigError
from tasks.evaluate import run_llava_bench, run_scienceqa
from tasks.evaluate.answers import Answerer
from tasks.evaluate.judging import Judge, load_rules
from tasks.evaluate.report import BenchmarkReport, Example, Report, write_examples, write_report
from tasks.progress import Progress
from tasks.stages import Built

Part = tuple[BenchmarkReport, list[Example]]


def build_evaluation(
    folder: Path,
    roots: Mapping[str, Path],
    config: EvaluateConfig,
    answerer: Answerer,
    judge: Judge | None,
    seed: int,
    progress: Progress,
    rules: Path | None = None,
) -> Built:
    """Evaluate one checkpoint: report.json, examples/<benchmark>.jsonl and the images they name.

    `roots` maps a benchmark ("scienceqa", "llava_bench") to the local folder of its set; `rules` is an official
    rule.json to judge by instead of the project's own rules. All data is read and checked before the model is asked.
    Raises ConfigError where a root or the judge is wanting, DataError where a set cannot be used.
    """
    questions = bench = None
    if config.scienceqa is not None:
        questions = run_scienceqa.load_questions(_root(roots, run_scienceqa.NAME), config.scienceqa)
    if config.llava_bench is not None:
        bench = run_llava_bench.load(_root(roots, run_llava_bench.NAME), config.llava_bench)
        if judge is None:
            raise ConfigError("evaluate.llava_bench needs a judge")
    judge_rules = load_rules(rules)
    times = 2 if config.blind else 1
    first = 0 if questions is None else len(questions.problems) + (times - 1) * len(questions.withheld)
    second = 0 if bench is None else 2 * times * len(bench.questions)
    parts: dict[str, Part] = {}
    if questions is not None:
        shown = _shown(progress, 0, first + second, run_scienceqa.NAME)
        parts[run_scienceqa.NAME] = run_scienceqa.run(folder, questions, config, answerer, shown)
    if bench is not None and judge is not None:
        shown = _shown(progress, first, first + second, run_llava_bench.NAME)
        parts[run_llava_bench.NAME] = run_llava_bench.run(
            folder, bench, config, answerer, judge, judge_rules, seed, shown
        )
    return _write(folder, parts, seed, progress)


def _write(folder: Path, parts: Mapping[str, Part], seed: int, progress: Progress) -> Built:
    if not parts:
        raise ConfigError("the experiment evaluates nothing: set evaluate.scienceqa or evaluate.llava_bench")
    report = Report(benchmarks={name: part for name, (part, _) in parts.items()}, seed=seed)
    for name, (part, examples) in parts.items():
        write_examples(folder, name, examples)
        for note in part.notes:
            progress.note(f"{name}: {note}")
    write_report(folder, report)
    counts = {f"{name}/{key}": value for name, (part, _) in parts.items() for key, value in part.counts.items()}
    return Built(counts=counts, facts={"scores": dict(report.scores())})


def _root(roots: Mapping[str, Path], name: str) -> Path:
    if name not in roots:
        raise ConfigError(f"evaluate.{name} has no root, and no such set came with the images: set its root")
    return roots[name]


def _shown(progress: Progress, before: int, total: int, benchmark: str) -> Callable[[int], None]:
    """Progress of one benchmark as part of the whole stage."""

    def update(done: int) -> None:
        progress.update(before + done, total, benchmark=benchmark)

    return update
