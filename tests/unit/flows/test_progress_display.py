from __future__ import annotations

import io
from collections.abc import Iterator

from rich.console import Console

from flows.progress_display import Bars, Lines, display_for, phrases


def clock(step: float = 1.0) -> Iterator[float]:
    now = 0.0
    while True:
        yield now
        now += step


def lines_of(updates: int, total: int) -> list[str]:
    told: list[str] = []
    ticks = clock()
    shown = Lines(told.append, lambda: next(ticks))
    shown.start("align")
    for done in range(1, updates + 1):
        shown.update("align", done, total, {"loss": 1.234567})
    shown.end("align", "100 steps")
    return told


def test_text_comes_at_every_tenth_and_at_the_end() -> None:
    told = lines_of(1000, 1000)
    assert len(told) == 11
    assert told[-1].endswith("100 steps")


def test_a_line_holds_count_loss_and_time_left() -> None:
    line = lines_of(5, 10)[-2]
    assert line.startswith("align")
    assert "5/10" in line and "loss 1.23457" in line and "left" in line


def test_a_stage_s_next_phase_starts_anew() -> None:
    told: list[str] = []
    shown = Lines(told.append, lambda: 0.0)
    shown.start("align")
    shown.update("align", 100, 100, {})
    shown.update("align", 1, 4, {})
    assert [line.split()[1].rstrip(",") for line in told] == ["100/100", "1/4"]


def test_a_rate_is_worked_out_where_none_is_given() -> None:
    assert phrases({}, 30, 10.0) == ["3/s"]
    assert phrases({"rate": "5 tok/s"}, 30, 10.0) == ["5 tok/s"]
    assert phrases({}, 0, 10.0) == []


def test_a_pipe_gets_text_and_a_terminal_gets_bars() -> None:
    assert isinstance(display_for(Console(file=io.StringIO())), Lines)
    bars = display_for(Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "xterm"}))
    bars.close()
    assert isinstance(bars, Bars)


def test_bars_keep_a_line_for_every_stage() -> None:
    out = io.StringIO()
    bars = Bars(Console(file=out, force_terminal=True, width=100, _environ={"TERM": "xterm"}))
    bars.start("base")
    bars.start("ingest")
    bars.update("ingest", 1, 2, {"quarantined": 0})
    bars.update("base", 0, 0, {})
    bars.end("ingest", "200 images [odd]")
    bars.end("base", "cached")
    bars.close()
    last = out.getvalue().rsplit("base", 1)[-1]
    assert "cached" in last
    assert "200 images [odd]" in out.getvalue()
