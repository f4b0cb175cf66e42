from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.load import load_experiment
from configs.settings import Settings
from flows.specs import CODE, Specs
from tasks.artifacts import BaseModels, Checkpoint, ConversationSet, Descriptor, ImageSet, MadeBy, ShardSet
from tasks.stages import StageSpec

PROJECT = Path(__file__).resolve().parents[3]
ENTRIES = {
    "ingest": "tasks/ingest/run.py",
    "generate": "tasks/generate/run.py",
    "shard": "tasks/shard/run.py",
    "base": "tasks/base/run.py",
    "train": "tasks/train/run.py",
    "evaluate": "tasks/evaluate/run.py",
}
BESIDE = {
    "generate": ["tasks/chat/client.py", "tasks/ledger/ledger.py"],
    "evaluate": [
        "tasks/evaluate/kept.py", "tasks/chat/client.py", "tasks/ledger/ledger.py", "model/decode/__init__.py",
    ],
}
"""What the stage's task brings in beside its run.py."""
NEUTRAL = {
    "configs", "model/__init__.py", "model/errors.py", "tasks/__init__.py", "tasks/artifacts.py",
    "tasks/chat/flight.py", "tasks/chat/pace.py", "tasks/chat/quota.py", "tasks/chat/traffic.py", "tasks/code.py",
    "tasks/errors.py", "tasks/ledger/asking.py", "tasks/ledger/keys.py", "tasks/ledger/owner.py",
    "tasks/ledger/records.py", "tasks/ledger/rows.py", "tasks/ledger/tables.py", "tasks/processes.py",
    "tasks/progress.py", "tasks/sinks.py", "tasks/stages.py", "tasks/storage.py",
}  # fmt: skip
"""How results are come by, kept, named and reported on, which is not what they are."""


def imports_of(path: Path) -> Iterator[Path]:
    """Modules of ours that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            at = PROJECT / name.replace(".", "/")
            if name.split(".")[0] in {"configs", "model", "tasks"}:
                yield from (found for found in (at.with_suffix(".py"), at / "__init__.py") if found.is_file())


def closure(starts: list[str]) -> set[str]:
    """Everything of ours that is imported from there, by way of whatever."""
    found, open_ones = set[Path](), [PROJECT / start for start in starts if (PROJECT / start).is_file()]
    while open_ones:
        path = open_ones.pop()
        if path not in found:
            found.add(path)
            open_ones += imports_of(path)
    return {path.relative_to(PROJECT).as_posix() for path in found}


def within(path: str, names: set[str] | tuple[str, ...]) -> bool:
    return any(path == name or path.startswith(f"{name}/") for name in names)


@pytest.mark.parametrize("stage", ENTRIES)
def test_a_stage_s_code_names_every_module_of_ours_that_it_runs(stage: str) -> None:
    ran = closure([ENTRIES[stage], *BESIDE.get(stage, [])])
    missing = {path for path in ran if not within(path, CODE[stage]) and not within(path, NEUTRAL)}
    assert missing == set()


@pytest.mark.parametrize("stage", ENTRIES)
def test_a_stage_s_code_names_nothing_that_it_does_not_run(stage: str) -> None:
    ran = closure([ENTRIES[stage], *BESIDE.get(stage, [])])
    assert [name for name in CODE[stage] if not any(within(path, (name,)) for path in ran)] == []


MADE_BY = MadeBy(stage="x", code="x", config="x")


def made(kind: type[Descriptor], name: str) -> Descriptor:
    return kind(uri=f"/nowhere/{name}", digest=name, key=name, made_by=MADE_BY)


def keys(*overrides: str, experiment: str = "shapes", settings: Settings | None = None) -> dict[str, object]:
    """Every stage's key, its parents being the same each time."""
    specs = Specs(load_experiment(experiment, overrides), settings or Settings())
    images, shards = made(ImageSet, "images"), made(ShardSet, "shards")
    aligned = made(Checkpoint, "aligned")
    found: list[StageSpec[ImageSet] | StageSpec[ConversationSet] | StageSpec[ShardSet] | StageSpec[BaseModels]] = [
        specs.ingest(), specs.generate(images), specs.shard(images, made(ConversationSet, "conversations")),
        specs.base(),
    ]
    trained = [specs.align(made(BaseModels, "base"), shards), specs.instruct(aligned, shards)]
    judged = specs.evaluate(made(Checkpoint, "instructed"), images)
    return {spec.name: spec.key_parts() for spec in (*found, *trained, judged)}


