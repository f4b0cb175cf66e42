"""What the kept models need: which versions are kept, and every artifact that is reached from them by digest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from flows.lineage.catalogue import Catalogue
from flows.lineage.downward import stages_of
from flows.lineage.records import KnownVersion
from flows.lineage.versions import Versions
from tasks.register.audit import AuditRecord
from tasks.register.package import PROVENANCE
from tasks.register.settle import open_questions

Place = tuple[str, str]
"""Stage and key."""
PINNED = "pinned"


@dataclass
class Needed:
    """Where artifacts lie that are to be kept, each with the reason; and what of the kept versions is not there."""

    places: dict[Place, str] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def add(self, other: Needed) -> None:
        """Take over what something else needs."""
        self.places = other.places | self.places
        self.runs = other.runs | self.runs
        self.missing += other.missing


def kept_versions(
    versions: Sequence[KnownVersion], champion: str | None, trail: Sequence[AuditRecord]
) -> dict[str, str]:
    """Version to the reason why it is kept: the champion, the one before, whatever bears an alias or is pinned."""
    kept: dict[str, str] = {}
    for version in versions:
        if version.version == champion:
            kept[version.version] = "champion"
        elif version.aliases:
            kept[version.version] = f"alias {version.aliases[0]}"
        elif version.tags.get(PINNED, "").lower() == "true":
            kept[version.version] = "pinned"
    for before in previous_champions(versions, champion, trail):
        kept.setdefault(before, "previous champion")
    for asked in open_questions(trail):
        kept.setdefault(asked.after or "", "waits for approval")
    return kept


def previous_champions(
    versions: Sequence[KnownVersion], champion: str | None, trail: Sequence[AuditRecord]
) -> Iterator[str]:
    """The version that the alias pointed to before, by the trail, and those that versions with an alias replaced."""
    moves = [record for record in trail if record.event in {"done", "moved"}]
    yield from [record.before for record in moves if record.before and record.before != champion][-1:]
    yield from (one.tags["champion_before"] for one in versions if one.aliases and "champion_before" in one.tags)


def needed_by(
    catalogue: Catalogue, versions: Sequence[KnownVersion], kept: Mapping[str, str], registry: Versions
) -> Needed:
    """Everything that the kept versions were made of, and the checkpoints that any version's weights are linked to."""
    places: dict[Place, str] = {}
    runs: dict[str, str] = {}
    missing: list[str] = []
    for version in versions:
        if version.version in kept:
            why = f"version {version.version} ({kept[version.version]})"
            made = stages_of(registry.text(version.version, PROVENANCE), version.version)
            digests = {*version.data.values(), version.tags.get("checkpoint", ""), version.tags.get("evaluation", "")}
            digests |= {one.digest for one in made.values()}
            runs.setdefault(version.tags.get("run", ""), why)
            # Its folder may be needed though its manifest is gone: nobody can tell without it.
            for stage, one in made.items():
                places.setdefault((stage, one.key), why)
            missing += _reach(catalogue, digests - {""}, why, places)
            if not made and not version.data:
                missing.append(f"{why}: nothing says what it was made of")
        elif "weights" in version.tags:
            why = f"weights of version {version.version} are linked to it"
            missing += _reach(catalogue, {version.tags.get("checkpoint", "")} - {""}, why, places, parents=False)
    return Needed(places, runs, missing)


def reach(catalogue: Catalogue, start: Iterable[Place], why: str, places: dict[Place, str]) -> None:
    """Add artifacts and all they were made of to what is needed."""
    digests = {catalogue.by_place[place].manifest.digest for place in start if place in catalogue.by_place}
    _reach(catalogue, digests, why, places)


def _reach(
    catalogue: Catalogue, digests: Iterable[str], why: str, places: dict[Place, str], *, parents: bool = True
) -> Iterator[str]:
    """Returns a line for each digest that no artifact has."""
    seen, ahead, missing = set[str](), list(digests), []
    while ahead:
        digest = ahead.pop()
        if digest in seen:
            continue
        seen.add(digest)
        entries = catalogue.by_digest.get(digest, [])
        if not entries:
            missing.append(f"{why}: artifact {digest[:16]} is gone")
        for entry in entries:
            places.setdefault(entry.place, why)
            ahead += entry.manifest.parents.values() if parents else ()
    return iter(missing)
