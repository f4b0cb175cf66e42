"""The model card: what a version is, what it learned from, how it scored, what it is not good for. Markdown, pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pydantic import JsonValue

from tasks.artifacts import Frozen
from tasks.register.evidence import Benchmark, Evidence, Row
from tasks.register.provenance import Provenance, sources_of
from tasks.register.shown import Shown
from tasks.register.version import Candidate
from tasks.tracker import dotted

SOURCES = {
    "shapes": "scenes of coloured shapes that the project renders; it knows nothing of photographs",
    "coco": "COCO photographs with captions and boxes; their licences are those of the Flickr images",
    "llava_json": "images and conversations in the format of LLaVA's own data, supplied by the user",
    "scienceqa": "the questions of ScienceQA (CC BY-NC-SA 4.0) with their images",
    "llava_bench": "the images of a bench in LLaVA-Bench's layout",
    "jsonl": "images and annotations supplied by the user; their licences are the user's to state",
}
LOADING = """```python
from transformers import AutoProcessor, LlavaForConditionalGeneration

model = LlavaForConditionalGeneration.from_pretrained(folder)
processor = AutoProcessor.from_pretrained(folder)
```"""


class Subject(Frozen):
    """What the card is about, beside the candidate and its evaluation."""

    model: str
    """Name in the registry."""
    description: str
    """The experiment in a sentence."""
    config: dict[str, JsonValue]
    """The resolved experiment."""
    shown: tuple[Shown, ...] = ()
    """Answered examples."""


def model_card(subject: Subject, candidate: Candidate, evidence: Evidence) -> str:
    """The card's text."""
    parts = [
        f"# {subject.model}: {candidate.experiment}",
        subject.description,
        _use(),
        "## Data and licences\n\n" + "\n\n".join(_licences(subject.config)),
        "## Results\n\n" + "\n\n".join(_results(evidence)),
        "## Examples\n\n" + _examples(subject.shown),
        "## Limits\n\n" + _bullets(_limits(subject, evidence)),
        "## Training\n\n" + _recipe(subject.config),
        "## Inputs\n\n" + _table(("input", "sha256"), sorted(candidate.data.items())),
        "## Provenance\n\n" + _table(("what", "value"), _provenance(candidate)),
        "## Configuration\n\n" + _configuration(subject.config),
    ]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _use() -> str:
    return (
        "## Intended use\n\nAnswers questions about one image in text, in English. To be tried on one's own images "
        "before it is relied on; not for decisions about people, health, law or safety.\n\nA "
        "`LlavaForConditionalGeneration` folder (safetensors, processor, chat template) lies under `artifacts/model`, "
        f"or where `artifacts/weights.json` says:\n\n{LOADING}"
    )


def _licences(config: Mapping[str, JsonValue]) -> Iterator[str]:
    """What it learned from, and what that allows."""
    sources = sources_of(config)
    for told in sources:
        yield f"Learned from {SOURCES.get(str(told.get('kind', '')), 'the data named below')}."
        licence = told.get("licence")
        own = "made by this project" if told.get("kind") == "shapes" else "not stated: ask who supplied the data"
        yield f"Licence of the data: {licence or own}."
    if any(told.get("non_commercial") is True for told in sources):
        yield "**Not for commercial use**: the data forbid it, and so it holds for this model."
    teacher = _teacher(config)
    if teacher:
        yield f"Conversations were written by the teacher `{teacher}`; its terms of use hold for what it wrote."


def _teacher(config: Mapping[str, JsonValue]) -> str:
    generate = config.get("generate")
    teacher = generate.get("teacher") if isinstance(generate, dict) else None
    return str(teacher.get("model", "")) if isinstance(teacher, dict) else ""


def _examples(shown: Sequence[Shown]) -> str:
    """Some right, some wrong."""
    if not shown:
        return "None to show."
    rows = (("right" if one.right else "wrong", one.prompt, one.correct, one.answer) for one in shown)
    return _table(("", "question", "expected", "answer"), rows)


