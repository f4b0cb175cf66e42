"""How much a stage has to do, before it does it: samples, steps, requests, tokens and money. All of it is rough."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from pydantic import JsonValue

from configs.schema import Endpoint, Experiment, MicroVision, OpenAIEndpoint, ShapesSource
from tasks.artifacts import Artifact
from tasks.generate.plan import quotas
from tasks.generate.prompt import KINDS, load_prompts

CHARACTERS_A_TOKEN = 4
IMAGE_TOKENS = 576
"""Of CLIP-L at 336 pixels, where the tower is not known yet."""
JUDGE_TOKENS = (900, 150)
"""A judge's request and reply."""
INDEX_LINES = 200

Work = dict[str, JsonValue]


def work_of(stage: str, experiment: Experiment, there: Mapping[str, Artifact], shards: Path | None) -> Work:
    """What a stage has to do. `there` are the artifacts that are there already, by stage."""
    images = images_of(experiment, there)
    samples = samples_of(experiment, there, images)
    match stage:
        case "ingest":
            return _known(images=images)
        case "generate":
            return generation_of(experiment)
        case "shard":
            return _known(**{f"{name} samples": number for name, number in samples.items()})
        case "align" | "instruct":
            return training_of(stage, experiment, samples[stage], shards)
        case "evaluate":
            return evaluation_of(experiment, there)
    return {}


def images_of(experiment: Experiment, there: Mapping[str, Artifact]) -> int | None:
    """How many images there are; None where that is not known before they are read."""
    if "ingest" in there:
        return there["ingest"].counts["images"]
    source = experiment.data.source
    return source.train_scenes if isinstance(source, ShapesSource) else source.limit


def samples_of(experiment: Experiment, there: Mapping[str, Artifact], images: int | None) -> dict[str, int | None]:
    """Training samples of each stage."""
    if "shard" in there:
        return {stage: there["shard"].counts[f"{stage}_samples"] for stage in ("align", "instruct")}
    source, conversations = experiment.data.source, experiment.generate.samples
    questions = source.scienceqa_train if isinstance(source, ShapesSource) and experiment.shard.scienceqa_train else 0
    captions = None if images is None else images * experiment.shard.captions_per_image
    return {"align": captions, "instruct": conversations + questions}


def generation_of(experiment: Experiment) -> Work:
    """Requests to the teacher, with tokens and money where it is a paid one."""
    config = experiment.generate
    prompts, parts = load_prompts(config.prompts), quotas(config.samples, config.mix)
    asked = answered = 0.0
    for kind in KINDS:
        before = prompts.before[kind]
        told = sum(len(message.content) for message in before)
        # What is asked and answered is about as long as in the examples.
        questions, answers = (
            [len(message.content) for message in before if message.role == role] for role in ("user", "assistant")
        )
        asked += parts[kind] * (told + sum(questions) / max(1, len(questions)))
        answered += parts[kind] * sum(answers) / max(1, len(answers))
    work: Work = {"requests": config.samples, "requests at most": config.samples * config.max_attempts}
    return work | cost_of(config.teacher, asked / CHARACTERS_A_TOKEN, answered / CHARACTERS_A_TOKEN)


def cost_of(endpoint: Endpoint, asked: float, answered: float) -> Work:
    """Tokens and money at an endpoint; nothing where rules answer."""
    if not isinstance(endpoint, OpenAIEndpoint):
        return {}
    part = endpoint.batch.discount if endpoint.batch else 1.0
    usd = part * (asked * endpoint.usd_per_million_input + answered * endpoint.usd_per_million_output) / 1e6
    return {"tokens asked": round(asked), "tokens answered": round(answered), "usd": round(usd, 2)}


def training_of(stage: str, experiment: Experiment, samples: int | None, shards: Path | None) -> Work:
    """Steps, samples, and tokens where the shards are there."""
    config = experiment.train.stages.align if stage == "align" else experiment.train.stages.instruct
    steps = config.steps
    if steps is None and samples is not None:
        steps = max(1, math.ceil(config.epochs * samples / config.batch))
    seen = None if steps is None else steps * config.batch
    tokens = None if seen is None or shards is None else round(seen * tokens_a_sample(stage, experiment, shards), -3)
    return _known(steps=steps, samples=seen, tokens=None if tokens is None else int(tokens))


def tokens_a_sample(stage: str, experiment: Experiment, shards: Path) -> float:
    """Text and image tokens of a sample, from the first lines of the stage's index."""
    vision = experiment.base.vision
    patches = (vision.image_size // vision.patch_size) ** 2 if isinstance(vision, MicroVision) else IMAGE_TOKENS
    with (shards / "index" / f"{stage}.jsonl").open(encoding="utf-8") as handle:
        rows = [json.loads(line) for line in islice(handle, INDEX_LINES)]
    if not rows:
        return 0.0
    text = sum(row["json"][1] for row in rows) / CHARACTERS_A_TOKEN
    return float(text + patches * sum(row["image"] is not None for row in rows)) / len(rows)


def evaluation_of(experiment: Experiment, there: Mapping[str, Artifact]) -> Work:
    """Questions to the model, requests to the judge."""
    evaluate, source = experiment.evaluate, experiment.data.source
    times = 2 if evaluate.blind else 1
    work: Work = {}
    if evaluate.scienceqa and evaluate.scienceqa.root is None and isinstance(source, ShapesSource):
        work["questions"] = source.scienceqa_test
    bench = evaluate.llava_bench
    if bench and bench.root is None and isinstance(source, ShapesSource):
        judged = 3 * source.bench_images * times
        work |= {"judgements": judged, **cost_of(bench.judge, *(judged * tokens for tokens in JUDGE_TOKENS))}
    return work


def _known(**work: int | None) -> Work:
    return {name: number for name, number in work.items() if number is not None}
