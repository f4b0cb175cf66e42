from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from configs.settings import Settings
from flows.cli import app
from flows.feedback.places import store_of_feedback
from tasks.errors import DataError
from tests.unit.tasks.feedback.items import item, pixels


def test_review_accept_reject_and_export_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAVAFLOW_ROOT", str(tmp_path))
    store = store_of_feedback(Settings())
    for one in (item("aa11"), item("bb22", "Who?", "ann@mail.example.org"), item("cc33", "Q", "A")):
        store.add(one, [pixels("cat")])

    def said(*words: str) -> str:
        done = CliRunner().invoke(app, ["feedback", *words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    assert "3 items: 2 new, 1 held, 0 accepted, 0 rejected" in said("review")
    said("reject", "cc", "--reason", "not about the image")
    assert "accepted: aa11" in said("accept", "--all-new")
    with pytest.raises(DataError, match="personal data"):
        said("accept", "bb22")
    assert "nothing is exported" in said("export", "--at-least", "2")
    made = json.loads(said("export", "--json"))
    assert (made["samples"], made["left_out"]) == (1, {"held for personal data": 1, "rejected": 1})
    assert made["source"]["kind"] == "llava_json" and Path(made["source"]["root"]).is_dir()
    said("review", "--html", str(tmp_path / "page.html"), "--state", "held")
    assert "found: email address" in (tmp_path / "page.html").read_text(encoding="utf-8")
