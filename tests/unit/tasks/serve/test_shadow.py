"""A challenger answers a share of the traffic beside the champion; only the champion's answer is returned."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tasks.serve.asked import Engine
from tasks.serve.shadow import chosen
from tests.fakes.serving import Echo, Endpoint, Versions, asking, data_uri, knobs, parts, picture, serving, until


class Both(Versions):
    """The registry opens champion's and challenger's engines alike."""

    async def open(self, folder: Path) -> Engine:
        return self.engines[str(folder)]


def pairs(path: Path) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(path)) as database:
        columns = "conversation, champion, champion_answer, challenger, challenger_answer"
        return database.execute(f"select {columns} from pairs order by at").fetchall()


def running(tmp_path: Path, share: float = 1.0) -> tuple[Both, Versions, Any]:
    champion = Both({"1": Echo("one"), "9": Echo("nine")})
    challenger = Versions(alias="9")
    config = knobs(shadow={"model": "models:/llavaflow@challenger", "share": share, "waiting": 2})
    return champion, challenger, serving(parts(champion, config, challenger=challenger, pairs=tmp_path / "x" / "p.db"))


def says(endpoint: Endpoint, model: str = "llavaflow", **more: Any) -> str:
    body: Any = {**asking("hello", data_uri(picture()), **more), "model": model}
    return str(endpoint.client().chat.completions.create(**body).choices[0].message.content)


def both_ready(endpoint: Endpoint) -> bool:
    return endpoint.gateway.challenger is not None and endpoint.gateway.challenger.ready


def test_both_answer_and_the_pair_is_stored(tmp_path: Path) -> None:
    _, _, serve = running(tmp_path)
    with serve as endpoint:
        until(lambda: both_ready(endpoint))
        assert says(endpoint).startswith("one ")
        until(lambda: endpoint.figure("llavaflow_shadowed_total", outcome="stored") == 1)
    path = tmp_path / "x" / "p.db"
    (stored,) = pairs(path)
    assert stored[0] == '[["user", "hello"]]' and stored[1::2] == ("1", "9")
    assert stored[2].startswith("one ") and stored[4].startswith("nine ")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600, "it holds what people wrote"


def test_a_challenger_that_breaks_or_is_slow_costs_the_champion_nothing(tmp_path: Path) -> None:
    champion, _, serve = running(tmp_path)
    with serve as endpoint:
        until(lambda: both_ready(endpoint))
        champion.engines["9"].breaks = True
        assert says(endpoint).startswith("one ")
        until(lambda: endpoint.figure("llavaflow_shadowed_total", outcome="failed") == 1)
        champion.engines["9"].breaks, champion.engines["9"].held = False, True
        assert [says(endpoint)[:4] for _ in range(5)] == ["one "] * 5
        assert endpoint.figure("llavaflow_shadowed_total", outcome="left_out") == 3
        champion.engines["9"].held = False
        until(lambda: endpoint.figure("llavaflow_shadowed_total", outcome="stored") == 2)


def test_the_challenger_can_be_asked_by_its_own_name_and_shadows_nothing_then(tmp_path: Path) -> None:
    _, _, serve = running(tmp_path)
    with serve as endpoint:
        until(lambda: both_ready(endpoint))
        assert [one.id for one in endpoint.client().models.list().data] == ["llavaflow", "llavaflow@challenger"]
        assert says(endpoint, "llavaflow@challenger").startswith("nine ")
    assert pairs(tmp_path / "x" / "p.db") == []


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (1.0, 10_000, 10_000), (0.1, 900, 1100)])
def test_the_share_is_a_share(share: float, least: int, most: int) -> None:
    assert least <= sum(chosen(str(number), share) for number in range(10_000)) <= most
