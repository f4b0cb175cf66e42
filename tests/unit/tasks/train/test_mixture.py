from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.load import load_experiment
from configs.schema import MixtureSource, ShardConfig, StageConfig
from configs.settings import Settings
from flows.mixtures import mixture_of, others_of, reached
from model.order import MixtureOrder, shares
from model.templates import template_named
from model.tokenize import ConversationTokenizer, Encoded
from tasks.artifacts import MANIFEST, MadeBy, ShardSet
from tasks.errors import ArtifactError, DataError, TooMuchBadInput
from tasks.progress import Silent
from tasks.shard.run import build_shards
from tasks.storage import make_manifest
from tasks.train.mixture import Sources, counts_of, folders_of, order_of, told_of
from tasks.train.steps import RowReader, StepPlan
from tasks.train.survey import Findings, Survey, check_sources
from tests.fakes.tiny_base import byte_level_tokenizer
from tests.unit.tasks.shard.sets import conversation, conversation_set, image_set

Mixture = tuple[MixtureSource, ...]


@st.composite
def orders(draw: st.DrawFn) -> MixtureOrder:
    sizes = draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    counts = [draw(st.integers(1, 3 * size)) for size in sizes]
    return MixtureOrder(draw(st.integers(0, 2**31)), sizes, counts, draw(st.integers(1, 9)))


