from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from tasks.artifacts import MANIFEST, MadeBy
from tasks.storage import make_manifest


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "a.txt").write_text("alpha")
    manifest = make_manifest(folder, "ImageSet", "k", {}, {}, {}, {}, MadeBy(stage="ingest", code="c", config="d"))
    (folder / MANIFEST).write_text(manifest.model_dump_json())
    return folder


def test_a_whole_artifact_ends_with_status_0_and_says_what_was_looked_at(artifact: Path) -> None:
    done = CliRunner().invoke(app, ["verify", str(artifact)])
    assert (done.exit_code, done.output) == (0, f"{artifact}: 1 files, 0.0 MB: whole\n")


def test_a_damaged_one_ends_with_status_1_and_names_every_fault(artifact: Path) -> None:
    (artifact / "a.txt").unlink()
    (artifact / "b.txt").touch()
    done = CliRunner().invoke(app, ["verify", str(artifact)])
    assert done.exit_code == 1
    assert done.output.splitlines()[:2] == ["a.txt is missing", "b.txt is not of this artifact"]
    told = CliRunner().invoke(app, ["verify", str(artifact), "--json"])
    assert told.exit_code == 1
    assert json.loads(told.output)["faults"] == [
        {"file": "a.txt", "what": "is missing"}, {"file": "b.txt", "what": "is not of this artifact"}
    ]


def test_a_trailing_slash_changes_nothing(artifact: Path) -> None:
    assert CliRunner().invoke(app, ["verify", f"{artifact}/"]).exit_code == 0
