"""Which conversations are asked for."""

from __future__ import annotations

from collections import Counter

import pytest

from configs.schema import Mix
from tasks.generate.plan import choose, quotas

IMAGES = [f"{number:04d}" for number in range(300)]


def test_the_paper_s_mix_gives_the_paper_s_numbers() -> None:
    assert quotas(158_000, Mix()) == {"conversation": 58_000, "detail": 23_000, "complex": 77_000}


@pytest.mark.parametrize("samples", [1, 2, 3, 7, 100, 157])
@pytest.mark.parametrize(
    "mix", [Mix(), Mix(conversation=1, detail=1, complex=1), Mix(conversation=0, detail=1, complex=0)]
)
def test_quotas_sum_up_and_are_within_one_of_the_proportion(samples: int, mix: Mix) -> None:
    found = quotas(samples, mix)
    total = mix.conversation + mix.detail + mix.complex
    assert sum(found.values()) == samples
    assert all(abs(found[kind] - samples * getattr(mix, kind) / total) < 1 for kind in found)


def test_the_same_seed_chooses_the_same_and_another_one_others() -> None:
    assert choose(IMAGES, 100, Mix(), 3) == choose(list(IMAGES), 100, Mix(), 3)
    assert choose(IMAGES, 100, Mix(), 3) != choose(IMAGES, 100, Mix(), 4)


def test_ids_are_unique_even_where_images_are_asked_about_again() -> None:
    images = ["a", "a-detail", "b"]
    assert len({wish.id(images) for wish in choose(images, 60, Mix(), 0)}) == 60


def test_an_image_is_asked_about_again_only_when_all_have_been() -> None:
    wishes = choose(IMAGES[:20], 50, Mix(conversation=1, detail=0, complex=0), 0)
    assert sorted(Counter(wish.place for wish in wishes).values()) == [2] * 10 + [3] * 10
    assert all(wish.turn == 0 for wish in wishes[:20])


def test_every_stretch_of_the_wishes_has_the_mix_in_it() -> None:
    wishes = choose(IMAGES, 158, Mix(), 0)
    found = Counter(wish.kind for wish in wishes[:79])
    assert all(abs(found[kind] - wanted) <= 1 for kind, wanted in quotas(79, Mix()).items())


def test_more_images_leave_most_choices_as_they_were() -> None:
    before = set(choose(IMAGES[:250], 100, Mix(), 0))
    after = set(choose(IMAGES, 100, Mix(), 0))
    assert len(before & after) >= 65
