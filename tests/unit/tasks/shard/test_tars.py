"""Keys: any sample id becomes one that every WebDataset reader takes for the whole key, and no two become the same."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from tasks.shard.tars import LONGEST_KEY, key_of


@given(st.text())
def test_a_key_has_no_dot_no_slash_and_fits_a_tar_header(name: str) -> None:
    assert re.fullmatch(rf"[A-Za-z0-9_-]{{1,{LONGEST_KEY}}}", key_of(name))


@given(st.sets(st.text(min_size=1), min_size=2))
def test_different_ids_have_different_keys(names: set[str]) -> None:
    assert len({key_of(name) for name in names}) == len(names)


def test_a_safe_id_is_its_own_key() -> None:
    assert key_of("scene-001_caption-2") == "scene-001_caption-2"
