"""A registered `shapes` model, trained by two workers, is made again bit for bit; then its lineage, and the garbage."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

SMALL = (
    "data.source.train_scenes=32", "data.source.scienceqa_train=32", "data.source.scienceqa_test=12",
    "data.source.bench_images=2", "generate.samples=32",
    "base.vision.scenes=32", "base.vision.steps=2", "base.vision.batch=16",
    "base.language.documents=200", "base.language.steps=2", "train.workers=2",
    "train.stages.align.steps=2", "train.stages.align.batch=16",
    "train.stages.instruct.steps=3", "train.stages.instruct.batch=16",
    "evaluate.scienceqa.max_new_tokens=8", "evaluate.llava_bench.max_new_tokens=8", "evaluate.bootstrap=200",
    "gate.floors={}", "gate.max_unparsed=1.0", "gate.max_judge_failures=1.0",
)  # fmt: skip
INHERITED = ("PATH", "LANG", "LC_ALL", "SSL_CERT_FILE")


class Place:
    """A repository with this code in one commit, and a root for runs."""

    def __init__(self, project: Path, folder: Path) -> None:
        self.code, self.root, self.home = folder / "code", folder / "runs", folder / "home"
        self.home.mkdir()
        for name in filter(None, self.git(project, "ls-files", "-co", "--exclude-standard", "-z").split("\0")):
            if (project / name).is_file():
                (self.code / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(project / name, self.code / name)
        self.git(self.code, "init", "-q")
        self.git(self.code, "add", "-A")
        self.git(self.code, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "All of it")

    def git(self, folder: Path, *arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
        return done.stdout

    def llavaflow(self, *arguments: str) -> str:
        """Call the command as a user does; it has to succeed."""
        environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
        environment |= {"LLAVAFLOW_ROOT": str(self.root), "HOME": str(self.home), "NO_COLOR": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", *arguments], cwd=self.code, env=environment, capture_output=True,
            text=True, check=False,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        return done.stdout


@pytest.fixture(scope="module")
def place(project: Path) -> Iterator[Place]:
    # Not under pytest's own folder: Ray's sockets need a short path.
    folder = Path(tempfile.mkdtemp(prefix="again-"))
    place = Place(project, folder)
    place.llavaflow("run", "shapes", "--json", *(part for one in SMALL for part in ("--set", one)))
    yield place
    shutil.rmtree(folder, ignore_errors=True)


def test_lineage_reaches_from_the_champion_to_an_image_and_back(place: Place) -> None:
    down = json.loads(place.llavaflow("lineage", "champion", "--samples", str(place.root / "samples"), "--json"))
    assert {part["state"] for part in down["parts"]} == {"here"} and down["unknown"] == []
    samples = [json.loads(line) for line in (place.root / "samples").read_text().splitlines()]
    talk = next(sample for sample in samples if sample["answers"])
    for option, name in (("--image", talk["image"]), ("--answer", talk["answers"][-1]), ("--prompts", down["prompts"])):
        up = json.loads(place.llavaflow("lineage", option, name, "--json"))
        assert [version["aliases"] for version in up["versions"]] == [["champion"]], option
        assert any(talk["key"] in use["samples"] for use in up["uses"]), option


def test_nothing_of_the_champion_is_garbage(place: Place) -> None:
    place.llavaflow("gc", "--apply", "--all")
    down = json.loads(place.llavaflow("lineage", "champion", "--json"))
    assert {part["state"] for part in down["parts"]} == {"here"}


def test_made_again_every_stage_is_equal_bit_for_bit(place: Place) -> None:
    found = json.loads(place.llavaflow("reproduce", "champion", "--json"))
    assert {stage["stage"]: stage["state"] for stage in found["stages"]} == dict.fromkeys(
        ("ingest", "generate", "shard", "base", "align", "instruct", "evaluate"), "equal"
    )
    assert found["causes"] == [] and found["root"] is None
