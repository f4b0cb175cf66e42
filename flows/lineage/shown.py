"""Lineage as lines for the terminal, and as a page by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from flows.lineage.records import Downward, Learner, Upward

FIRST = 5
"""So many of a long list are named on the terminal; the page and JSON have all."""
STYLE = "body{font:15px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}pre{white-space:pre-wrap}"


def downward_lines(found: Downward, *, full: bool = False) -> Iterator[str]:
    """What a version came from."""
    aliases = f" ({', '.join(found.aliases)})" if found.aliases else ""
    yield f"{found.model} version {found.version}{aliases}"
    yield from (f"  {name}: {value}" for name, value in found.origin.items())
    for part in found.parts:
        some = list(part.counts.items())[: None if full else FIRST]
        counts = ", ".join(f"{number:,} {name}" for name, number in some)
        made = f", made {part.made['created']}" if part.made.get("created") else ""
        dirty = ", of altered code" if part.made.get("git_dirty") else ""
        yield f"  {part.stage}  {part.digest[:16]}  {part.state}{made}{dirty}{f': {counts}' if counts else ''}"
    if found.learned:
        yield "  learned from " + ", ".join(f"{number:,} {name}" for name, number in found.learned.items())
    if found.prompts:
        yield f"  teacher {found.teacher}, prompts {found.prompts}"
    named = [f"{one.shard} ({one.samples:,} samples, sha256 {one.sha256[:16]})" for one in found.shards]
    yield from _listed("shards", named, full)
    yield from (f"  not known: {line}" for line in found.unknown)


def upward_lines(found: Upward, *, full: bool = False) -> Iterator[str]:
    """What learned from an image, an answer or a set of prompts."""
    yield found.subject
    for talk in found.conversations:
        yield from _listed(f"conversations of {talk.digest[:16]}", talk.samples, full)
    for use in found.uses:
        kept = ", which no stage trains on" if use.stage.startswith("held_out") else ""
        yield from _listed(f"{use.stage} samples of shard set {use.digest[:16]}{kept}", use.samples, full)
        yield from _listed("  their shards", use.shards, full)
    yield from (f"  checkpoint {one.name} {one.digest[:16]}: {one.why}" for one in found.checkpoints)
    yield from (_version(one) for one in found.versions)
    if not found.versions:
        yield "  no version of the registry is known to have learned from it"
    yield from (f"  not known: {line}" for line in found.unknown)


def page(title: str, lines: Iterator[str]) -> str:
    """The lines as an HTML page that needs nothing else."""
    body = escape("\n".join(lines))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style><h1>{escape(title)}</h1><pre>{body}</pre></html>\n"
    )


def _version(one: Learner) -> str:
    aliases = f" ({', '.join(one.aliases)})" if one.aliases else ""
    return f"  VERSION {one.name}{aliases}: {one.why}"


def _listed(what: str, named: Sequence[str], full: bool) -> Iterator[str]:
    if not named:
        return
    shown = named if full else named[:FIRST]
    more = f", and {len(named) - len(shown):,} more" if len(shown) < len(named) else ""
    yield f"  {len(named):,} {what}: {', '.join(shown)}{more}"
