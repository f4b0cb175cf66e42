"""A report as a run on `shapes` would fill it: its own test sets, answered and judged by rule."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Mapping
from pathlib import Path

from configs.schema import (
    EnsembleConfig,
    EvaluateConfig,
    GateConfig,
    LlavaBenchConfig,
    PopeConfig,
    ScienceQAConfig,
    ScriptedEndpoint,
)
from tasks.chat.records import Message
from tasks.evaluate.answers import Prompt
from tasks.evaluate.run import build_evaluation
from tasks.progress import Silent
from tasks.register.evidence import read_evidence
from tasks.register.gate import decide
from tasks.report.collect import (
    question_of,
    read_answers,
    read_benchmarks,
    read_conversations,
    read_curve,
    read_reviews,
)
from tasks.report.evaluation import read_details
from tasks.report.inputs import Compared, Decision, Reason, ReportInput, Stage
from tasks.scripted import solver
from tasks.world.captions import captions
from tasks.world.facts import facts_of
from tasks.world.pope import write_pope
from tasks.world.render import jpeg
from tasks.world.scene import make_scene, seeded
from tasks.world.talk import conversation, detail, reasoning
from tasks.world.testsets import boxes_of, write_llava_bench, write_scienceqa
from tests.fakes.evaluations import digest_of_name
from tests.fakes.image_sets import Made, write_image_set
from tests.fakes.models import Judge, Model

SCRIPTED = ScriptedEndpoint(kind="scripted")
CONFIG = EvaluateConfig(
    scienceqa=ScienceQAConfig(ensemble=EnsembleConfig(llm=SCRIPTED)),
    llava_bench=LlavaBenchConfig(judge=SCRIPTED),
    pope=PopeConfig(),
    bootstrap=200,
)
REASONS = (
    "Assistant 1 names every object with its colour and place. Assistant 2 is right about the largest one, but leaves "
    "out the small triangle and puts the star on the wrong side."
)


def answering(skill: float, root: Path, seed: int) -> Model:
    """Right with probability `skill` where it sees, by chance where it does not; tells part of a reference."""
    problems = json.loads((root / "scienceqa" / "problems.json").read_text())
    by_text = {problem["question"]: "ABCDE"[problem["answer"]] for problem in problems.values()}
    rng = random.Random(seed)

    def say(prompt: Prompt) -> str:
        question, options = question_of(prompt.text)
        if "Is there" in question and not options:
            return rng.choice(("Yes", "No"))
        if not options:
            return "There is a large circle on the left." if prompt.image else "It is a picture."
        if prompt.image:
            truth = "ABCDE"[problems[prompt.image.parent.name]["answer"]]
        else:
            truth = by_text.get(question.split("\n")[0], "A")
        letter = truth if rng.random() < (skill if prompt.image else 0.3) else rng.choice(options)[0]
        return f"The answer is {letter}." if rng.random() > 0.01 else "I am not sure about that."

    return Model(say)


def judging(skill: float, seed: int) -> Judge:
    """Scores by skill and says why; now and then says nothing that can be read."""
    rng = random.Random(seed)

    def say(request: str, attempt: int) -> str:
        if rng.random() < 0.02:
            return "Both are fine."
        return f"{rng.choice((8, 9))} {round(2 + 6 * skill * rng.random())}\n{REASONS}"

    return Judge(say)


def evaluated(folder: Path, sets: Path, skill: float, seed: int) -> Path:
    """An evaluation by the stage's own code."""
    folder.mkdir(parents=True)
    roots = {name: sets / name for name in ("scienceqa", "llava_bench", "pope")}
    llm = Judge(lambda text, attempt: solver.answer([Message("user", text)]))
    model, judge = answering(skill, sets, seed), judging(skill, seed)
    build_evaluation(folder, roots, CONFIG, model, judge, seed, Silent(), llm=llm)
    return folder


def write_conversations(folder: Path, images: Path, count: int) -> None:
    """What a scripted teacher would have said of a few scenes, and what was rejected."""
    images.mkdir(parents=True)
    folder.mkdir(parents=True)
    made, samples = [], []
    for index in range(count):
        scene = make_scene(7, "train", index, "training")
        boxes, rng = boxes_of(scene), seeded("talk", index)
        facts = facts_of(captions(scene), boxes)
        made.append(Made(scene.id, jpeg(scene), tuple(captions(scene)), tuple(boxes)))
        kind = ("conversation", "detail", "complex")[index % 3]
        if kind == "conversation":
            exchanges = conversation(facts, rng, 3)
        else:
            exchanges = [detail(facts, rng) if kind == "detail" else reasoning(facts, rng)]
        turns = [
            {"from": who, "value": text}
            for question, answer in exchanges
            for who, text in (("human", question), ("gpt", answer))
        ]
        turns[0]["value"] = "<image>\n" + turns[0]["value"]
        samples.append({"id": f"{kind}-{scene.id}", "image": scene.id, "kind": kind, "conversations": turns})
    reasons = ["unbalanced: no answer follows the last question"] * 7 + ["refusal: it says it cannot"] * 2
    rejected = [
        {"id": str(at), "kind": "detail", "reason": reason, "reply": "", "attempts": 3}
        for at, reason in enumerate(reasons)
    ]
    write_image_set(images, made)
    _write_lines(folder / "conversations.jsonl", samples)
    _write_lines(folder / "rejected.jsonl", rejected)