def _results(evidence: Evidence) -> Iterator[str]:
    """A table a benchmark; what it was measured with stands under it."""
    for name, benchmark in evidence.benchmarks.items():
        order = sorted(benchmark.rows, key=lambda row: row != benchmark.headline)
        rows = ((row, *_cells(benchmark.rows[row])) for row in order)
        yield f"### {name}\n\n" + _table(("", "score", "interval", "n", "random", "blind"), rows)
        rates = ", ".join(f"{rate} {value:.1f} %" for rate, value in benchmark.rates.items())
        settings = ", ".join(f"{key} {value}" for key, value in dotted(benchmark.settings))
        yield "Percent. " + "; ".join(text for text in (rates, settings) if text) + "."


def _cells(row: Row) -> tuple[str, ...]:
    interval = "-" if row.low is None or row.high is None else f"{row.low:.1f} to {row.high:.1f}"
    return (_figure(row.value), interval, str(row.n), _figure(row.random), _figure(row.blind))


def _limits(subject: Subject, evidence: Evidence) -> Iterator[str]:
    yield "Measured on the benchmarks above and nowhere else; English only; one image a conversation."
    if _source(subject.config) == "shapes":
        yield "The world is a toy: nothing it says about photographs means anything."
    for name, benchmark in evidence.benchmarks.items():
        yield from _weak_rows(name, benchmark)
        for rate, value in benchmark.rates.items():
            if value > 0:
                yield f"{name}: {value:.1f} % of the answers or judgements count as {rate}."


def _weak_rows(name: str, benchmark: Benchmark) -> Iterator[str]:
    """Rows in which seeing the image is not shown to help, or which were withheld."""
    for row, score in benchmark.rows.items():
        if score.value is None:
            yield f"{name}/{row} is withheld: too many judgements failed."
        elif score.blind is not None and score.low is not None and score.low <= score.blind:
            yield f"{name}/{row}: not clearly better than the same model with the image withheld."


def _recipe(config: Mapping[str, JsonValue]) -> str:
    train = config.get("train")
    stages = train.get("stages") if isinstance(train, dict) else None
    if not isinstance(stages, dict):
        return "See the configuration."
    names = ("batch", "steps", "epochs", "lr", "warmup_share", "weight_decay")
    knobs = {stage: part for stage, part in stages.items() if isinstance(part, dict)}
    rows = ((stage, *(_plain(part.get(name)) for name in names)) for stage, part in knobs.items())
    return _table(("stage", *names), rows)


def _provenance(candidate: Candidate) -> Iterator[tuple[str, str]]:
    yield "run", candidate.run
    yield "MLflow run", candidate.run_id
    yield "checkpoint", candidate.checkpoint
    yield "evaluation", candidate.evaluation
    if candidate.git_commit:
        yield "commit", candidate.git_commit + (" (with uncommitted changes)" if candidate.git_dirty else "")
    if candidate.config:
        yield "configuration", candidate.config
    if candidate.provenance is not None:
        yield from _made(candidate.provenance)


def _made(provenance: Provenance) -> Iterator[tuple[str, str]]:
    yield "libraries (lock file)", provenance.lock or "no lock file"
    for what, value in provenance.hardware.items():
        yield what.lower(), value
    yield "seeds", ", ".join(f"{name} {seed}" for name, seed in provenance.seeds.items())
    yield "time", f"{provenance.seconds:.0f} s, of which training took {provenance.device_hours:.3g} device-hours"
    yield "teacher and judge", "nobody was paid" if not provenance.teacher_usd else f"{provenance.teacher_usd:.2f} USD"
    for name, made in provenance.stages.items():
        yield f"{name}: artifact, code", f"{made.digest[:16]}, {made.code[:16]}"


def _configuration(config: Mapping[str, JsonValue]) -> str:
    lines = "\n".join(f"{name} = {value}" for name, value in dotted(config))
    return f"```\n{lines}\n```"


def _source(config: Mapping[str, JsonValue]) -> str:
    data = config.get("data")
    source = data.get("source") if isinstance(data, dict) else None
    return str(source.get("kind", "")) if isinstance(source, dict) else ""


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _plain(value: JsonValue) -> str:
    return "-" if value is None else str(value)
