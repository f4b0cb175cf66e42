from __future__ import annotations

import pytest

from flows.backfill import wanted_runs
from flows.publish import publication_of, publish
from tasks.errors import ConfigError, EnvironmentProblem

SEEDED = "data.source.seed={version}"


def test_a_publication_names_the_experiment_its_data_are_for() -> None:
    made = publication_of("shapes", "41", None, [SEEDED])
    assert made.payload() == {
        "dataset": "shapes", "version": "41", "experiment": "shapes", "overrides": ["data.source.seed=41"],
        "tag": "shapes-41",
    }  # fmt: skip


def test_the_same_publication_is_the_same_event_and_another_version_another() -> None:
    first, again = publication_of("shapes", "41", None), publication_of("shapes", "41", None)
    assert first.id == again.id != publication_of("shapes", "42", None).id


@pytest.mark.parametrize(
    ("dataset", "version", "experiment", "overrides"),
    [
        ("no/word", "1", "shapes", []),
        ("shapes", "{{ 1 }}", None, []),
        ("photos", "1", None, []),
        ("photos", "1", "shapes", ["data.sauce={version}"]),
    ],
)
def test_what_no_run_could_start_from_is_not_published(
    dataset: str, version: str, experiment: str | None, overrides: list[str]
) -> None:
    with pytest.raises(ConfigError):
        publication_of(dataset, version, experiment, overrides)


def test_without_a_server_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with pytest.raises(EnvironmentProblem, match="LLAVAFLOW_PREFECT_API_URL"):
        publish(publication_of("shapes", "41", None))


def test_a_server_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(EnvironmentProblem, match=r"127\.0\.0\.1:9"),
    ):
        publish(publication_of("shapes", "41", None))


def test_a_backfill_wants_each_version_once_and_knows_it_again() -> None:
    runs = wanted_runs("shapes", ["40", "41", "40"], [SEEDED, "seed=1"])
    assert [run.version for run in runs] == ["40", "41"]
    assert runs[0].parameters == {
        "experiment": "shapes", "overrides": ["data.source.seed=40", "seed=1"], "tag": "backfill-40"
    }  # fmt: skip
    assert runs == wanted_runs("shapes", ["40", "41"], [SEEDED, "seed=1"])
    assert len({run.key for run in [*runs, *wanted_runs("shapes", ["40"], [SEEDED, "seed=2"])]}) == 3
    other = wanted_runs("shapes", ["40"], [SEEDED, "seed=1"], deployment="data/data")
    assert other[0].key != runs[0].key


@pytest.mark.parametrize("overrides", [[], ["seed=1"], ["no.such.knob={version}"]])
def test_a_backfill_whose_runs_are_all_the_same_or_do_not_resolve_is_refused(overrides: list[str]) -> None:
    with pytest.raises(ConfigError):
        wanted_runs("shapes", ["40"], overrides)
