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


def moves(records: Sequence[AuditRecord]) -> Table | str:
    """A row a record of the trail, oldest first."""
    if not records:
        return "nothing was decided yet: llavaflow run"
    table = _table("time", "what", "before", "version", "run", "why")
    for record in records:
        what = f"{record.action} {record.event}"
        told = (moment(record.time), what, record.before or "none", record.after or "none", record.run)
        table.add_row(*map(Text, told), Text("\n".join(record.reasons)))
    return table


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
