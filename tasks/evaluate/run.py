"""Stage evaluate: ask one checkpoint every benchmark of the experiment, and write what came of it.

The model and the judge come in as the two small protocols `Answerer` and `Judge`, so that this stage knows neither
torch nor any endpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from configs.schema import EvaluateConfig
from tasks.errors import ConfigError
from tasks.evaluate import captions as captions_set
from tasks.evaluate import ensembling, run_llava_bench, run_scienceqa
from tasks.evaluate import mme as mme_set
from tasks.evaluate import pope as pope_set
from tasks.evaluate.answers import Answerer
from tasks.evaluate.benchmark import Part, bootstrap_of, run_benchmark, work_of
from tasks.evaluate.captions import Captions
from tasks.evaluate.judging import Judge, load_rules
from tasks.evaluate.mme import Mme
from tasks.evaluate.pope import Pope
from tasks.evaluate.report import Report, write_examples, write_report
from tasks.progress import Progress
from tasks.stages import Built


class Planned(NamedTuple):
    """One benchmark, its data read and checked."""

    name: str
    work: int
    """What its progress counts to."""
    run: Callable[[Callable[[int], None]], Part]


@dataclass(frozen=True)
class Others:
    """Whom an evaluation asks beside the model."""

    judge: Judge | None = None
    llm: ensembling.Asked | None = None
    """The text-only LLM of an ensemble."""
    rules: Path | None = None
    """An official rule.json to judge by instead of the project's own rules."""


def build_evaluation(
    folder: Path,
    roots: Mapping[str, Path],
    config: EvaluateConfig,
    answerer: Answerer,
    judge: Judge | None,
    seed: int,
    progress: Progress,
    rules: Path | None = None,
    llm: ensembling.Asked | None = None,
) -> Built:
    """Evaluate one checkpoint: report.json, examples/<benchmark>.jsonl and the images they name.

    `roots` maps a benchmark ("scienceqa", "llava_bench", "pope", "mme", "captions") to the local folder of its set; the
    rest is said at `Others`. All data is read and checked before the model is asked. Raises ConfigError where a root,
    the judge or the LLM is wanting, DataError where a set cannot be used.
    """
    others = Others(judge, llm, rules)
    planned = [*_planned(folder, roots, config, answerer, others, seed)]
    if not planned:
        raise ConfigError("the experiment evaluates nothing: set evaluate.scienceqa or evaluate.llava_bench")
    total, done = sum(plan.work for plan in planned), 0
    parts: dict[str, Part] = {}
    for plan in planned:
        parts[plan.name] = plan.run(_shown(progress, done, total, plan.name))
        done += plan.work
    return _write(folder, parts, seed, progress)


def _planned(
    folder: Path, roots: Mapping[str, Path], config: EvaluateConfig, answerer: Answerer, others: Others, seed: int
) -> Iterator[Planned]:
    """The benchmarks of the experiment, in the order of the report."""
    if config.scienceqa is not None:
        yield _scienceqa(folder, _root(roots, run_scienceqa.NAME), config, answerer, others.llm, seed)
    if config.llava_bench is not None:
        yield _llava_bench(folder, _root(roots, run_llava_bench.NAME), config, answerer, others, seed)
    if config.pope is not None:
        pope = Pope.load(_root(roots, pope_set.NAME), config.pope, bootstrap_of(config, seed))
        yield Planned(pope.name, work_of(pope, config), partial(run_benchmark, folder, pope, config, answerer))
    if config.mme is not None:
        mme = Mme.load(_root(roots, mme_set.NAME), config.mme, bootstrap_of(config, seed))
        yield Planned(mme.name, work_of(mme, config), partial(run_benchmark, folder, mme, config, answerer))
    if config.captions is not None:
        photos = Captions.load(_root(roots, captions_set.NAME), config.captions, bootstrap_of(config, seed))
        yield Planned(photos.name, work_of(photos, config), partial(run_benchmark, folder, photos, config, answerer))


def _scienceqa(
    folder: Path, root: Path, config: EvaluateConfig, answerer: Answerer, llm: ensembling.Asked | None, seed: int
) -> Planned:
    assert config.scienceqa is not None
    questions = run_scienceqa.load_questions(root, config.scienceqa)
    ensemble = ensembling.prepare(root, questions.problems, config, seed)
    if ensemble is not None and llm is None:
        raise ConfigError("evaluate.scienceqa.ensemble needs an LLM to ask")
    asked = len(questions.problems) + (len(questions.withheld) if config.blind else 0)

    def run(progress: Callable[[int], None]) -> Part:
        report, examples = run_scienceqa.run(folder, questions, config, answerer, progress)
        if ensemble is not None and llm is not None:
            texts = {example.id: example.sighted.text for example in examples}
            together, combined = ensembling.run(ensemble, texts, llm, lambda done: progress(asked + done))
            ensembling.write_combined(folder, combined)
            report = report.model_copy(update={"ensemble": together})
        return report, examples

    return Planned(run_scienceqa.NAME, asked + (ensemble.work if ensemble else 0), run)


def _llava_bench(
    folder: Path, root: Path, config: EvaluateConfig, answerer: Answerer, others: Others, seed: int
) -> Planned:
    assert config.llava_bench is not None
    bench, judge, rules = run_llava_bench.load(root, config.llava_bench), others.judge, load_rules(others.rules)
    if judge is None:
        raise ConfigError("evaluate.llava_bench needs a judge")

    def run(progress: Callable[[int], None]) -> Part:
        return run_llava_bench.run(folder, bench, config, answerer, judge, rules, seed, progress)

    return Planned(run_llava_bench.NAME, run_llava_bench.work(bench, config), run)


def _write(folder: Path, parts: Mapping[str, Part], seed: int, progress: Progress) -> Built:
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
