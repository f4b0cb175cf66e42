"""Two makings of a model, stage by stage: equal, or the first that differs and what is likely to be the cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from flows.outcome import StageRecord
from tasks.artifacts import Frozen
from tasks.register.provenance import Made

ORDER = ("ingest", "generate", "shard", "base", "align", "instruct", "evaluate")


class Compared(Frozen):
    """One stage."""

    stage: str
    state: Literal["equal", "differs", "not made"]
    before: str
    """Digest that is recorded."""
    now: str | None


class Reproduction(Frozen):
    """What came of a reproduction."""

    model: str
    version: str
    notes: tuple[str, ...]
    """What has to be known of how it was made again."""
    stages: tuple[Compared, ...]
    causes: tuple[str, ...]
    """Of the first stage that is not equal, likeliest first; empty if all are."""
    root: str | None
    """Where the reproduction lies; None once it is removed."""

    @property
    def equal(self) -> bool:
        """Whether every stage came out the same."""
        return all(stage.state == "equal" for stage in self.stages)

    @property
    def first(self) -> Compared | None:
        """The first stage that is not equal."""
        return next((stage for stage in self.stages if stage.state != "equal"), None)


class Around(Frozen):
    """What of the surroundings may be a cause."""

    hardware: Mapping[str, str]
    dirty: bool
    """Whether the code differed from its commit when the model was made."""
    error: str | None = None
    """What ended the reproduction early."""
    files: tuple[str, ...] = ()
    """Files of the first differing artifact that differ, where both are there."""


def compare(before: Mapping[str, Made], now: Mapping[str, StageRecord]) -> tuple[Compared, ...]:
    """The stages in the order of making, those that the version records."""
    return tuple(_compared(stage, before[stage], now.get(stage)) for stage in ORDER if stage in before)


def causes_of(before: Made, now: StageRecord | None, then: Around, here: Mapping[str, str]) -> tuple[str, ...]:
    """Why a stage whose parents are equal may have come out otherwise, likeliest first."""
    if now is None or now.made_by is None:
        return (f"the stage was not made: {then.error or 'no reason is known'}",)
    by = now.made_by
    found: list[str] = []
    if by.code != before.code:
        dirty = "it was made by code that differed from its commit" if then.dirty else "the code of the stage differs"
        found.append(f"code: {dirty} (digest {before.code[:12]}, now {by.code[:12]})")
    if by.config != before.config:
        found.append("config: the part that the stage reads differs, which includes fingerprints of the data's files")
    for what, was, now_is in (("library", before.libraries, by.libraries), ("hardware", then.hardware, here)):
        found += [f"{what}: {name} was {one}, is {other}" for name, one, other in _changed(was, now_is)]
    found = found or ["code, config, libraries and hardware are the same: the stage is not deterministic here"]
    return (*found, *([f"files that differ: {', '.join(then.files)}"] if then.files else []))


def lines(found: Reproduction) -> list[str]:
    """What came of it, for the terminal."""
    shown = [
        f"  {stage.stage:9} {stage.state:9} {stage.before[:16]}"
        + (f", now {stage.now[:16]}" if stage.now and stage.now != stage.before else "")
        for stage in found.stages
    ]
    first = found.first
    end = "equal: every stage came out the same" if first is None else f"first difference: {first.stage}"
    kept = [f"it lies in {found.root}"] if found.root else []
    return [f"{found.model} version {found.version}", *found.notes, *shown, end, *found.causes, *kept]


def _compared(stage: str, before: Made, now: StageRecord | None) -> Compared:
    digest = None if now is None else now.digest
    if digest is None:
        return Compared(stage=stage, state="not made", before=before.digest, now=None)
    return Compared(
        stage=stage, state="equal" if digest == before.digest else "differs", before=before.digest, now=digest
    )


def _changed(before: Mapping[str, str], now: Mapping[str, str]) -> Sequence[tuple[str, str, str]]:
    names = sorted(before.keys() | now.keys())
    return [
        (name, before.get(name, "none"), now.get(name, "none")) for name in names if before.get(name) != now.get(name)
    ]
