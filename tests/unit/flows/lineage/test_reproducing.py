"""A reproduction says which stage is the first to differ and why, and asks nobody anything."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from configs.settings import Settings
from flows.lineage.comparing import Around, Reproduction, causes_of, compare, lines
from flows.lineage.reproducing import recipe_of, reproduce
from flows.outcome import StageRecord
from tasks.artifacts import MadeBy
from tasks.chat.records import Message
from tasks.chat.silent import SilentClient
from tasks.errors import EndpointError, EnvironmentProblem, RegistryError
from tasks.ledger.ledger import Ledger, LedgerAsker, Request
from tasks.register.package import EXPERIMENT
from tasks.register.provenance import Made
from tests.fakes.chat_client import FakeClient
from tests.fakes.lineage_store import Chain, MadeRegistry

LIBRARIES = {"torch": "2", "ray": "2"}


def made(digest: str, **changed: object) -> Made:
    known = Made(
        digest=digest, key="k", uri="u", parents={}, code="c", config="d", created="", seconds=1.0, git_commit="a",
        git_dirty=False, libraries=LIBRARIES,
    )
    return known.model_copy(update=changed)


def record(stage: str, digest: str, code: str = "c", config: str = "d", torch: str = "2") -> StageRecord:
    by = MadeBy(stage=stage, code=code, config=config, libraries={**LIBRARIES, "torch": torch})
    return StageRecord(name=stage, cached=False, reason="", seconds=1.0, digest=digest, made_by=by)


HERE = {"Machine": "2 cores"}
SAME = Around(hardware=HERE, dirty=False)


def test_stages_are_compared_in_the_order_of_making_and_the_first_difference_is_named() -> None:
    before = {name: made(name) for name in ("align", "ingest", "shard")}
    now = {"ingest": record("ingest", "ingest"), "align": record("align", "x"), "shard": record("shard", "y")}
    stages = compare(before, now)
    assert [(one.stage, one.state) for one in stages] == [
        ("ingest", "equal"), ("shard", "differs"), ("align", "differs")
    ]
    found = Reproduction(model="m", version="1", notes=(), stages=stages, causes=("why",), root=None)
    assert not found.equal and "first difference: shard" in lines(found)
    assert Reproduction(model="m", version="1", notes=(), stages=stages[:1], causes=(), root=None).equal


@pytest.mark.parametrize(
    ("now", "around", "here", "said"),
    [
        (record("align", "x", code="e"), SAME, HERE, "code: the code of the stage differs"),
        (record("align", "x", code="e"), Around(hardware=HERE, dirty=True), HERE, "differed from its commit"),
        (record("align", "x", config="e"), SAME, HERE, "config:"),
        (record("align", "x", torch="3"), SAME, HERE, "library: torch was 2, is 3"),
        (record("align", "x"), SAME, {"Machine": "8 GPUs"}, "hardware: Machine was 2 cores, is 8 GPUs"),
        (record("align", "x"), SAME, HERE, "not deterministic"),
        (None, Around(hardware=HERE, dirty=False, error="no answer"), HERE, "not made: no answer"),
    ],
)
def test_the_likely_cause_is_what_changed(
    now: StageRecord | None, around: Around, here: dict[str, str], said: str
) -> None:
    (cause,) = causes_of(made("a"), now, around, here)
    assert said in cause


def test_only_what_the_ledger_knows_is_answered_and_nothing_is_claimed_or_sent(tmp_path: Path) -> None:
    known, new = (Request((Message("user", text),)) for text in ("known", "new"))
    client = FakeClient()
    with closing(Ledger(f"sqlite:///{tmp_path}/ledger.db")) as ledger:
        [(_, answer)] = LedgerAsker(ledger, client, "teacher").ask([known])
        silent = LedgerAsker(ledger, SilentClient(client), "teacher")
        [(_, again)] = silent.ask([known])
        assert again.reply == answer.reply and again.from_ledger and again.key == answer.key
        with pytest.raises(EndpointError, match="LLAVAFLOW_LEDGER_ONLY"):
            list(silent.ask([known, new]))
        assert ledger.open_requests() == []
    assert client.sent == ["known"]


def test_a_version_registered_by_other_means_cannot_be_made_again(tmp_path: Path) -> None:
    registry = MadeRegistry(kept=[("1", "", {})])
    with pytest.raises(RegistryError, match="by other means"):
        recipe_of("1", registry)


def test_a_commit_that_is_not_to_be_had_and_a_root_in_use_are_errors_with_a_remedy(tmp_path: Path) -> None:
    registry = MadeRegistry()
    Chain(tmp_path / "root").register(registry, "1", git_commit="0" * 40)
    registry.texts["1", EXPERIMENT] = "id: shapes\n"
    with pytest.raises(EnvironmentProblem, match="fetch it"):
        reproduce("1", registry, Settings(root=tmp_path / "root"), tmp_path / "again")
    with pytest.raises(EnvironmentProblem, match="is not empty"):
        reproduce("1", registry, Settings(root=tmp_path / "root"), tmp_path / "root")
