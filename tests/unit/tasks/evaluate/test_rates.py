"""Rates carry exact intervals, and are printed with them."""

from __future__ import annotations

import pytest

from tasks.evaluate.rates import rate_text, with_bounds
from tasks.evaluate.report import BenchmarkReport
from tasks.statistics import exact_interval


def test_a_rate_has_the_exact_interval_of_its_count() -> None:
    report = with_bounds(BenchmarkReport(rows={}, rates={"unparsed": 100 / 3, "missing": 0.0}), 9, 0.95)
    assert report.rate_bounds["unparsed"] == pytest.approx([100 * end for end in exact_interval(3, 9, 0.95)], abs=1e-5)
    low, high = report.rate_bounds["missing"]
    assert (low, high > 0) == (0.0, True)
    assert rate_text(report, "unparsed", 1) == "33.3 %, 7.5 to 70.1"


def test_without_answers_there_is_nothing_to_be_sure_of() -> None:
    report = BenchmarkReport(rows={}, rates={"unparsed": 0.0})
    assert with_bounds(report, 0, 0.95) == report
    assert rate_text(report, "unparsed", 2) == "0.00 %"
