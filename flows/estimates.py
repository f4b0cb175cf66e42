"""How much a stage has to do, before it does it: samples, steps, requests, tokens and money. All of it is rough."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

from configs.schema import (
    Experiment,
    FileSource,
    FolderModel,
    LlavaJsonSource,
    MicroVision,
    ScienceQASource,
    ShapesSource,
)
from flows.generation_estimate import CHARACTERS_A_TOKEN, Work, cost_of, generation_of
from flows.memory_estimate import memory_work
from model.flops import device_hours, official_load, shapes_of
from model.shapes import adapter_shape
from tasks.artifacts import Artifact

IMAGE_TOKENS = 576
"""Of CLIP-L at 336 pixels, where the tower is not known yet."""
JUDGE_TOKENS = (900, 150)
"""A judge's request and reply."""
LLM_TOKENS = (700, 200)
"""The same of a text-only LLM in an ensemble, solved questions before its own."""
INDEX_LINES = 200
GIVING = (LlavaJsonSource, ScienceQASource)
"""Sources that bring samples or questions, and images only for these."""


def work_of(
    stage: str, experiment: Experiment, there: Mapping[str, Artifact], folders: Mapping[str, Path],
    ledger: str | None = None, mixed: int | None = None,
) -> Work:
    """What a stage has to do.

    `there` are the artifacts that are there already, by stage, `folders` those of them that are local, `ledger` the
    ledger's URL, `mixed` how many samples an epoch of the stage's mixture has, where it has one.
    """
    images = images_of(experiment, there)
    samples = samples_of(experiment, there, images)
    match stage:
        case "ingest":
            return _known(images=images)
        case "generate":
            return generation_of(experiment, folders.get("ingest"), ledger)
        case "shard":
            return _known(**{f"{name} samples": number for name, number in samples.items()})
        case "align" | "instruct":
            own = mixed or samples[stage]
            return training_of(stage, experiment, own, folders.get("shard"), folders.get("base"))
        case "evaluate":
            return evaluation_of(experiment, there)
    return {}


def images_of(experiment: Experiment, there: Mapping[str, Artifact]) -> int | None:
    """How many images there are; None where that is not known before they are read."""
    if "ingest" in there:
        return there["ingest"].counts["images"]
    return _sum(_images(source) for source in experiment.data.sources)


def samples_of(experiment: Experiment, there: Mapping[str, Artifact], images: int | None) -> dict[str, int | None]:
    """Training samples of each stage."""
    if "shard" in there:
        return {stage: there["shard"].counts[f"{stage}_samples"] for stage in ("align", "instruct")}
    sources, conversations = experiment.data.sources, experiment.generate.samples
    given: dict[str, int | None]
    if "ingest" in there:
        counts = there["ingest"].counts
        captioned: int | None = counts.get("captioned", counts["images"])
        given = {stage: counts.get(f"given_{stage}", 0) for stage in ("align", "instruct")}
        questions: int | None = counts.get("questions", 0)
    else:
        captioned = _sum(_images(source) for source in sources if not isinstance(source, GIVING))
        given = {
            stage: _sum(_given(source) for source in sources if getattr(source, "stage", None) == stage)
            for stage in ("align", "instruct")
        }
        questions = _sum(source.expected for source in sources if isinstance(source, ScienceQASource))
    if experiment.shard.scienceqa_train:
        own = sum(source.scienceqa_train for source in sources if isinstance(source, ShapesSource))
        questions = _sum((questions, own))
    captions = None if captioned is None else captioned * experiment.shard.captions_per_image
    return {"align": _sum((captions, given["align"])), "instruct": _sum((conversations, given["instruct"], questions))}


def _images(source: ShapesSource | FileSource) -> int | None:
    if isinstance(source, ShapesSource):
        return source.train_scenes
    return None if isinstance(source, GIVING) else source.limit


def _given(source: ShapesSource | FileSource) -> int | None:
    """Samples of a LLaVA JSON."""
    if not isinstance(source, LlavaJsonSource):
        return None
    known = [number for number in (source.limit, source.expected) if number is not None]
    return min(known, default=None)


def _sum(numbers: Iterable[int | None]) -> int | None:
    """The sum; None if one of them is not known."""
    found = list(numbers)
    return None if None in found else sum(number for number in found if number is not None)


