"""The gate: two evaluations and thresholds in, a verdict with every reason out. Pure.

Without a champion the challenger must reach the absolute floors and be in good health (few unparsed answers, few
failed judgements). With one it must also have been measured as the champion was, on the same examples, and

- over each benchmark as a whole it must be shown to be no worse than the champion by more than `margin` (the
  one-sided bound of the paired bootstrap at `level`): a small test set does not let a model pass, it holds it;
- in no category may it be shown to be worse by more than `category_margin` (Holm's correction over its categories
  keeps the chance of a false alarm at `level`): a gain in one category cannot hide a loss in another. Categories are
  too small to demand proof of the contrary, so the reason says how large a loss the examples leave possible.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from configs.schema import GateConfig
from tasks.artifacts import Frozen
from tasks.errors import ConfigError
from tasks.register.comparison import Difference, Pair, difference
from tasks.register.evidence import Benchmark, Evidence
from tasks.statistics import holm

RESAMPLES = 2000
NOT_RULES = {
    "blind", "bootstrap", "bootstrap_seed", "confidence", "interval", "limit", "max_failed_share", "rules", "seed",
}
"""Settings of a benchmark in which two evaluations may differ and still be compared: they shape its intervals, or which
examples were asked (compared one by one anyway), or say where the judge's rules lie (their digest counts)."""
Outcome = Literal["promote", "hold"]


class Reason(Frozen):
    """One check and its result, in a sentence."""

    ok: bool
    check: str
    text: str


class Compared(Frozen):
    """Challenger against champion in one row of the table, in percent points."""

    name: str
    """As in the flat map of scores."""
    whole: bool
    """The row stands for its benchmark; otherwise it is a category."""
    difference: float
    low: float
    high: float
    n: int
    ok: bool


class Verdict(Frozen):
    """What the gate decided, and why."""

    verdict: Outcome
    reasons: tuple[Reason, ...]
    compared: tuple[Compared, ...] = ()

    def sentences(self) -> tuple[str, ...]:
        """The reasons as text, those that hold the model first."""
        return tuple(reason.text for reason in sorted(self.reasons, key=lambda reason: reason.ok))


class _Category(NamedTuple):
    name: str
    found: Difference


def decide(
    challenger: Evidence, champion: Evidence | None, config: GateConfig, seed: int, *, resamples: int = RESAMPLES
) -> Verdict:
    """Decide on a challenger. Raises ConfigError if a floor names a score that the evaluation does not have."""
    reasons = [*_floors(challenger, config), *_health(challenger, config)]
    compared: list[Compared] = []
    if champion is None:
        reasons.append(Reason(ok=True, check="champion", text="there is no champion yet: only the floors count"))
    elif champion.checkpoint == challenger.checkpoint:
        reasons.append(Reason(ok=True, check="champion", text="these weights are the champion's: nothing to compare"))
    else:
        reasons += _comparable(challenger, champion)
        if all(reason.ok for reason in reasons if reason.check in {"examples", "rules"}):
            for name in champion.benchmarks:
                found, rows = _compare(name, challenger, champion, config, seed, resamples)
                reasons += found
                compared += rows
    verdict: Outcome = "promote" if all(reason.ok for reason in reasons) else "hold"
    return Verdict(verdict=verdict, reasons=tuple(reasons), compared=tuple(compared))


# ---------------------------------------------------------------------------------------------------- by itself


def _floors(evidence: Evidence, config: GateConfig) -> Iterator[Reason]:
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


def _health(evidence: Evidence, config: GateConfig) -> Iterator[Reason]:
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


# ---------------------------------------------------------------------------------------------------- against it


def _comparable(challenger: Evidence, champion: Evidence) -> Iterator[Reason]:
    """Whether both were measured in the same way, on the same examples."""
    for name, theirs in champion.benchmarks.items():
        ours = challenger.benchmarks.get(name)
        if ours is None:
            text = f"{name}: the champion was measured on it, this model was not; evaluate it"
            yield Reason(ok=False, check="examples", text=text)
            continue
        if rules := _differing_rules(ours, theirs):
            text = f"{name}: measured by other rules than the champion ({', '.join(rules)}); evaluate the champion anew"
            yield Reason(ok=False, check="rules", text=text)
        yield _same_examples(name, ours, theirs)


