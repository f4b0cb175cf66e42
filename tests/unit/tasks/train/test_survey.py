from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from configs.schema import StageConfig, Stages, TrainConfig
from model.records import IMAGE_TOKEN, Sample, Turn
from model.templates import template_named
from model.tokenize import IGNORE, ConversationTokenizer
from tasks.errors import DataError, TooMuchBadInput
from tasks.progress import Silent
from tasks.shards import ShardReader
from tasks.train.survey import Survey, check, look_at
from tests.fakes.tiny_base import byte_level_tokenizer

MAX_LENGTH = 60


class Samples(ShardReader):
    """A reader of samples that lie in memory."""

    def __init__(self, samples: list[Sample]) -> None:
        self.samples = samples

    def keys(self) -> list[str]:
        return [sample.id for sample in self.samples]

    def sample(self, number: int) -> Sample:
        return self.samples[number]


def sample(name: str, *answers: str) -> Sample:
    turns = [turn for text in answers for turn in (Turn(role="human", text="Why?"), Turn(role="gpt", text=text))]
    return Sample(id=name, kind="conversation", conversations=tuple(turns))


@pytest.fixture(scope="module")
def tokenizer() -> ConversationTokenizer:
    words = byte_level_tokenizer()
    words.add_special_tokens({"additional_special_tokens": [IMAGE_TOKEN]})
    return ConversationTokenizer(words, template_named("bare"), 1, len(words) - 1)


SAMPLES = [
    sample("good", "The ball."), sample("long", "ball " * 60), sample("cut", "A ball.", "ball " * 60),
    sample("also good", "The cube is red."),
]


def test_usable_samples_are_counted_and_the_others_named_with_their_reason(tokenizer: ConversationTokenizer) -> None:
    found = look_at(Samples(SAMPLES), tokenizer, MAX_LENGTH, Silent())
    assert found.survey.numbers.tolist() == [0, 2, 3]
    encoded = [tokenizer.encode(SAMPLES[number], MAX_LENGTH) for number in (0, 2, 3)]
    assert found.survey.lengths.tolist() == [len(one.ids) for one in encoded]
    assert found.survey.supervised.tolist() == [sum(label != IGNORE for label in one.labels) for one in encoded]
    assert found.quarantined == [{"key": "long", "reason": f"first round longer than max_length {MAX_LENGTH}"}]
    assert found.truncated == [{"key": "cut", "reason": "2 trailing turns dropped"}]


def train_config(**limits: float) -> TrainConfig:
    stage = StageConfig(batch=2, lr=1.0)
    return TrainConfig(stages=Stages(align=stage, instruct=stage), **limits)


LENIENT = train_config(max_quarantined_share=0.25, max_truncated_share=0.25)


def test_fewer_samples_than_a_step_takes_are_refused_with_the_reason(tokenizer: ConversationTokenizer) -> None:
    found = look_at(Samples(SAMPLES), tokenizer, MAX_LENGTH, Silent())
    check(found, LENIENT, 3, Path("list"))
    with pytest.raises(DataError, match=r"3 usable samples are fewer than the 4 .*\(1 were quarantined: first round"):
        check(found, LENIENT, 4, Path("list"))


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        ("max_quarantined_share", r"1 of 4 samples are quarantined, more than 24\.0% \(the first: long, first round"),
        ("max_truncated_share", r"1 of 4 samples are truncated, more than 24\.0% \(the first: cut, 2 trailing"),
    ],
)
def test_more_bad_samples_than_allowed_are_refused_with_counts_list_and_remedy(
    tokenizer: ConversationTokenizer, limit: str, told: str
) -> None:
    found = look_at(Samples(SAMPLES), tokenizer, MAX_LENGTH, Silent())
    strict = LENIENT.model_copy(update={limit: 0.24})
    with pytest.raises(TooMuchBadInput, match=rf"{told}.*raise .*train\.{limit}; all are listed in where"):
        check(found, strict, 3, Path("where"))


def test_no_sample_at_all_is_too_few_and_not_too_many(tokenizer: ConversationTokenizer) -> None:
    with pytest.raises(DataError, match="0 usable samples are fewer than the 1"):
        check(look_at(Samples([]), tokenizer, MAX_LENGTH, Silent()), LENIENT, 1, Path("list"))


def test_a_part_of_the_samples_is_every_so_many_th(tokenizer: ConversationTokenizer) -> None:
    found = look_at(Samples(SAMPLES), tokenizer, MAX_LENGTH, Silent(), every=2)
    assert found.survey.numbers.tolist() == [0, 2]
    assert [line["key"] for line in found.lines] == ["cut"]


def test_a_survey_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    survey = Survey(np.array([0, 2]), np.array([9, 8]), np.array([3, 4]))
    survey.save(tmp_path / "survey.npz")
    back = Survey.load(tmp_path / "survey.npz")
    for name in ("numbers", "lengths", "supervised"):
        assert getattr(back, name).tolist() == getattr(survey, name).tolist()
