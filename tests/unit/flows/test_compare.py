"""`llavaflow compare` finds evaluations wherever they lie, prints and writes the same figures, fails in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from configs.settings import Settings
from flows.compare import compare_models, find
from tasks.errors import LlavaflowError, ScoringError
from tasks.register.registry import MlflowRegistry
from tests.fakes.evaluations import evaluation
from tests.fakes.mlflow_store import fresh_store
from tests.unit.tasks.register.test_registry import candidate, checkpoint, registered
from tests.unit.tasks.report.test_page import Page


def nowhere() -> MlflowRegistry:
    raise AssertionError("no registry is needed for folders")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "runs").mkdir()
    return Settings(root=tmp_path / "runs")


@pytest.fixture
def two(tmp_path: Path) -> tuple[str, str]:
    first = evaluation(tmp_path / "old", questions=40, right=lambda index: index != 3, pictures=True, bench=6)
    second = evaluation(
        tmp_path / "new", questions=40, right=lambda index: index not in (5, 7), pictures=True, bench=6,
        scored=lambda index: (8.0, 9.0 if index == 2 else 7.0),
    )
    return str(first), str(second)


def test_the_page_shows_differences_and_every_flipped_example_with_its_image(
    two: tuple[str, str], settings: Settings
) -> None:
    made = compare_models(two, settings, nowhere, None)
    assert made.page == settings.home() / "compare-old-new.html"
    text = made.page.read_text(encoding="utf-8")
    page = Page(text)
    assert page.handlers == []
    assert all(source.startswith("data:") for source in page.sources)
    assert page.tags["img"] == len(page.sources) == 4  # three questions, one judged answer
    said = " ".join(" ".join(page.text).split())
    for question in ("q0003", "q0005", "q0007", "b002"):
        assert f"question {question}" in said
    assert "question q0001" not in said
    assert "Right in A, not in B 2 of 2" in said
    again = compare_models(two, settings, nowhere, None)
    assert again.page.read_text(encoding="utf-8") == text


def test_json_and_table_say_the_same(two: tuple[str, str], settings: Settings, tmp_path: Path) -> None:
    made = compare_models(two, settings, nowhere, str(tmp_path / "deep" / "page.html"))
    value = json.loads(json.dumps(made.json()))
    whole = value["benchmarks"][0]["rows"][-1]
    assert (whole["difference"], whole["first_only"], whole["second_only"]) == (-2.5, 2, 1)
    assert value["flips"]["scienceqa"] == [
        {"id": "q0005", "gain": -1.0}, {"id": "q0007", "gain": -1.0}, {"id": "q0003", "gain": 1.0},
    ]
    assert (tmp_path / "deep" / "page.html").is_file()
    assert [type(part).__name__ for part in made.tables()][:2] == ["Table", "Table"]


def test_what_models_said_is_text_and_never_mark_up(tmp_path: Path, settings: Settings) -> None:
    first = evaluation(tmp_path / "a", questions=4)
    second = evaluation(tmp_path / "b", questions=4, right=lambda index: index > 0)
    file = second / "examples" / "scienceqa.jsonl"
    file.write_text(file.read_text().replace("The answer is B.", "<script>alert(1)</script>"))
    text = compare_models((str(first), str(second)), settings, nowhere, None).page.read_text()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_a_run_is_named_by_its_id_or_folder(two: tuple[str, str], settings: Settings) -> None:
    run = settings.home() / "shapes-1"
    run.mkdir()
    (run / "result.json").write_text(json.dumps({"stages": [{"name": "evaluate", "uri": two[0]}]}))
    for name in ("shapes-1", str(run)):
        assert find(name, settings, nowhere, run / "scratch").folder == Path(two[0])
    (run / "result.json").write_text(json.dumps({"stages": [{"name": "ingest", "uri": "x"}]}))
    with pytest.raises(ScoringError, match="ended before it evaluated"):
        find("shapes-1", settings, nowhere, run / "scratch")


def test_a_uri_is_fetched(two: tuple[str, str], settings: Settings, tmp_path: Path) -> None:
    found = find(f"file://{two[0]}", settings, nowhere, tmp_path / "scratch")
    assert (found.folder / "report.json").read_bytes() == (Path(two[0]) / "report.json").read_bytes()
    with pytest.raises(ScoringError, match="cannot be fetched"):
        find("nonsense://bucket/key", settings, nowhere, tmp_path / "other")


def registry_of(folder: Path) -> Callable[[], MlflowRegistry]:
    class Registry(MlflowRegistry):
        def __init__(self) -> None:
            self.name, self.alias = "llavaflow", "champion"

        def of_alias(self, alias: str) -> str | None:
            return "3" if alias == "champion" else None

        def evaluation(self, version: str, into: Path) -> tuple[Path, str]:
            assert version == "3"
            return folder, "digest"

    return Registry


def test_a_version_is_named_by_number_or_alias(two: tuple[str, str], settings: Settings, tmp_path: Path) -> None:
    registry = registry_of(Path(two[0]))
    for at, name in enumerate(("3", "champion")):
        found = find(name, settings, registry, tmp_path / f"scratch{at}")
        assert (found.name, found.folder, found.images) == ("version 3", Path(two[0]), None)
    with pytest.raises(LlavaflowError, match=r"challenger is no evaluation: .*llavaflow models"):
        find("challenger", settings, registry, tmp_path / "none")


def test_a_folder_that_is_no_evaluation_and_an_unreadable_image(
    two: tuple[str, str], settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ScoringError, match="neither an evaluation"):
        find(str(tmp_path / "empty"), settings, nowhere, tmp_path / "scratch")
    for image in (Path(two[0]) / "images").glob("*"):
        Image.new("RGB", (8, 8)).save(image)
        image.write_bytes(b"broken")
    page = compare_models(two, settings, nowhere, None).page.read_text()
    assert "no image" in page


def test_registered_versions_are_compared_by_their_own_evaluations(
    two: tuple[str, str], settings: Settings, tmp_path: Path
) -> None:
    registry = MlflowRegistry(fresh_store(tmp_path / "mlflow"), "llavaflow", "champion")
    for name, folder in zip("ab", two, strict=True):
        registered(registry, candidate(registry, name), checkpoint(tmp_path / "checkpoint"), Path(folder))
    registry.set_champion("1")
    made = compare_models(("champion", "models:/llavaflow/2"), settings, lambda: registry, None)
    assert (made.comparison.first, made.comparison.second) == ("version 1", "version 2")
    assert [flip.gain for flip in made.comparison.benchmarks[0].flips] == [-1.0, -1.0, 1.0]
    assert "no image" in made.page.read_text()  # the registry keeps none, and the store here never had them
    with pytest.raises(LlavaflowError, match="version 9"):
        compare_models(("9", two[0]), settings, lambda: registry, None)