def changed(*overrides: str) -> set[str]:
    """Stages whose own key an override changes."""
    before, after = keys(), keys(*overrides)
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize(
    ("override", "stages"),
    [
        ("train.stages.instruct.lr=1e-5", {"instruct"}),
        ("train.stages.align.lr=1e-5", {"align"}),
        ("train.lora={r: 8}", {"instruct"}),
        ("train.stages.instruct.sample_every=5", {"instruct"}),
        ("train.workers=1", {"align", "instruct"}),
        ("train.template=plain", {"align", "instruct"}),
        ("base.seed=4", {"base"}),
        ("generate.samples=10", {"generate"}),
        ("data.source.train_scenes=10", {"ingest"}),
        ("data.near_duplicates={bits: 2}", {"ingest"}),
        ("data.limits.max_caption=5", {"ingest"}),
        ("shard.captions_per_image=2", {"shard"}),
        ("evaluate.blind=false", {"evaluate"}),
        ("evaluate.llava_bench.judge_runs=3", {"evaluate"}),
        ("evaluate.scienceqa.ensemble.scheme=complement", {"evaluate"}),
        ("evaluate.pope.rule=llava", {"evaluate"}),
        ("seed=5", {"generate", "shard", "align", "instruct", "evaluate"}),
    ],
)
def test_a_knob_changes_the_keys_of_the_stages_that_read_it(override: str, stages: set[str]) -> None:
    assert changed(override) == stages


@pytest.mark.parametrize(
    "override",
    [
        "train.stages.instruct.row_tokens=1024", "train.stages.align.checkpoint_every=7",
        "train.stages.align.log_every=3", "train.max_failures=9", "generate.budget_usd=5", "gate.margin=9",
        "train.max_truncated_share=1", "train.max_quarantined_share=1", "shard.writers=3",
        "registry.model_name=other", "description=other", "data.root=elsewhere",
        "evaluate.scienceqa.ensemble.budget_usd=3", "data.source.licence=MIT",
        "data.source.non_commercial=true", "gate.approval=always", "registry.weights=link",
        "evaluate.workers=3",
    ],
)  # fmt: skip
def test_a_knob_that_changes_no_result_changes_no_key(override: str) -> None:
    assert changed(override) == set()


def test_a_stage_under_way_is_found_again_with_another_number_of_workers_and_with_nothing_else_changed() -> None:
    def work(*overrides: str) -> set[str]:
        specs = Specs(load_experiment("shapes", overrides), Settings())
        aligned, shards = made(Checkpoint, "aligned"), made(ShardSet, "shards")
        trained = (specs.align(made(BaseModels, "base"), shards), specs.instruct(aligned, shards))
        return {spec.work_name for spec in trained}

    assert len(work()) == 2
    assert work("train.workers=5") == work()
    assert not work("train.precision=fp32") & work()
    assert not work("seed=1") & work()


def test_how_an_endpoint_is_treated_is_not_what_it_says() -> None:
    openai = ["generate.teacher={kind: openai, model: m}"]
    specs = keys(*openai)
    handled = {
        "concurrency": 9, "timeout_seconds": 1, "connect_seconds": 1, "read_seconds": 1, "requests_per_minute": 5,
        "tokens_per_minute": 5, "circuit_after": 2, "max_retries": 1, "usd_per_million_input": 1,
    }
    assert keys(*openai, *(f"generate.teacher.{name}={value}" for name, value in handled.items())) == specs
    assert keys(*openai, "generate.teacher.temperature=0.9") != specs


def test_other_data_of_the_same_config_have_another_key(tmp_path: Path) -> None:
    (tmp_path / "set" / "images").mkdir(parents=True)
    (tmp_path / "set" / "annotations.jsonl").write_text("{}\n")
    source = ["data.source={kind: jsonl, root: set}", f"data.root={tmp_path}"]
    before = keys(*source)
    (tmp_path / "set" / "annotations.jsonl").write_text("{}\n{}\n")
    assert {name for name, key in keys(*source).items() if key != before[name]} == {"ingest"}


def test_every_source_is_part_of_the_key_of_ingest_and_what_one_expects_is_not(tmp_path: Path) -> None:
    also = "data.also=[{kind: llava_json, root: set, file: chat.json, stage: align, expected: %d}]"
    root = f"data.root={tmp_path}"
    before = keys(root)
    missing, expecting = keys(also % 5, root), keys(also % 6, root)
    assert {name for name, key in missing.items() if key != before[name]} == {"ingest"} and missing == expecting
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "chat.json").write_text("[]")
    assert {name for name, key in keys(also % 5, root).items() if key != missing[name]} == {"ingest"}


def test_a_benchmark_s_own_set_is_part_of_the_keys_of_evaluate_and_of_ingest(tmp_path: Path) -> None:
    (tmp_path / "scienceqa").mkdir()
    overrides = ["evaluate.scienceqa.root=scienceqa", f"data.root={tmp_path}"]
    before = keys(*overrides)
    (tmp_path / "scienceqa" / "problems.json").write_text("{}")
    assert {name for name, key in keys(*overrides).items() if key != before[name]} == {"evaluate", "ingest"}
