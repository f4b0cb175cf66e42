"""What is withdrawn stays on the list until it is let in again, and the plan says why images are built anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.load import load_experiment
from configs.settings import Settings
from flows.lineage.forgetting import forget, listed, names_in, told
from flows.places import store_of
from flows.plan import make_plan
from flows.specs import Specs
from tasks.code import CodeState
from tasks.errors import DataError
from tasks.making import make
from tasks.progress import Progress, Silent
from tasks.stages import Built
from tasks.withdrawn import FILE, WithdrawnImages
from tests.fakes.lineage_store import IDS, Chain, sha256_of


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    Chain(tmp_path)
    return Settings(root=tmp_path)


def withdrawn(settings: Settings) -> list[str]:
    return [*WithdrawnImages(settings.home()).now()]


def test_an_image_is_withdrawn_by_its_bytes_whether_named_by_them_or_by_id(settings: Settings) -> None:
    done = forget([IDS[0], sha256_of(IDS[1])], settings, "ada", "asked to")
    assert sorted(withdrawn(settings)) == sorted([sha256_of(IDS[0]), sha256_of(IDS[1])])
    assert (len(done.changed), done.unseen) == (2, ())
    lines = listed([*WithdrawnImages(settings.home()).now().values()])
    assert len(lines) == 2 and all("ada" in line and "asked to" in line for line in lines)


def test_twice_is_once_and_undo_lets_it_in_again_with_its_history_kept(settings: Settings) -> None:
    forget([IDS[0]], settings, "ada", "")
    assert forget([IDS[0]], settings, "bob", "").changed == ()
    forget([IDS[0]], settings, "bob", "a mistake", undo=True)
    assert withdrawn(settings) == []
    history = WithdrawnImages(settings.home()).history()
    assert [(one.event, one.who) for one in history] == [("withdrawn", "ada"), ("restored", "bob")]


def test_an_unknown_id_changes_nothing_and_unknown_bytes_are_kept_out_and_told(settings: Settings) -> None:
    with pytest.raises(DataError, match=r"nothing is changed.*nobody"):
        forget([IDS[0], "nobody"], settings, "ada", "")
    assert withdrawn(settings) == []
    done = forget(["e" * 64], settings, "ada", "")
    assert done.unseen == ("e" * 64,) and "no image set here has" in "\n".join(told(done))
    assert withdrawn(settings) == ["e" * 64]


def test_a_file_names_one_a_line(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "names").write_text(f"{IDS[0]}\n\n{IDS[1]}\n{IDS[0]}\n")
    assert names_in([str(tmp_path / "names"), IDS[2]]) == [IDS[0], IDS[1], IDS[2]]
    with pytest.raises(DataError):
        names_in([])


def test_a_damaged_list_is_an_error_as_an_image_could_slip_through(settings: Settings) -> None:
    forget([IDS[0]], settings, "ada", "")
    (settings.home() / FILE).write_text("{")
    with pytest.raises(DataError, match="restore it"):
        withdrawn(settings)


def test_the_list_can_be_had_as_it_was_at_a_time(settings: Settings) -> None:
    forget([IDS[0]], settings, "ada", "", now=lambda: "2026-01-01T00:00:00+00:00")
    forget([IDS[1]], settings, "ada", "", now=lambda: "2026-03-01T00:00:00+00:00")
    assert [*WithdrawnImages(settings.home()).now("2026-02-01T00:00:00+00:00")] == [sha256_of(IDS[0])]


def test_the_plan_says_which_withdrawn_image_is_why(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path)

    def build(folder: Path, progress: Progress) -> Built:
        (folder / "annotations.jsonl").write_text("")
        return Built({"images": 12})

    spec = Specs(load_experiment("shapes", ()), settings).ingest()
    make(store_of(settings), tmp_path / "locks", spec, build, Silent(), lambda: CodeState(None, None, {}))
    forget(["e" * 64], settings, "ada", "")
    stages = {stage.name: stage for stage in make_plan("shapes", settings=settings).stages}
    assert not stages["ingest"].cached
    assert stages["ingest"].reason.startswith(f"changed: config withdrawn.{'e' * 64}")
    assert stages["generate"].reason == "its parent ingest will be rebuilt"
