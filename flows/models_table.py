"""The registry's versions, and who became champion when, as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import JsonValue
from rich.table import Table
from rich.text import Text

from tasks.register.audit import AuditRecord
from tasks.report.words import moment

SHOWN = {
    "scienceqa/avg": "sqa", "scienceqa/img": "sqa img", "scienceqa/img_blind": "blind", "llava_bench/all": "bench",
}


def versions(rows: Sequence[Mapping[str, JsonValue]]) -> Table | str:
    """A row a version, newest first."""
    if not rows:
        return "no version is registered yet: llavaflow run"
    table = _table("version", "aliases", "decision", *SHOWN.values(), "experiment", "created")
    for row in rows:
        scores, aliases = row["scores"], row["aliases"]
        assert isinstance(scores, dict) and isinstance(aliases, list)
        figures = [f"{score:.1f}" if isinstance(score := scores.get(name), float | int) else "" for name in SHOWN]
        decision, experiment, created = (str(row.get(name) or "") for name in ("decision", "experiment", "created"))
        names, when = ", ".join(map(str, aliases)), moment(created).removesuffix(" UTC")
        table.add_row(str(row["version"]), names, decision, *figures, Text(experiment), when)
    return table


def moves(records: Sequence[AuditRecord]) -> Text | str:
    """A paragraph a record of the trail, oldest first: when, what, who, then why, a line a reason."""
    if not records:
        return "nothing was decided yet: llavaflow run"
    return Text("\n").join(_paragraph(record) for record in records)


def _paragraph(record: AuditRecord) -> Text:
    alias, version = record.alias, record.after or "none"
    what = {
        "intent": f"about to {record.action}: version {version}",
        "done": f"{record.action}: {alias} is version {version}, was {record.before or 'none'}",
        "abandoned": f"{record.action} came to nothing: {alias} is version {version}",
        "held": f"hold: version {version}; {alias} is version {record.before or 'none'}",
        "moved": f"moved by other means: {alias} is version {version}, was {record.before or 'none'}",
        "waits": f"waits for approval until {moment(record.until) if record.until else 'answered'}: version {version}",
        "approved": f"approved: version {version}",
        "rejected": f"rejected: version {version}",
        "alert": f"ALERT: version {record.before or 'none'} is taken back",
    }[record.event]
    told = ", ".join(part for part in (record.who, record.run) if part)
    text = Text(f"{moment(record.time)}  ").append(what, style="bold").append(f"  ({told})" if told else "")
    # An intent has the reasons of its outcome, which follows.
    for reason in record.reasons if record.event != "intent" else ():
        text.append(f"\n    {reason}")
    return text


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
