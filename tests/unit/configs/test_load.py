from __future__ import annotations

from pathlib import Path

import pytest

from configs.errors import ConfigError
from configs.load import deepspeed_file, experiment_ids, load_experiment
from configs.schema import OpenAIEndpoint


@pytest.mark.parametrize("experiment", experiment_ids())
def test_every_experiment_loads_under_its_own_id(experiment: str) -> None:
    assert load_experiment(experiment).id == experiment


@pytest.mark.parametrize("experiment", experiment_ids())
def test_every_experiment_names_a_deepspeed_file_that_is_there(experiment: str) -> None:
    assert deepspeed_file(load_experiment(experiment).train.deepspeed).is_file()


def test_an_unknown_experiment_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no experiment 'shape'; did you mean 'shapes'\?; there are: .*shapes"):
        load_experiment("shape")


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        ("train.stages.instruct.learning_rate=1", r"unknown key 'train\.stages\.instruct\.learning_rate'"),
        ("train.stages.instruct.stepz=3", r"did you mean 'train\.stages\.instruct\.steps'"),
        ("base.vision.hiden=64", r"did you mean 'base\.vision\.hidden'"),
        ("generate.teacher.modell=x", r"unknown key 'generate\.teacher\.modell'"),
        ("trane.workers=2", r"did you mean 'train"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest(override: str, wanted: str) -> None:
    with pytest.raises(ConfigError, match=wanted):
        load_experiment("shapes", [override])


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        ("train.workers=two", r"train\.workers: .*got 'two'"),
        ("train.workers=0", r"train\.workers: .*greater than 0"),
        ("train.precision=fp8", r"train\.precision: .*'bf16' or 'fp32'"),
        ("base.vision.kind=none", r"base\.vision: .*micro_clip"),
        ("generate.mix={conversation: 0, detail: 0, complex: 0}", r"generate\.mix: .*at least one kind"),
    ],
)
def test_a_value_of_the_wrong_type_is_told_by_key_and_value_in_one_line(override: str, wanted: str) -> None:
    with pytest.raises(ConfigError, match=wanted) as caught:
        load_experiment("shapes", [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("override", ["train.workers", "=3", "train..workers=3", ""])
def test_an_override_without_key_or_value_says_how_it_is_written(override: str) -> None:
    with pytest.raises(ConfigError, match="--set takes key=value"):
        load_experiment("shapes", [override])


def test_a_value_has_no_keys_below_it() -> None:
    with pytest.raises(ConfigError, match=r"train\.workers is a value, it has no key 'more'"):
        load_experiment("shapes", ["train.workers.more=3"])


@pytest.mark.parametrize(("text", "value"), [("1e-5", 1e-5), ("1.0e-5", 1e-5), ("2E-3", 2e-3), ("0.5", 0.5)])
def test_a_number_is_a_number_however_it_is_written(text: str, value: float) -> None:
    assert load_experiment("shapes", [f"train.stages.instruct.lr={text}"]).train.stages.instruct.lr == value


def test_the_last_override_of_a_key_holds_and_others_stay() -> None:
    plain = load_experiment("shapes")
    changed = load_experiment("shapes", ["train.workers=1", "train.workers=3"])
    assert changed.train.workers == 3
    assert changed.model_copy(update={"train": plain.train}) == plain


def test_an_override_may_change_what_kind_of_thing_a_section_is() -> None:
    teacher = "{kind: openai, base_url: 'http://localhost:1/v1', model: m}"
    changed = load_experiment("shapes", [f"generate.teacher={teacher}"])
    assert isinstance(changed.generate.teacher, OpenAIEndpoint)


def test_an_experiment_may_be_a_file_of_ones_own(tmp_path: Path, project: Path) -> None:
    text = (project / "configs" / "experiments" / "shapes.yaml").read_text(encoding="utf-8")
    own = tmp_path / "own.yaml"
    own.write_text(text.replace("id: shapes", "id: own"), encoding="utf-8")
    assert load_experiment(str(own)).id == "own"


@pytest.mark.parametrize(("text", "wanted"), [("a: [", "is not YAML"), ("- a", "must hold a mapping"), ("", "mapping")])
def test_a_file_that_is_no_experiment_is_refused_in_one_line(tmp_path: Path, text: str, wanted: str) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=wanted) as caught:
        load_experiment(str(own))
    assert "\n" not in str(caught.value)


def test_a_missing_key_is_named(tmp_path: Path, project: Path) -> None:
    text = (project / "configs" / "experiments" / "shapes.yaml").read_text(encoding="utf-8")
    own = tmp_path / "own.yaml"
    own.write_text(text.replace("  vision: {kind: micro_clip}\n", ""), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"missing key 'base\.vision'"):
        load_experiment(str(own))


def test_an_unknown_deepspeed_file_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"no DeepSpeed configuration 'zero9'; there are: .*zero2"):
        deepspeed_file("zero9")


def test_an_override_of_what_a_yaml_alias_names_leaves_its_anchor_alone(tmp_path: Path, project: Path) -> None:
    text = (project / "configs" / "experiments" / "shapes.yaml").read_text(encoding="utf-8")
    endpoint = "&own {kind: openai, model: m, max_tokens: 64}"
    text = text.replace("teacher: {kind: scripted}", f"teacher: {endpoint}")
    text = text.replace("judge: {kind: scripted}", "judge: *own")
    (tmp_path / "own.yaml").write_text(text, encoding="utf-8")
    loaded = load_experiment(str(tmp_path / "own.yaml"), ["evaluate.llava_bench.judge.max_tokens=32"])
    bench = loaded.evaluate.llava_bench
    assert bench is not None
    assert isinstance(bench.judge, OpenAIEndpoint) and isinstance(loaded.generate.teacher, OpenAIEndpoint)
    assert (bench.judge.max_tokens, loaded.generate.teacher.max_tokens) == (32, 64)


def test_samples_need_somebody_to_ask() -> None:
    with pytest.raises(ConfigError, match="need a teacher"):
        load_experiment("shapes", ["generate.teacher=null"])
    assert load_experiment("shapes", ["generate.teacher=null", "generate.samples=0"]).generate.teacher is None
