"""`llavaflow gc`: what no kept model needs, listed, and removed where that is asked for; never the ledger."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import ValidationError

from configs.settings import Settings
from flows.lineage.catalogue import Catalogue, Entry, read_catalogue
from flows.lineage.reachable import Needed, Place, kept_versions, needed_by, reach
from flows.lineage.versions import Versions, known_versions
from flows.outcome import Outcome
from flows.places import store_of
from flows.run import RESULT
from tasks.artifacts import Frozen
from tasks.errors import EnvironmentProblem
from tasks.making import alone
from tasks.register.audit import AuditRecord
from tasks.storage import Store

GRACE = timedelta(hours=48)
"""In a store that other machines write to, what is younger is kept: their runs hold no lock that is seen here."""
KEY_SHOWN = 12


class Item(Frozen):
    """Something that lies there, and what is to become of it."""

    kind: str
    """artifact, unfinished (no manifest), work, fetched (a local copy of a remote artifact), or run."""
    name: str
    where: str
    size: int
    keep: bool
    reason: str


@dataclass(frozen=True)
class Garbage:
    """What was found."""

    items: tuple[Item, ...]
    missing: tuple[str, ...]
    """What the kept versions need and is not there."""
    applied: bool = False

    @property
    def waste(self) -> tuple[Item, ...]:
        """What may go."""
        return tuple(item for item in self.items if not item.keep)


def collect(
    models: Sequence[tuple[Versions, Sequence[AuditRecord]]], settings: Settings, *, apply: bool = False,
    everything: bool = False, now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Garbage:
    """Find what no kept model needs; with `apply`, remove it. `everything`: also what is kept for its newness.

    `models` are all registered models, each with its audit trail: they share the store.

    Raises EnvironmentProblem while a run goes on.
    """
    home = settings.home()
    with alone(home / "locks") as quiet:
        if not quiet:
            raise EnvironmentProblem("a run goes on, and may need what would be removed; try again when it has ended")
        store = store_of(settings)
        catalogue, needed = read_catalogue(store), Needed()
        for registry, trail in models:
            versions = known_versions(registry)
            kept = kept_versions(versions, registry.champion(), trail)
            needed.add(needed_by(catalogue, versions, kept, registry))
        runs = outcomes(home)
        if not everything:
            _newest(catalogue, runs, needed)
        if store.remote:
            _young(catalogue, needed, now() - GRACE)
        items = (
            *_artifacts(store, catalogue, needed), *_work(home, catalogue, needed, everything),
            *_fetched(store, needed), *_runs(home, runs, needed, everything),
        )
        if apply:
            for item in items:
                if not item.keep:
                    _remove(store, item)
    return Garbage(items, tuple(needed.missing), apply)


def outcomes(home: Path) -> list[Outcome]:
    """The ended runs, newest first; those whose result cannot be read are left alone."""
    found = []
    for path in home.glob(f"*/{RESULT}"):
        try:
            found.append(Outcome.model_validate_json(path.read_bytes()))
        except ValidationError:
            continue
    return sorted(found, key=lambda outcome: (outcome.started, outcome.run), reverse=True)


def lines(garbage: Garbage) -> Iterator[str]:
    """What was found, for the terminal."""
    for item in sorted(garbage.items, key=lambda item: (item.keep, item.kind, item.name)):
        what = "keep" if item.keep else ("removed" if garbage.applied else "remove")
        yield f"{what:8} {item.size / 1e6:10,.1f} MB  {item.kind:10} {item.name}: {item.reason}"
    yield from (f"not there: {line}" for line in garbage.missing)
    size = sum(item.size for item in garbage.waste)
    did = "removed" if garbage.applied else "to be removed by --apply"
    yield f"{len(garbage.waste)} things, {size / 1e6:,.1f} MB {did}; the ledger stays as it is"


# ---------------------------------------------------------------------------------------------------- what is kept


def _newest(catalogue: Catalogue, runs: Sequence[Outcome], needed: Needed) -> None:
    """The newest artifact of each stage of an experiment, with what it was made of, and the newest run."""
    seen = set[tuple[str, str]]()
    for outcome in runs:
        why = f"newest of {outcome.experiment}"
        if (outcome.experiment, "") not in seen:
            seen.add((outcome.experiment, ""))
            needed.runs.setdefault(outcome.run, why)
        for stage in outcome.stages:
            if stage.uri is None or (outcome.experiment, stage.name) in seen:
                continue
            place = _place(stage.uri)
            if place in catalogue.by_place:
                seen.add((outcome.experiment, stage.name))
                reach(catalogue, [place], why, needed.places)


def _young(catalogue: Catalogue, needed: Needed, since: datetime) -> None:
    for entry in catalogue.entries:
        if _made(entry) > since:
            reach(catalogue, [entry.place], "made within the last two days, maybe by a run elsewhere", needed.places)


def _made(entry: Entry) -> datetime:
    created = entry.manifest.made_by.created
    return datetime.fromisoformat(created) if created else datetime.min.replace(tzinfo=UTC)


def _place(uri: str) -> Place:
    stage, key = uri.rstrip("/").rsplit("/", 2)[1:]
    return stage, key


# ---------------------------------------------------------------------------------------------------- what there is


def _artifacts(store: Store, catalogue: Catalogue, needed: Needed) -> Iterator[Item]:
    for entry in catalogue.entries:
        size = sum(file.size for file in entry.manifest.files.values())
        yield _item("artifact", store, entry.place, size, needed.places, "no kept model needs it")
    for place in catalogue.without_manifest:
        keep = dict(needed.places)
        if needed.missing or store.remote:
            # It may be what a kept version lacks, or what a run on another machine is about to finish.
            keep.setdefault(place, "it has no manifest, so nobody can tell whose it is")
        yield _item("unfinished", store, place, store.size(*place), keep, "it has no manifest: a leftover")


def _item(
    kind: str, store: Store, place: Place, size: int, keep: Mapping[Place, str], otherwise: str
) -> Item:
    stage, key = place
    reason = keep.get(place)
    return Item(
        kind=kind, name=f"{stage}/{key[:KEY_SHOWN]}", where=store.uri(stage, key), size=size, keep=reason is not None,
        reason=reason or otherwise,
    )


def _work(home: Path, catalogue: Catalogue, needed: Needed, everything: bool) -> Iterator[Item]:
    """Folders for what a stage wants to find again after a crash; named by stage and the beginning of the key."""
    finished = {f"{stage}-{key[:16]}" for stage, key in catalogue.by_place}
    # Beside the folders lie their locks, which stay: somebody may be about to take one.
    for folder in sorted(path for path in (home / "work").glob("*") if path.is_dir()):
        done = folder.name in finished
        keep = not (done or everything)
        reason = "its stage is finished" if done else "left by a run that ended"
        reason = "the stage goes on from it" if keep else reason
        yield Item(kind="work", name=folder.name, where=str(folder), size=_size(folder), keep=keep, reason=reason)


def _fetched(store: Store, needed: Needed) -> Iterator[Item]:
    """Local copies of remote artifacts: fetched again when they are wanted."""
    for folder in sorted((store.scratch / "fetched").glob("*")):
        reason = next((why for (_, key), why in needed.places.items() if folder.name.startswith(key)), None)
        yield Item(
            kind="fetched", name=folder.name[:KEY_SHOWN], where=str(folder), size=_size(folder),
            keep=reason is not None, reason=reason or "a copy of what no kept model needs",
        )


def _runs(home: Path, runs: Sequence[Outcome], needed: Needed, everything: bool) -> Iterator[Item]:
    for outcome in runs:
        reason = needed.runs.get(outcome.run)
        yield Item(
            kind="run", name=outcome.run, where=str(home / outcome.run), size=_size(home / outcome.run),
            keep=reason is not None, reason=reason or "no kept model came of it",
        )


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _remove(store: Store, item: Item) -> None:
    if item.kind in ("artifact", "unfinished"):
        store.remove(*_place(item.where))
    else:
        shutil.rmtree(item.where)
