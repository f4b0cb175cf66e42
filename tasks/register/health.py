"""What the gate asks of a challenger by itself: floors, readable answers, a sound judge, no leak, ceilings. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from configs.schema import GateConfig
from tasks.errors import ConfigError
from tasks.register.evidence import Evidence, Surroundings
from tasks.register.verdict import Reason


def floors(evidence: Evidence, config: GateConfig) -> Iterator[Reason]:
    """Absolute floors. Raises ConfigError if one names a score that was not measured."""
    known = evidence.known()
    for name, floor in config.floors.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 3, 0.4) or sorted(known)
            raise ConfigError(f"gate.floors names {name!r}, which was not measured; there is: {', '.join(near)}")
        value = known[name]
        if value is None:
            yield Reason(ok=False, check="floor", text=f"{name} is withheld, at least {floor:g} required")
        else:
            yield Reason(ok=value >= floor, check="floor", text=f"{name} is {value:.1f}, at least {floor:g} required")


def health(evidence: Evidence, config: GateConfig) -> Iterator[Reason]:
    """Answers that can be read, judgements that came about, scores that were not withheld."""
    for name, benchmark in evidence.benchmarks.items():
        rates = benchmark.rates
        if "unparsed" in rates:
            share, limit = rates["unparsed"] + rates.get("missing", 0.0), 100 * config.max_unparsed
            text = f"{name}: {share:.1f} % of the answers not readable, at most {limit:g} % allowed"
            yield Reason(ok=share <= limit, check="unparsed", text=text)
        if "failed" in rates:
            share, limit = rates["failed"], 100 * config.max_judge_failures
            text = f"{name}: {share:.1f} % of the judgements failed, at most {limit:g} % allowed"
            yield Reason(ok=share <= limit, check="judge", text=text)
        headline = benchmark.rows.get(benchmark.headline)
        if headline is None or headline.value is None:
            yield Reason(ok=False, check="judge", text=f"{name}/{benchmark.headline} is withheld: nothing to go by")


def leak(found: Surroundings, config: GateConfig) -> Iterator[Reason]:
    """No training image in a test set. Where nobody looked there is no reason, and no proof either."""
    if found.overlap is not None:
        text = f"{found.overlap} training images occur in the test sets, at most {config.max_overlap} allowed"
        yield Reason(ok=found.overlap <= config.max_overlap, check="overlap", text=text)


def ceilings(found: Surroundings, config: GateConfig) -> Iterator[Reason]:
    """Cost, latency, size. A ceiling on what is not known holds the model."""
    megabytes = None if found.weight_bytes is None else found.weight_bytes / 1e6
    limits = (
        ("cost", "the teacher was paid", found.teacher_usd, config.max_teacher_usd, "USD"),
        ("latency", "an answer takes", found.seconds_per_answer, config.max_seconds_per_answer, "s"),
        ("size", "the weights take", megabytes, _megabytes(config.max_weight_bytes), "MB"),
    )
    for check, what, value, limit, unit in limits:
        if limit is None:
            continue
        if value is None:
            yield Reason(ok=False, check=check, text=f"{what}: not known, at most {limit:.4g} {unit} allowed")
        else:
            text = f"{what} {value:.4g} {unit}, at most {limit:.4g} {unit} allowed"
            yield Reason(ok=value <= limit, check=check, text=text)


def _megabytes(size: int | None) -> float | None:
    return None if size is None else size / 1e6