def positions(order: MixtureOrder, number: int) -> list[int]:
    """The first positions, in order."""
    found: list[int] = []
    for step in range(-(-number // order.batch)):
        found += order.step(step)
    return found[:number]


def source_of(order: MixtureOrder, position: int) -> int:
    return int(np.searchsorted(np.cumsum(order.sizes), position, side="right"))


@given(order=orders(), epochs=st.integers(1, 4))
def test_every_epoch_takes_exactly_what_was_asked_of_each_source(order: MixtureOrder, epochs: int) -> None:
    found = positions(order, epochs * order.samples)
    for epoch in range(epochs):
        taken = Counter(source_of(order, at) for at in found[epoch * order.samples : (epoch + 1) * order.samples])
        assert [taken[source] for source in range(len(order.sizes))] == order.counts


@given(order=orders(), number=st.integers(1, 120))
def test_no_sample_of_a_source_is_taken_twice_more_than_another_of_it(order: MixtureOrder, number: int) -> None:
    whole = -(-number // order.samples) * order.samples
    taken, start = Counter(positions(order, whole)), 0
    for size in order.sizes:
        times = [taken[at] for at in range(start, start + size)]
        assert max(times) - min(times) <= 1
        start += size


@given(order=orders(), asked=st.lists(st.integers(0, 60), max_size=8))
def test_a_step_is_the_same_whatever_was_asked_before(order: MixtureOrder, asked: list[int]) -> None:
    for step in asked:
        fresh = MixtureOrder(order.seed, order.sizes, order.counts, order.batch)
        assert order.step(step) == fresh.step(step)


@given(order=orders(), steps=st.integers(0, 30))
def test_what_is_told_to_be_taken_is_what_is_taken(order: MixtureOrder, steps: int) -> None:
    taken = Counter(source_of(order, at) for at in positions(order, steps * order.batch))
    assert order.taken(steps) == [taken[source] for source in range(len(order.sizes))]


def test_seeds_and_epochs_differ_in_their_order() -> None:
    one, other = MixtureOrder(1, [30, 20], [15, 20], 35), MixtureOrder(2, [30, 20], [15, 20], 35)
    assert one.step(0) != other.step(0)
    assert one.step(0) != one.step(1)


@given(weights=st.lists(st.floats(0.01, 100), min_size=1, max_size=6), total=st.integers(0, 10_000))
def test_shares_are_whole_exact_in_sum_and_off_by_less_than_one(weights: list[float], total: int) -> None:
    found = shares(weights, total)
    assert sum(found) == total
    assert all(abs(one - weight * total / sum(weights)) < 1 + 1e-6 for one, weight in zip(found, weights, strict=True))


def source(name: str, **measure: float) -> MixtureSource:
    return MixtureSource.model_validate({"name": name, **measure})


@pytest.mark.parametrize(
    ("mixture", "counts"),
    [
        ((source("own", weight=1), source("other", weight=3)), [35, 105]),
        ((source("own", epochs=0.5), source("other", epochs=2)), [50, 80]),
        ((source("own", epochs=1), source("other", samples=7)), [100, 7]),
    ],
)
def test_weights_epochs_and_samples_say_how_many_an_epoch_takes(mixture: Mixture, counts: list[int]) -> None:
    assert counts_of(mixture, [100, 40]) == counts
    order = order_of(0, mixture, [100, 40], 8)
    assert order.samples == sum(counts)
    told = told_of(mixture, [100, 40], order, 3)
    assert {name: numbers["an_epoch"] for name, numbers in told.items()} == dict(
        zip(("own", "other"), counts, strict=True)
    )
    assert sum(numbers["taken"] for numbers in told.values()) == 24


def test_a_source_that_would_give_nothing_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="source other of the mixture has no usable sample"):
        counts_of((source("own", weight=1), source("other", weight=1)), [10, 0])
    with pytest.raises(DataError, match="no sample of source other; raise its weight"):
        counts_of((source("own", weight=1), source("other", weight=0.001)), [10, 10])


def test_measures_are_not_mixed_up() -> None:
    stage = "train.stages.instruct.mixture"
    for wrong, told in (
        ("[{name: a, weight: 1}, {name: b, epochs: 1}]", "weights to all"),
        ("[{name: a, weight: 1, epochs: 1}]", "exactly one"),
        ("[{name: a}]", "exactly one"),
        ("[{name: a, weight: 1}, {name: a, weight: 2}]", "same name"),
    ):
        with pytest.raises(Exception, match=told):
            load_experiment("shapes", [f"{stage}={wrong}"])


def test_a_source_that_does_not_fit_is_refused_however_small_it_is() -> None:
    train = load_experiment("shapes").train
    survey = Survey(*[np.arange(1000)] * 3)
    found = Findings(survey, [{"key": "odd/1", "reason": "first round longer than max_length 8"}], [])
    with pytest.raises(TooMuchBadInput, match=r"source odd of the mixture does not fit .*1 of 3 samples .*max_length"):
        check_sources(found, train, ["own", "odd"], [998, 2])
    check_sources(found, train, ["own", "odd"], [800, 200])


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two shard sets with 3 and 5 conversations."""
    made = {}
    for name, number in (("own", 3), ("other", 5)):
        folder = tmp_path_factory.mktemp(name)
        ids = [f"{name}-{at}" for at in range(number)]
        talks = conversation_set(folder / "talks", [conversation(f"{one}-talk", one) for one in ids])
        made[name] = folder / "shards"
        made[name].mkdir()
        build_shards(made[name], image_set(folder / "images", ids), talks, ShardConfig(held_out=0.0), 0, Silent())
    return made


class TwoImages(ConversationTokenizer):
    """Takes every sample for one of two images."""

    def images_in(self, encoded: Encoded) -> int:
        return 2


def test_a_sample_whose_shard_holds_fewer_images_than_it_speaks_of_is_named(sets: dict[str, Path]) -> None:
    tokenizer = TwoImages(byte_level_tokenizer(), template_named("bare"), 3, 7)
    with Sources({"": sets["own"]}, "instruct") as reader:
        survey = Survey(*[np.zeros(1, np.int64)] * 3)
        rows = RowReader(reader, survey, tokenizer, NoModel(), 512)  # type: ignore[arg-type]
        with pytest.raises(DataError, match=f"sample {reader.keys()[0]} speaks of 2 images and its shard holds 1"):
            rows.rows(StepPlan(0, [[0]], 1, 1, 1))


class NoModel:
    """Stands for a model whose images are never looked at."""

    def transform(self) -> None:
        return None


def test_shards_of_a_mixture_are_found_by_folder_and_digest_and_verified(
    sets: dict[str, Path], tmp_path: Path
) -> None:
    settings = Settings(root=tmp_path / "root")
    home = settings.home() / "cache" / "shard" / "k1"
    shutil.copytree(sets["other"], home)
    made_by = MadeBy(stage="shard", code="c", config="d")
    manifest = make_manifest(home, ShardSet.kind, "k1", {}, {"instruct_samples": 5}, {}, {}, made_by)
    (home / MANIFEST).write_text(manifest.model_dump_json())
    for named in (str(home), manifest.digest, manifest.digest[:12]):
        found = others_of(stage_with(named), settings)["other"]
        assert (found.digest, found.counts["instruct_samples"]) == (manifest.digest, 5)
        assert reached(found, settings) == home
    assert mixture_of(stage_with(str(home)), "instruct", 20, settings) == {"own": (10, 20), "other": (10, 5)}
    for wrong in ("0" * 12, "123", str(tmp_path / "nowhere" / "shard" / "k")):
        with pytest.raises(ArtifactError, match=r"source other of the mixture: .*shard set"):
            others_of(stage_with(wrong), settings)
    with next((home / "instruct").glob("*.tar")).open("r+b") as tar:
        tar.seek(600)
        tar.write(b"x")
    with pytest.raises(ArtifactError, match=r"is not as it was made .*make it again or leave it out"):
        reached(found, settings)


def stage_with(shards: str) -> StageConfig:
    own = {"name": "own", "epochs": 0.5}
    return StageConfig.model_validate(
        {"batch": 1, "lr": 1.0, "mixture": (own, {"name": "other", "shards": shards, "epochs": 2})}
    )


def test_several_sets_are_one_row_of_samples(sets: dict[str, Path]) -> None:
    mixture = (
        MixtureSource(name="first", shards=str(sets["other"]), weight=1), MixtureSource(name="second", weight=1),
    )
    folders = folders_of(mixture, sets["own"], {"first": sets["other"]})
    with Sources(folders, "instruct") as both, Sources({"": sets["own"]}, "instruct") as alone:
        assert (len(both), len(alone)) == (8, 3)
        assert [key.split("/")[0] for key in both.keys()] == ["first"] * 5 + ["second"] * 3  # noqa: SIM118
        assert both.keys()[5:] == [f"second/{key}" for key in alone.keys()]  # noqa: SIM118
        for at in range(3):
            assert both.sample(5 + at) == alone.sample(at)
            assert both.images(5 + at) == alone.images(at)
        assert both.usable(np.array([0, 4, 5])) == [2, 1]