def _differing_rules(ours: Benchmark, theirs: Benchmark) -> list[str]:
    names = (ours.settings.keys() | theirs.settings.keys()) - NOT_RULES
    return sorted(name for name in names if ours.settings.get(name) != theirs.settings.get(name))


def _same_examples(name: str, ours: Benchmark, theirs: Benchmark) -> Reason:
    mine = {key: case.question for key, case in ours.cases.items()}
    other = {key: case.question for key, case in theirs.cases.items()}
    if mine == other:
        return Reason(ok=True, check="examples", text=f"{name}: the same {len(mine)} examples as the champion's")
    both = mine.keys() & other.keys()
    same = sum(mine[key] == other[key] for key in both)
    text = (
        f"{name}: only {same} examples are the same as the champion's ({len(mine)} here, {len(other)} there); "
        "evaluate the champion on these first"
    )
    return Reason(ok=False, check="examples", text=text)


def _compare(
    name: str, challenger: Evidence, champion: Evidence, config: GateConfig, seed: int, resamples: int
) -> tuple[list[Reason], list[Compared]]:
    """One benchmark: as a whole, then by category."""
    ours, theirs = challenger.benchmarks[name], champion.benchmarks[name]
    pairs = _pairs(ours, theirs)
    if not pairs:
        return [Reason(ok=False, check="overall", text=f"{name}: no example was judged for both models")], []
    found = difference(
        list(pairs.values()), margin=config.margin, level=config.level, resamples=resamples, seed=seed
    )
    ok = found.low > -config.margin
    whole = f"{name}/{ours.headline}"
    reasons = [Reason(ok=ok, check="overall", text=_overall_text(whole, found, len(ours.cases), config, ok))]
    rows = [_row(whole, found, whole=True, ok=ok)]
    categories = [
        _Category(
            f"{name}/{group}",
            difference(some, margin=config.category_margin, level=config.level, resamples=resamples, seed=seed),
        )
        for group in sorted({group for case in ours.cases.values() for group in case.groups} - {ours.headline})
        if (some := [pair for key, pair in pairs.items() if group in ours.cases[key].groups])
    ]
    adjusted = holm([category.found.p_worse for category in categories])
    worse = {category.name for category, p in zip(categories, adjusted, strict=True) if p <= config.level}
    reasons += _category_reasons(name, categories, worse, config)
    rows += [_row(category.name, category.found, whole=False, ok=category.name not in worse) for category in categories]
    return reasons, rows


def _pairs(ours: Benchmark, theirs: Benchmark) -> dict[str, Pair]:
    """Examples with a result on both sides."""
    found = {}
    for key, case in ours.cases.items():
        other = theirs.cases[key].result
        if case.result is not None and other is not None:
            found[key] = Pair(case.result, other)
    return found


def _overall_text(name: str, found: Difference, examples: int, config: GateConfig, ok: bool) -> str:
    counted = f"{found.n} examples" if found.n == examples else f"{found.n} of {examples} examples, judged for both"
    return (
        f"{name}: {found.value:+.1f} points to the champion, at worst {found.low:+.1f} "
        f"(level {config.level:g}, {counted}); "
        + (f"a loss of {config.margin:g} is ruled out" if ok else f"a loss above {config.margin:g} is not ruled out")
    )


def _category_reasons(
    name: str, categories: Sequence[_Category], worse: set[str], config: GateConfig
) -> Iterator[Reason]:
    if categories and not worse:
        weakest = min(categories, key=lambda category: category.found.low)
        text = (
            f"{name}: no category of {len(categories)} is shown to be worse by more than {config.category_margin:g}; "
            f"least certain is {weakest.name.partition('/')[2]}: {weakest.found.value:+.1f}, at worst "
            f"{weakest.found.low:+.1f} ({weakest.found.n} examples)"
        )
        yield Reason(ok=True, check="category", text=text)
    for category in categories:
        if category.name in worse:
            found = category.found
            text = (
                f"{category.name}: {found.value:+.1f} points to the champion, at best {found.high:+.1f} "
                f"({found.n} examples): worse by more than {config.category_margin:g}"
            )
            yield Reason(ok=False, check="category", text=text)


def _row(name: str, found: Difference, *, whole: bool, ok: bool) -> Compared:
    return Compared(name=name, whole=whole, difference=found.value, low=found.low, high=found.high, n=found.n, ok=ok)
