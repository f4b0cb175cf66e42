"""`llavaflow forget`: withdraw images, or take that back; the next runs leave them out and rebuild what had them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from configs.settings import Settings
from flows.lineage.catalogue import read_catalogue
from flows.lineage.upward import digests_of, is_known
from flows.places import store_of, withdrawn_of
from tasks.errors import DataError
from tasks.withdrawn import Withdrawal


def utc_now() -> str:
    """The time, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Forgotten:
    """What became of the list."""

    changed: tuple[Withdrawal, ...]
    """Lines that were added: images that were so already are not among them."""
    unseen: tuple[str, ...]
    """sha256 that no image set here has: they are kept out of later ones."""


def names_in(words: Sequence[str]) -> list[str]:
    """Images named on a command line: a word that is a file stands for its lines. Raises DataError for none at all."""
    names: list[str] = []
    for word in words:
        path = Path(word)
        found = path.read_text(encoding="utf-8").split("\n") if path.is_file() else [word]
        names += [name.strip() for name in found if name.strip()]
    if not names:
        raise DataError("no image is named; give its sha256 or its id, or a file with one a line")
    return list(dict.fromkeys(names))


def forget(
    names: Sequence[str], settings: Settings, who: str, reason: str, *, undo: bool = False,
    now: Callable[[], str] = utc_now,
) -> Forgotten:
    """Withdraw images, named by sha256 or id; with `undo`, let them in again. All of them or none.

    Raises DataError for an id that no image set here has, or that means several images.
    """
    kept = withdrawn_of(settings)
    withdrawn, store = kept.now(), store_of(settings)
    catalogue = read_catalogue(store)
    changed, unseen = [], []
    for name in names:
        earlier = {one.sha256 for one in withdrawn.values() if one.named == name} if undo else set[str]()
        found = earlier or digests_of(store, catalogue, name)
        if not found:
            raise DataError(f"nothing is changed: no image set here has an image {name!r}; give the sha256 of its file")
        if len(found) > 1:
            several = ", ".join(sorted(found))
            raise DataError(f"nothing is changed: {name!r} is the id of several images; give a sha256: {several}")
        (sha256,) = found
        if not undo and not is_known(store, catalogue, sha256):
            unseen.append(sha256)
        if undo == (sha256 in withdrawn):
            changed.append(
                Withdrawal(
                    sha256=sha256, event="restored" if undo else "withdrawn", time=now(), who=who, reason=reason,
                    named="" if name == sha256 else name,
                )
            )
    kept.append(changed)
    return Forgotten(tuple(changed), tuple(unseen))


def told(done: Forgotten) -> list[str]:
    """What became of the list, for the terminal."""
    lines = [f"{one.event}: {one.sha256}{f' ({one.named})' if one.named else ''}" for one in done.changed]
    lines += [f"no image set here has {sha256}: it is kept out of later ones" for sha256 in done.unseen]
    if not done.changed:
        return [*lines, "nothing changed: the list says so already"]
    return [*lines, "what has to be rebuilt: llavaflow plan; which models learned from one: llavaflow lineage --image"]


def listed(withdrawn: Sequence[Withdrawal]) -> list[str]:
    """The images that are withdrawn, for the terminal."""
    return [
        "  ".join(part for part in (one.sha256, one.time, one.who, one.named, one.reason) if part) for one in withdrawn
    ] or ["no image is withdrawn"]
