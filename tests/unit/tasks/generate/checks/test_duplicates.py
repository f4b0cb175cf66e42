"""Conversations that repeat one another are found, and only those."""

from __future__ import annotations

import random

from model.records import Turn
from tasks.generate.checks.duplicates import FEWEST, Signatures, Triples, near_duplicates, similarity, triples_of
from tasks.generate.languages.chinese import CHINESE
from tasks.generate.languages.english import ENGLISH

# ruff: noqa: RUF001
VOCABULARY = [f"word{number}" for number in range(400)]


def text(seed: int, words: int = 60) -> list[str]:
    return random.Random(seed).choices(VOCABULARY, k=words)


def turns(words: list[str]) -> tuple[Turn, ...]:
    return Turn(role="human", text="What is there?"), Turn(role="gpt", text=" ".join(words))


def repeats(texts: list[list[str]], threshold: float = 0.8) -> list[tuple[int, int]]:
    all_triples: list[Triples] = [triples_of(turns(words), ENGLISH) for words in texts]
    signatures = Signatures()
    for triples in all_triples:
        signatures.add(triples)
    return list(near_duplicates(signatures.leaders(), all_triples.__getitem__, threshold))


def changed(words: list[str], places: list[int]) -> list[str]:
    return [f"other{place}" if place in places else word for place, word in enumerate(words)]


def test_the_later_of_two_alike_is_named_with_the_earlier() -> None:
    texts = [text(seed) for seed in range(30)]
    texts[20] = changed(texts[4], [59])
    assert repeats(texts) == [(20, 4)]


def test_a_chain_of_small_changes_is_compared_with_the_one_that_stays() -> None:
    first = text(1)
    texts = [first, changed(first, [0]), changed(first, [0, 59]), changed(first, [0, 30, 59])]
    assert [other for _, other in repeats(texts)] == [0] * len(repeats(texts))
    for place, other in repeats(texts):
        assert similarity(triples_of(turns(texts[place]), ENGLISH), triples_of(turns(texts[other]), ENGLISH)) >= 0.8


def test_nearly_all_pairs_above_the_threshold_are_found() -> None:
    texts = [text(seed) for seed in range(100)]
    texts += [changed(words, [58]) for words in texts]
    found = repeats(texts)
    assert len(found) >= 98
    assert all(place == other + 100 for place, other in found)


def test_texts_that_share_half_are_kept() -> None:
    first = text(1)
    assert repeats([first, changed(first, list(range(0, 60, 6)))]) == []


def test_short_answers_are_rightly_alike() -> None:
    short = text(1, FEWEST)
    assert triples_of(turns(short), ENGLISH) == frozenset()
    assert repeats([short, short, short]) == []


def test_only_answers_are_compared_without_regard_to_case_and_stops() -> None:
    words = text(3)
    said = (Turn(role="human", text="Why?"), Turn(role="gpt", text=". ".join(words).upper()))
    assert triples_of(said, ENGLISH) == triples_of(turns(words), ENGLISH)


def test_chinese_is_compared_by_characters() -> None:
    answer = "一只棕色的狗躺在地毯上睡觉，旁边有一张灰色的沙发。"
    first = (Turn(role="human", text="？"), Turn(role="gpt", text=answer))
    second = (Turn(role="human", text="？"), Turn(role="gpt", text=answer.replace("灰色", "白色")))
    assert 0.7 < similarity(triples_of(first, CHINESE), triples_of(second, CHINESE)) < 1


def test_an_empty_set_has_no_duplicates() -> None:
    assert repeats([]) == []
