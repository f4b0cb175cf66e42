from __future__ import annotations

import errno
from pathlib import Path

import pytest
from pydantic import JsonValue

from tasks.artifacts import MANIFEST, ImageSet
from tasks.code import CodeState
from tasks.errors import DataError, EnvironmentProblem
from tasks.progress import Progress, Silent
from tasks.stages import Built, StageSpec, decide, execute
from tasks.storage import Store

SOURCE = CodeState(commit="abc", dirty=False, libraries={"numpy": "1"})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"), tmp_path / "scratch")


def spec(size: int = 3, code: tuple[str, ...] = ("tasks/progress.py",), **parents: ImageSet) -> StageSpec[ImageSet]:
    config: JsonValue = {"size": size, "source": {"kind": "shapes"}}
    return StageSpec(name="ingest", makes=ImageSet, code=code, config=config, parents=parents)


def write(folder: Path, progress: Progress) -> Built:
    progress.update(1, 1)
    (folder / "a.txt").write_text("alpha")
    (folder / "b.txt").write_text("beta")
    return Built(counts={"files": 2}, facts={"note": "n"})


def make(store: Store, wanted: StageSpec[ImageSet]) -> ImageSet:
    return execute(store, wanted, decide(store, wanted), write, Silent(), SOURCE)


def test_a_stage_is_built_once_and_then_found(store: Store) -> None:
    first = decide(store, spec())
    assert (first.cached, first.reason) == (False, "first build")
    built = make(store, spec())
    again = decide(store, spec())
    assert (again.cached, again.reason, again.artifact) == (True, "unchanged", built)


def test_an_artifact_says_what_it_was_made_from_and_by(store: Store) -> None:
    parent = make(store, spec())
    built = make(store, spec(size=4, images=parent))
    assert built.parents == {"images": parent.digest}
    assert (built.counts, built.facts) == ({"files": 2}, {"note": "n"})
    assert (built.made_by.stage, built.made_by.git_commit, built.made_by.git_dirty) == ("ingest", "abc", False)
    assert built.made_by.libraries == SOURCE.libraries
    assert built.digest == parent.digest


def test_a_changed_part_is_named_in_the_reason(store: Store) -> None:
    parent = make(store, spec())
    assert decide(store, spec(size=4)).reason == "changed: config size 3 -> 4"
    assert decide(store, spec(code=("tasks/errors.py",))).reason == "changed: code"
    assert decide(store, spec(images=parent)).reason == "changed: parent images"
    more = decide(store, spec(size=4, code=("tasks/errors.py",), images=parent)).reason
    assert more == "changed: code, parent images and 1 more"


def test_the_nearest_earlier_artifact_is_compared_with(store: Store) -> None:
    make(store, spec(size=3))
    make(store, spec(size=4, code=("tasks/errors.py",)))
    assert decide(store, spec(size=5, code=("tasks/errors.py",))).reason == "changed: config size 4 -> 5"


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("alter", "the cached artifact is damaged: a.txt was altered"),
        ("remove", "the cached artifact is damaged: a.txt is missing"),
        ("add", "the cached artifact is damaged: c.txt is not of this artifact"),
        ("both", "the cached artifact is damaged: a.txt is missing and 1 more"),
        ("manifest", "its manifest cannot be read"),
    ],
)
def test_a_damaged_artifact_is_built_again_and_the_reason_told(store: Store, damage: str, reason: str) -> None:
    built = make(store, spec())
    folder = Path(built.uri)
    if damage == "alter":
        (folder / "a.txt").write_text("alphA")
    if damage in ("remove", "both"):
        (folder / "a.txt").unlink()
    if damage in ("add", "both"):
        (folder / "c.txt").touch()
    if damage == "manifest":
        (folder / MANIFEST).write_text("{")
    decision = decide(store, spec())
    assert (decision.cached, decision.reason) == (False, reason)
    rebuilt = make(store, spec())
    assert rebuilt.digest == built.digest
    assert decide(store, spec()).cached


def test_an_unreadable_manifest_of_another_key_stops_nothing(store: Store) -> None:
    (Path(make(store, spec()).uri) / MANIFEST).write_text("{")
    assert decide(store, spec(size=4)).reason == "first build"


def test_a_build_that_fails_leaves_no_trace(store: Store) -> None:
    def fails(folder: Path, _: Progress) -> Built:
        (folder / "half.txt").write_text("half")
        raise DataError("no use")

    with pytest.raises(DataError, match="no use"):
        execute(store, spec(), decide(store, spec()), fails, Silent(), SOURCE)
    assert store.keys("ingest") == []
    assert list(store.scratch.iterdir()) == []
    assert decide(store, spec()).reason == "first build"


def test_a_failed_build_keeps_the_artifact_that_was_there(store: Store) -> None:
    built = make(store, spec())

    def fails(folder: Path, _: Progress) -> Built:
        raise DataError("no use")

    with pytest.raises(DataError):
        execute(store, spec(), decide(store, spec()), fails, Silent(), SOURCE)
    assert decide(store, spec()).artifact == built


def test_a_full_disk_is_told_with_its_remedy(store: Store) -> None:
    def full(folder: Path, _: Progress) -> Built:
        (folder / "half.txt").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(EnvironmentProblem, match=r"the disk of .* is full; free some space and run again"):
        execute(store, spec(), decide(store, spec()), full, Silent(), SOURCE)
    assert list(store.scratch.iterdir()) == []


def test_other_system_errors_stay_what_they_are(store: Store) -> None:
    def denied(folder: Path, _: Progress) -> Built:
        raise PermissionError(errno.EACCES, "denied")

    with pytest.raises(PermissionError):
        execute(store, spec(), decide(store, spec()), denied, Silent(), SOURCE)


def test_the_same_content_has_the_same_digest_under_any_key(store: Store) -> None:
    one, two = make(store, spec(size=3)), make(store, spec(size=4))
    assert one.key != two.key
    assert one.digest == two.digest
