"""Lineage, down from a version and up from an image, an answer, prompts; what is missing is told, not guessed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from configs.settings import Settings
from flows.lineage.command import Question, lineage, lines
from flows.lineage.records import Downward, Upward
from tasks.artifacts import MANIFEST
from tasks.errors import ConfigError, DataError, RegistryError
from tests.fakes.lineage_store import IDS, Chain, MadeRegistry, key_of_answer, sha256_of


@pytest.fixture
def registry() -> MadeRegistry:
    return MadeRegistry()


@pytest.fixture
def chain(tmp_path: Path, registry: MadeRegistry) -> Chain:
    chain = Chain(tmp_path)
    chain.register(registry, "1")
    registry.pointed["champion"] = "1"
    return chain


def up(tmp_path: Path, registry: MadeRegistry, **asked: str) -> Upward:
    found = lineage(Question(**asked), registry, Settings(root=tmp_path))
    assert isinstance(found, Upward)
    return found


def down(tmp_path: Path, registry: MadeRegistry, model: str, samples: Path | None = None) -> Downward:
    found = lineage(Question(model=model), registry, Settings(root=tmp_path), samples=samples)
    assert isinstance(found, Downward)
    return found


@pytest.mark.parametrize("word", ["1", "champion", "models:/llavaflow/1", "models:/llavaflow@champion", "run-a"])
def test_a_version_is_followed_down_to_images_whatever_it_is_called_by(
    tmp_path: Path, registry: MadeRegistry, chain: Chain, word: str
) -> None:
    found = down(tmp_path, registry, word)
    assert [(part.stage, part.state) for part in found.parts] == [
        (stage, "here") for stage in ("evaluate", "instruct", "align", "base", "shard", "generate", "ingest")
    ]
    assert {part.stage: part.digest for part in found.parts} == {name: one.digest for name, one in chain.made.items()}
    assert found.learned["conversations"] == found.learned["answers"] == found.learned["images"] == len(IDS)
    assert (found.prompts, found.unknown) == ("prompts-a", ())
    trained = found.learned["align samples"] + found.learned["instruct samples"]
    assert sum(one.samples for one in found.shards) == trained


def test_every_training_sample_is_listed_with_its_image_and_answers(
    tmp_path: Path, registry: MadeRegistry, chain: Chain
) -> None:
    down(tmp_path, registry, "1", samples=tmp_path / "samples.jsonl")
    listed = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    talks = {one["key"]: one for one in listed if one["stage"] == "instruct"}
    assert set(talks) == {f"{name}-talk" for name in IDS}
    assert all(talks[f"{name}-talk"]["image"] == sha256_of(name) for name in IDS)
    assert all(one["answers"] == [key_of_answer(key)] for key, one in talks.items())


@pytest.mark.parametrize("by_id", [True, False])
def test_an_image_is_followed_up_to_the_version(
    tmp_path: Path, registry: MadeRegistry, chain: Chain, by_id: bool
) -> None:
    other = Chain(tmp_path, "b", ["other-1", "other-2"])
    other.register(registry, "2")
    found = up(tmp_path, registry, image=IDS[3] if by_id else sha256_of(IDS[3]))
    assert [talk.samples for talk in found.conversations] == [(f"{IDS[3]}-talk",)]
    uses = {use.stage: use for use in found.uses}
    assert set(uses) == {"align", "instruct"}
    assert uses["instruct"].samples == (f"{IDS[3]}-talk",) and uses["instruct"].digest == chain.made["shard"].digest
    assert all(key.startswith(f"{IDS[3]}-caption") for key in uses["align"].samples)
    assert {one.digest for one in found.checkpoints} == {chain.made[name].digest for name in ("align", "instruct")}
    assert [(one.name, one.aliases) for one in found.versions] == [("1", ("champion",))]


def test_an_answer_is_followed_up_to_its_one_sample(tmp_path: Path, registry: MadeRegistry, chain: Chain) -> None:
    found = up(tmp_path, registry, answer=key_of_answer(f"{IDS[5]}-talk"))
    assert [use.samples for use in found.uses] == [(f"{IDS[5]}-talk",)]
    assert [one.name for one in found.checkpoints] == ["instruct"]
    assert [one.name for one in found.versions] == ["1"]


def test_prompts_are_followed_up_to_all_their_samples_and_no_others(
    tmp_path: Path, registry: MadeRegistry, chain: Chain
) -> None:
    Chain(tmp_path, "b", ["other-1", "other-2"]).register(registry, "2")
    found = up(tmp_path, registry, prompts="prompts-a")
    assert [sorted(use.samples) for use in found.uses] == [[f"{name}-talk" for name in IDS]]
    assert [one.name for one in found.versions] == ["1"]


def test_what_nobody_learned_from_is_not_said_to_be_learned(
    tmp_path: Path, registry: MadeRegistry, chain: Chain
) -> None:
    found = up(tmp_path, registry, image="f" * 64)
    assert not (found.uses or found.checkpoints or found.versions or found.unknown)
    assert "no version" in "\n".join(lines(found))


def test_a_held_out_image_is_found_and_no_model_is_said_to_have_learned_from_it(
    tmp_path: Path, registry: MadeRegistry
) -> None:
    Chain(tmp_path, held_out=0.4).register(registry, "1")
    found = {name: up(tmp_path, registry, image=name) for name in IDS}
    held = [one for one in found.values() if {use.stage for use in one.uses} == {"held_out_align", "held_out_instruct"}]
    assert 0 < len(held) < len(IDS)
    assert not any(one.checkpoints or one.versions for one in held)
    assert all(one.versions for one in found.values() if one not in held)


def test_an_unknown_image_id_is_an_error(tmp_path: Path, registry: MadeRegistry, chain: Chain) -> None:
    with pytest.raises(DataError, match="no image set here has an image 'nobody'"):
        up(tmp_path, registry, image="nobody")


def test_a_version_registered_by_other_means_is_told_down_and_up(
    tmp_path: Path, registry: MadeRegistry, chain: Chain
) -> None:
    registry.kept.insert(0, ("2", "somebody's run", {}))
    found = down(tmp_path, registry, "2")
    assert found.parts == () and "registered by other means" in found.unknown[0]
    assert up(tmp_path, registry, image=IDS[0]).unknown == ("version 2: nothing says what it learned from",)


def test_an_artifact_whose_manifest_is_gone_is_told_and_the_tags_still_name_the_version(
    tmp_path: Path, registry: MadeRegistry, chain: Chain
) -> None:
    (chain.folder("instruct") / MANIFEST).unlink()
    found = down(tmp_path, registry, "1")
    assert {part.stage for part in found.parts if part.state == "gone"} == {"instruct"}
    assert any(line.startswith("instruct") and line.endswith("is gone") for line in found.unknown)
    assert [one.why.split()[1] for one in up(tmp_path, registry, image=IDS[0]).versions] == ["tags"]
    shutil.rmtree(chain.folder("shard"))
    found_up = up(tmp_path, registry, image=IDS[0])
    assert found_up.versions == () and "shard set" in found_up.unknown[0] and "is gone" in found_up.unknown[0]


def test_the_page_names_everything_and_needs_nothing_else(tmp_path: Path, registry: MadeRegistry, chain: Chain) -> None:
    lineage(Question(prompts="prompts-a"), registry, Settings(root=tmp_path), html=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert all(f"{name}-talk" in page for name in IDS) and "http" not in page


def test_one_thing_is_asked_at_a_time_and_a_version_that_is_not_there_is_an_error(
    tmp_path: Path, registry: MadeRegistry, chain: Chain
) -> None:
    with pytest.raises(ConfigError):
        up(tmp_path, registry, image="a", answer="b")
    with pytest.raises(RegistryError, match="llavaflow models"):
        down(tmp_path, registry, "9")
