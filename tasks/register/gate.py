"""The gate: two evaluations and thresholds in, a verdict with every reason out. Pure.

Without a champion the challenger must reach the absolute floors, be in good health (few unparsed answers, few failed
judgements, no training image in a test set) and stay under the ceilings. With one it must also have been measured as
the champion was, on the same examples, and

- over each benchmark as a whole it must be shown to be no worse than the champion by more than `margin` (the
  one-sided bound of the paired bootstrap at `level`): a small test set does not let a model pass, it holds it;
- under the rule `better` it must also be shown to be better over at least one benchmark as a whole (one-sided paired
  bootstrap, Bonferroni over the benchmarks, so that equal models pass no more often than `level`);
- in no category may it be shown to be worse by more than `category_margin` (Holm's correction over its categories
  keeps the chance of a false alarm at `level`): a gain in one category cannot hide a loss in another. Categories are
  too small to demand proof of the contrary, so the reason says how large a loss the examples leave possible.

A person is asked as `gate.approval` says: see `verdict.outcome_of`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from configs.schema import GateConfig
from tasks.register.comparison import Difference, Pair, difference, examples_to_find
from tasks.register.evidence import UNKNOWN, Benchmark, Evidence, Surroundings
from tasks.register.health import ceilings, floors, health, leak
from tasks.register.verdict import Compared, Reason, Verdict, outcome_of
from tasks.statistics import holm

RESAMPLES = 2000
NOT_RULES = {
    "blind", "bootstrap", "bootstrap_seed", "confidence", "interval", "limit", "max_failed_share", "rules", "seed",
}
"""Settings of a benchmark in which two evaluations may differ and still be compared: they shape its intervals, or which
examples were asked (compared one by one anyway), or say where the judge's rules lie (their digest counts)."""


class _Category(NamedTuple):
    name: str
    found: Difference


class _Whole(NamedTuple):
    """A benchmark as a whole: its difference, and the share of its examples on which the two differ."""

    name: str
    found: Difference
    differing: float


def decide(
    challenger: Evidence, champion: Evidence | None, config: GateConfig, seed: int,
    found: Surroundings = UNKNOWN, *, resamples: int = RESAMPLES,
) -> Verdict:
    """Decide on a challenger. Raises ConfigError if a floor names a score that the evaluation does not have."""
    reasons = [
        *floors(challenger, config), *health(challenger, config), *leak(found, config), *ceilings(found, config)
    ]
    compared: list[Compared] = []
    same_weights = champion is not None and champion.checkpoint == challenger.checkpoint
    if champion is None:
        reasons.append(Reason(ok=True, check="champion", text="there is no champion yet: only the floors count"))
    elif same_weights:
        reasons.append(Reason(ok=True, check="champion", text="these weights are the champion's: nothing to compare"))
    else:
        more, compared = _against(challenger, champion, config, seed, resamples)
        reasons += more
    verdict = outcome_of(reasons, config, same_weights=same_weights)
    if verdict == "needs_approval":
        reasons.append(Reason(ok=True, check="approval", text=f"gate.approval is {config.approval}: a person decides"))
    return Verdict(verdict=verdict, reasons=tuple(reasons), compared=tuple(compared))


def comparable(challenger: Evidence, champion: Evidence) -> bool:
    """Whether both were measured by the same rules and judge on the same examples; if not, evaluate the champion anew.

    A model is always comparable to itself.
    """
    if challenger.checkpoint == champion.checkpoint:
        return True
    return all(reason.ok for reason in _comparable(challenger, champion))


# ---------------------------------------------------------------------------------------------------- against it


def _against(
    challenger: Evidence, champion: Evidence, config: GateConfig, seed: int, resamples: int
) -> tuple[list[Reason], list[Compared]]:
    reasons, rows, wholes = [*_comparable(challenger, champion)], list[Compared](), list[_Whole]()
    if not all(reason.ok for reason in reasons):
        return reasons, rows
    for name in champion.benchmarks:
        found, compared, whole = _compare(name, challenger, champion, config, seed, resamples)
        reasons += found
        rows += compared
        wholes += whole
    if config.rule == "better":
        reasons += _improvement(wholes, config)
    return reasons, rows


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
) -> tuple[list[Reason], list[Compared], list[_Whole]]:
    """One benchmark: as a whole, then by category."""
    ours, theirs = challenger.benchmarks[name], champion.benchmarks[name]
    pairs = _pairs(ours, theirs)
    if not pairs:
        return [Reason(ok=False, check="overall", text=f"{name}: no example was judged for both models")], [], []
    found = difference(
        list(pairs.values()), margin=config.margin, level=config.level, resamples=resamples, seed=seed
    )
    ok = found.low > -config.margin
    whole = f"{name}/{ours.headline}"
    text = _overall_text(whole, found, len(ours.cases), config, ok)
    reasons = [Reason(ok=ok, check="overall", text=text, doubt=not ok and found.p_worse > config.level)]
    categories = _categories(name, ours, pairs, config, seed, resamples)
    adjusted = holm([category.found.p_worse for category in categories])
    worse = {category.name for category, p in zip(categories, adjusted, strict=True) if p <= config.level}
    reasons += _category_reasons(name, categories, worse, config)
    rows = [_row(whole, found, whole=True, ok=ok)]
    rows += [_row(category.name, category.found, whole=False, ok=category.name not in worse) for category in categories]
    differing = sum(pair.challenger != pair.champion for pair in pairs.values()) / len(pairs)
    return reasons, rows, [_Whole(whole, found, differing)]


def _categories(
    name: str, ours: Benchmark, pairs: dict[str, Pair], config: GateConfig, seed: int, resamples: int
) -> list[_Category]:
    groups = sorted({group for case in ours.cases.values() for group in case.groups} - {ours.headline})
    members = {group: [pair for key, pair in pairs.items() if group in ours.cases[key].groups] for group in groups}
    return [
        _Category(
            f"{name}/{group}",
            difference(some, margin=config.category_margin, level=config.level, resamples=resamples, seed=seed),
        )
        for group, some in members.items()
        if some
    ]


def _improvement(wholes: Sequence[_Whole], config: GateConfig) -> Iterator[Reason]:
    """Whether it is shown to be better over one benchmark at least, and how many examples that takes."""
    if not wholes:
        return
    best = min(wholes, key=lambda whole: whole.found.p_no_better)
    p = min(1.0, len(wholes) * best.found.p_no_better)
    ok = p <= config.level
    needed = examples_to_find(config.detectable_gain, best.differing, config.level / len(wholes), config.power)
    text = (
        f"{best.name}: a gain is {'shown' if ok else 'not shown'} ({best.found.value:+.1f} points, p {p:.3g}, level "
        f"{config.level:g}); one of {config.detectable_gain:g} is found {config.power:.0%} of the time from {needed} "
        f"examples on, there are {best.found.n}"
    )
    open_question = any(whole.found.high > 0 for whole in wholes)
    yield Reason(ok=ok, check="improvement", text=text, doubt=not ok and open_question)


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