def write_metrics(path: Path, steps: int, start: float, end: float) -> None:
    """A loss that falls and trembles."""
    rng = random.Random(steps)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"step": step, "loss": end + (start - end) * math.exp(-5 * step / steps) + 0.06 * rng.gauss(0, 1), "lr": 1e-3}
        for step in range(1, steps + 1)
    ]
    _write_lines(path, rows)


def stages() -> tuple[Stage, ...]:
    """The stages of a run in which the data was cached."""
    told = {
        "ingest": ("unchanged", 0.2, 6.1, "4,000 images, 0 quarantined", ()),
        "generate": ("unchanged", 0.1, 9.4, "1,580 conversations, 9 rejected", ("ingest",)),
        "shard": ("unchanged", 0.1, 3.2, "11,580 samples in 7 shards", ("ingest", "generate")),
        "base": ("unchanged", 0.2, 104.0, "0.9 M and 2.1 M weights", ()),
        "align": ("changed: config train.stages.align.lr 0.002 -> 0.001", 41.7, 41.7, "200 steps", ("shard", "base")),
        "instruct": ("changed: parent align", 96.3, 96.3, "600 steps", ("shard", "align")),
        "evaluate": ("changed: parent instruct", 22.5, 22.5, "600 questions, 90 judged", ("ingest", "instruct")),
        "register": ("", 3.1, 3.1, "version 3", ("instruct", "evaluate")),
    }
    return tuple(
        Stage(
            name=name, cached=reason == "unchanged", reason=reason, seconds=seconds, made_seconds=made, detail=detail,
            usd=0.0 if name in {"generate", "evaluate"} else None,
            digest=digest_of_name(name), parents={parent: digest_of_name(parent) for parent in parents},
            code=digest_of_name(f"code {name}"), commit=digest_of_name("commit")[:40], dirty=name == "register",
            created="2026-11-22T13:05:09+00:00",
        )
        for name, (reason, seconds, made, detail, parents) in told.items()
    )


def report_input(folder: Path, *, questions: int = 240, images: int = 12, steps: int = 600) -> ReportInput:
    """Everything a report can show, its files written under `folder`."""
    sets = folder / "sets"
    write_scienceqa(sets / "scienceqa", 7, 0, questions)
    write_llava_bench(sets / "llava_bench", 7, images)
    write_pope(sets / "pope", 7, images)
    mine = evaluated(folder / "challenger", sets, 0.9, 1)
    theirs = evaluated(folder / "champion", sets, 0.8, 2)
    gate = GateConfig(floors={"scienceqa/avg": 50.0, "scienceqa/img": 60.0}, margin=3.0, category_margin=10.0)
    verdict = decide(read_evidence(mine, "mine", "e1"), read_evidence(theirs, "theirs", "e2"), gate, 0, resamples=400)
    write_conversations(folder / "conversations", folder / "images", 24)
    write_metrics(folder / "align.jsonl", steps // 3, 5.1, 1.9)
    write_metrics(folder / "instruct.jsonl", steps, 3.2, 0.35)
    return ReportInput(
        experiment="shapes",
        description="Coloured shapes that the project renders itself; from pictures to a promoted model in minutes.",
        run="shapes-20261122-130412",
        started="2026-11-22T13:04:12+00:00",
        seconds=164.2,
        seed=1,
        usd=0.0,
        decision=Decision(
            verdict=verdict.verdict,
            version="3",
            champion_before="1",
            champion_after="3" if verdict.verdict == "promote" else "1",
            reasons=tuple(Reason(ok=reason.ok, text=reason.text) for reason in verdict.reasons),
            compared=tuple(Compared(**row.model_dump(exclude={"whole"})) for row in verdict.compared),
        ),
        benchmarks=read_benchmarks(mine),
        curves=(
            read_curve("align", folder / "align.jsonl", {"Samples a step": "64", "Trained": "projector, 62 k weights"}),
            read_curve("instruct", folder / "instruct.jsonl", {"Samples a step": "32", "Tokens a second": "9 400"}),
        ),
        conversations=read_conversations(folder / "conversations", folder / "images"),
        answers=read_answers(mine),
        reviews=read_reviews(mine),
        details=read_details(mine),
        stages=stages(),
        environment={
            "Machine": "2 cores, 8 GB, no GPU", "Workers": "2, DeepSpeed ZeRO-2, bf16", "Python": "3.11.7",
            "torch": "2.13.0", "transformers": "5.23.0", "Commit": digest_of_name("commit")[:12],
        },
        look={
            "Registry": "mlflow ui --backend-store-uri sqlite:///runs/mlflow.db",
            "Flow runs": "prefect server start",
            "Versions": "llavaflow models",
        },
    )


def _write_lines(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
