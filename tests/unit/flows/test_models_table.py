from __future__ import annotations

import io
from typing import get_args

import pytest
from pydantic import JsonValue
from rich.console import Console

from flows.models_table import moves, versions
from tasks.register.audit import AuditRecord, Event

ROW: dict[str, JsonValue] = {
    "version": "2", "aliases": ["champion"], "decision": "promote", "scores": {"scienceqa/avg": 61.54},
    "experiment": "shapes", "created": "2026-11-22T13:05:09+00:00",
}  # fmt: skip


def shown(what: object) -> str:
    out = io.StringIO()
    Console(file=out, width=80).print(what)
    return out.getvalue()


def test_a_version_takes_one_line_of_a_narrow_terminal() -> None:
    _, row = shown(versions([ROW])).splitlines()
    assert row.split() == ["2", "champion", "promote", "61.5", "shapes", "2026-11-22", "13:05"]


def test_an_empty_registry_says_how_to_fill_it() -> None:
    assert "llavaflow run" in shown(versions([]))
    assert "llavaflow run" in shown(moves([]))


def test_every_move_says_why() -> None:
    record = AuditRecord(
        time="2026-11-22T13:05:09+00:00", event="held", action="promote", model="m", alias="champion", before="1",
        after="2", run="shapes-1", reasons=("too few [right] answers",),
    )
    assert all(word in shown(moves([record])) for word in ("hold: version 2", "shapes-1", "too few [right] answers"))


@pytest.mark.parametrize("event", get_args(Event))
def test_every_event_of_the_trail_can_be_told(event: Event) -> None:
    record = AuditRecord(
        time="2026-11-22T13:05:09+00:00", event=event, action="promote", model="m", alias="champion", before="1",
        after="2", who="ada", run="shapes-1", until="2026-11-25T13:05:09+00:00",
    )
    told = shown(moves([record]))
    assert "ada, shapes-1" in " ".join(told.split()) and "version" in told and "2026-11-22 13:05 UTC" in told
