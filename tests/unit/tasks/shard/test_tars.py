"""Keys: any sample id becomes one that every WebDataset reader takes for the whole key, and no two become the same."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tasks.shard.tars import END, LAYOUT, LONGEST_KEY, append, finish, key_of
from tasks.sinks import FolderSink


@given(st.text())
def test_a_key_has_no_dot_no_slash_and_fits_a_tar_header(name: str) -> None:
    assert re.fullmatch(rf"[A-Za-z0-9_-]{{1,{LONGEST_KEY}}}", key_of(name))


@given(st.sets(st.text(min_size=1), min_size=2))
def test_different_ids_have_different_keys(names: set[str]) -> None:
    assert len({key_of(name) for name in names}) == len(names)


def test_a_safe_id_is_its_own_key() -> None:
    assert key_of("scene-001_caption-2") == "scene-001_caption-2"


def test_the_layout_s_version_stands_for_these_bytes(tmp_path: Path) -> None:
    # An earlier shard of the same version is taken over: whoever changes a byte has to change LAYOUT, and this digest.
    with FolderSink(tmp_path).create("a.tar") as tar:
        append(tar, "key.jpg", b"image" * 200)
        append(tar, "key.json", b"{}")
        finish(tar)
    data = (tmp_path / "a.tar").read_bytes()
    assert len(data) == END
    digest = hashlib.sha256(data).hexdigest()
    assert (LAYOUT, digest) == ("1", "be6c22ceabac1e49ceb9254601eac630e1776438136f7d56afb4a908284d9f30")
