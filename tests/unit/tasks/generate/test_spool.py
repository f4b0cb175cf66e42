"""Rows on disk by number."""

from __future__ import annotations

from pathlib import Path

from tasks.generate.spool import Spool


def test_rows_come_back_by_number_in_any_order_and_leave_no_file(tmp_path: Path) -> None:
    with Spool(tmp_path, 5) as spool:
        spool[3] = "three \u4e09"
        spool[0] = ""
        assert spool[3] == "three \u4e09"
        spool[4] = "four"
        assert [spool[4], spool[0], spool[3]] == ["four", "", "three \u4e09"]
        assert [number in spool for number in range(5)] == [True, False, False, True, True]
        assert len(spool) == 3
        assert list(tmp_path.iterdir()) == []
