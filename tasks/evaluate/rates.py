"""How sure a rate is: shares of answers that could not be read, are missing, or whose judgement failed."""

from __future__ import annotations

from tasks.evaluate.report import BenchmarkReport, rounded
from tasks.statistics import exact_interval


def with_bounds(report: BenchmarkReport, n: int, confidence: float) -> BenchmarkReport:
    """The report with an exact interval beside each of its rates, which are shares of `n` answers or judgements."""
    if not n:
        return report
    bounds = {}
    for name, rate in report.rates.items():
        low, high = exact_interval(round(rate * n / 100), n, confidence)
        bounds[name] = (rounded(low), rounded(high))
    return report.model_copy(update={"rate_bounds": bounds})


def rate_text(report: BenchmarkReport, name: str, digits: int) -> str:
    """A rate with its interval as it is printed: 2.00 %, 0.24 to 7.04."""
    told = f"{report.rates[name]:.{digits}f} %"
    if name not in report.rate_bounds:
        return told
    low, high = report.rate_bounds[name]
    return f"{told}, {low:.{digits}f} to {high:.{digits}f}"
