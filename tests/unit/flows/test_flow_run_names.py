"""A flow run's name fits into a line of Prefect's pages and says first what tells runs apart."""

from __future__ import annotations

from flows.prefect_artifacts import LONGEST, named


def test_what_fits_is_told_whole() -> None:
    assert named("shapes", "nightly", ("seed=1", "train.workers=4")) == "shapes nightly seed=1 train.workers=4"
    assert named("shapes", "", ()) == "shapes"


def test_what_does_not_fit_is_counted() -> None:
    overrides = tuple(f"data.source.some_knob_{number}={number}" for number in range(20))
    name = named("shapes", "", overrides)
    assert name == "shapes data.source.some_knob_0=0 data.source.some_knob_1=1 and 18 more"
    assert len(name) <= LONGEST + len(" and 18 more")