def training_of(
    stage: str, experiment: Experiment, samples: int | None, shards: Path | None, base: Path | None = None
) -> Work:
    """Steps, samples, and tokens where the shards are there; what is wrong with samples where the models are, too."""
    config = experiment.train.stages.align if stage == "align" else experiment.train.stages.instruct
    steps = config.steps
    if steps is None and samples is not None:
        steps = max(1, math.ceil(config.epochs * samples / config.batch))
    seen = None if steps is None else steps * config.batch
    if seen is None or shards is None:
        hours = hours_of(stage, experiment, seen)
        return _known(steps=steps, samples=seen) | hours | memory_work(stage, experiment, base)
    looked = looked_at(stage, experiment, shards, base) if base else {}
    a_sample = looked.pop("tokens a sample", None) or tokens_a_sample(stage, experiment, shards)
    assert isinstance(a_sample, float)
    supervised = looked.pop("supervised a sample", None)
    assert supervised is None or isinstance(supervised, float)
    work = _known(steps=steps, samples=seen, tokens=int(round(seen * a_sample, -3)))
    memory = memory_work(stage, experiment, base, a_sample, supervised)
    return work | hours_of(stage, experiment, seen, a_sample) | memory | looked


def hours_of(stage: str, experiment: Experiment, samples: int | None, tokens: float | None = None) -> Work:
    """Device-hours of a recipe, from its published kin (model/flops.py); `tokens` a sample where they are known."""
    base = experiment.base
    if samples is None or not (isinstance(base.vision, FolderModel) and isinstance(base.language, FolderModel)):
        return {}
    shapes = shapes_of(base.language.path, base.vision.path)
    if shapes is None:
        return {}
    load = official_load(stage, shapes[1])
    load = load if tokens is None else replace(load, tokens=tokens)
    adapters = adapter_shape(experiment.train.lora, stage)
    return {"A100-hours, roughly": round(device_hours(stage, samples, load, *shapes, adapters))}


def looked_at(stage: str, experiment: Experiment, shards: Path, base: Path) -> Work:
    """What tokenising a part of the samples shows."""
    from model.stages import Stage  # torch, which a plan without shards does not wait for
    from tasks.train.preview import preview

    seen = preview(Stage(stage), base, shards, experiment.train)
    work: Work = {
        "tokens a sample": seen.tokens, "supervised a sample": seen.supervised, "samples looked at": seen.samples,
    }
    work |= {name: number for name in ("quarantined", "truncated") if (number := getattr(seen, name))}
    return work | ({"will fail:": seen.wrong} if seen.wrong else {})


def tokens_a_sample(stage: str, experiment: Experiment, shards: Path) -> float:
    """Text and image tokens of a sample, from the first lines of the stage's index."""
    vision = experiment.base.vision
    patches = (vision.image_size // vision.patch_size) ** 2 if isinstance(vision, MicroVision) else IMAGE_TOKENS
    with (shards / "index" / f"{stage}.jsonl").open(encoding="utf-8") as handle:
        rows = [json.loads(line) for line in islice(handle, INDEX_LINES)]
    if not rows:
        return 0.0
    text = sum(row["json"][1] for row in rows) / CHARACTERS_A_TOKEN
    shown = sum((row["image"] is not None) + len(row.get("more", ())) for row in rows)
    return float(text + patches * shown) / len(rows)


def evaluation_of(experiment: Experiment, there: Mapping[str, Artifact]) -> Work:
    """Questions to the model, requests to the judge."""
    evaluate, source = experiment.evaluate, experiment.data.source
    times = 2 if evaluate.blind else 1
    work: Work = {}
    if evaluate.scienceqa and evaluate.scienceqa.root is None and isinstance(source, ShapesSource):
        work["questions"] = source.scienceqa_test
        if ensemble := evaluate.scienceqa.ensemble:
            asked = source.scienceqa_test * (2 if ensemble.scheme == "judge" else 1)
            cost = cost_of(ensemble.llm, *(asked * tokens for tokens in LLM_TOKENS))
            work |= {"llm requests at most": asked} | {f"llm {name}": value for name, value in cost.items()}
    bench = evaluate.llava_bench
    if bench and bench.root is None and isinstance(source, ShapesSource):
        judged = 3 * source.bench_images * times * bench.judge_runs * (2 if bench.swap else 1)
        work |= {"judgements": judged, **cost_of(bench.judge, *(judged * tokens for tokens in JUDGE_TOKENS))}
    return work


def _known(**work: int | None) -> Work:
    return {name: number for name, number in work.items() if number is not None}
