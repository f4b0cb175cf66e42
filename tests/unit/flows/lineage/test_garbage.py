"""Garbage: nothing goes that a champion, the one before, a pinned or a linked version needs; all else is listed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from configs.settings import Settings
from flows.lineage.garbage import Garbage, collect, lines
from flows.lineage.reachable import kept_versions
from flows.lineage.records import KnownVersion
from flows.outcome import Outcome, StageRecord
from flows.run import RESULT
from tasks.artifacts import MANIFEST
from tasks.errors import EnvironmentProblem
from tasks.making import running
from tasks.register.audit import AuditRecord
from tests.fakes.lineage_store import Chain, MadeRegistry


@pytest.fixture
def registry() -> MadeRegistry:
    return MadeRegistry()


def chains(home: Path, *salts: str) -> list[Chain]:
    """Models of images of their own: none shares an artifact with another."""
    return [Chain(home, salt, [f"{salt}-1", f"{salt}-2"]) for salt in salts]


def moved(before: str | None, after: str) -> AuditRecord:
    return AuditRecord(
        time="2026-11-22T12:00:00+00:00", event="done", action="promote", model="llavaflow", alias="champion",
        before=before, after=after,
    )


def swept(
    home: Path, registry: MadeRegistry, trail: Sequence[AuditRecord] = (), *, apply: bool = True,
    everything: bool = False,
) -> Garbage:
    return collect([(registry, trail)], Settings(root=home), apply=apply, everything=everything)


def left(home: Path) -> set[str]:
    return {str(path.parent.relative_to(home / "cache")) for path in home.glob(f"cache/*/*/{MANIFEST}")}


def artifacts(chain: Chain) -> set[str]:
    return {f"{stage}/{one.key}" for stage, one in chain.made.items()}


def test_nothing_that_is_reached_from_a_champion_goes_and_everything_else_does(
    tmp_path: Path, registry: MadeRegistry
) -> None:
    champion, other, unregistered = chains(tmp_path, "a", "b", "c")
    champion.register(registry, "1")
    other.register(registry, "2")
    registry.pointed["champion"] = "1"
    found = swept(tmp_path, registry)
    assert left(tmp_path) == artifacts(champion)
    gone = {item.name for item in found.waste}
    assert len(gone) == len(artifacts(other) | artifacts(unregistered))
    assert all(champion.store.verify(stage, manifest) == [] for stage, one in champion.made.items()
               if (manifest := champion.store.manifest(stage, one.key)))  # fmt: skip


def test_the_previous_champion_pinned_and_aliased_versions_are_kept_whole(
    tmp_path: Path, registry: MadeRegistry
) -> None:
    before, champion, pinned, aliased, other = chains(tmp_path, "a", "b", "c", "d", "e")
    for number, chain in enumerate((before, champion, pinned, aliased, other), 1):
        chain.register(registry, str(number), **({"pinned": "true"} if chain is pinned else {}))
    registry.pointed |= {"champion": "2", "canary": "4"}
    swept(tmp_path, registry, [moved(None, "1"), moved("1", "2")])
    assert left(tmp_path) == artifacts(before) | artifacts(champion) | artifacts(pinned) | artifacts(aliased)


def test_the_checkpoint_that_a_version_s_weights_are_linked_to_is_kept(tmp_path: Path, registry: MadeRegistry) -> None:
    champion, linked = chains(tmp_path, "a", "b")
    champion.register(registry, "1")
    linked.register(registry, "2", weights=f"{linked.made['instruct'].uri}/model")
    registry.pointed["champion"] = "1"
    swept(tmp_path, registry)
    assert left(tmp_path) - artifacts(champion) == {f"instruct/{linked.made['instruct'].key}"}


def test_without_apply_nothing_goes(tmp_path: Path, registry: MadeRegistry) -> None:
    (chain,) = chains(tmp_path, "a")
    found = swept(tmp_path, registry, apply=False)
    assert left(tmp_path) == artifacts(chain) and len(found.waste) == len(artifacts(chain))
    assert "to be removed by --apply" in "\n".join(lines(found))


def ran(home: Path, chain: Chain, run: str, started: str) -> None:
    """The record of a run that made the artifacts."""
    stages = tuple(
        StageRecord(name=stage, cached=False, reason="", seconds=1.0, uri=one.uri, digest=one.digest)
        for stage, one in chain.made.items()
    )
    outcome = Outcome(
        run=run, experiment="shapes", tag="", status="finished", started=started, seconds=1.0, folder="", stages=stages
    )
    (home / run).mkdir()
    (home / run / RESULT).write_text(outcome.model_dump_json())


def test_the_newest_of_an_experiment_is_kept_unless_all_is_to_go(tmp_path: Path, registry: MadeRegistry) -> None:
    old, new = chains(tmp_path, "a", "b")
    ran(tmp_path, old, "shapes-1", "2026-11-01T00:00:00+00:00")
    ran(tmp_path, new, "shapes-2", "2026-11-02T00:00:00+00:00")
    swept(tmp_path, registry)
    assert left(tmp_path) == artifacts(new)
    assert (tmp_path / "shapes-2").is_dir() and not (tmp_path / "shapes-1").exists()
    swept(tmp_path, registry, everything=True)
    assert left(tmp_path) == set() and not (tmp_path / "shapes-2").exists()


def test_work_of_an_unfinished_stage_is_kept_and_that_of_a_finished_one_goes(
    tmp_path: Path, registry: MadeRegistry
) -> None:
    (chain,) = chains(tmp_path, "a")
    chain.register(registry, "1")
    registry.pointed["champion"] = "1"
    finished, unfinished = (
        tmp_path / "work" / f"instruct-{key}" for key in (chain.made["instruct"].key[:16], "0123456789abcdef")
    )
    for folder in (finished, unfinished):
        folder.mkdir(parents=True)
    lock = unfinished.with_name(f"{unfinished.name}.lock")
    lock.touch()
    ledger = tmp_path / "ledger.db"
    ledger.write_text("paid")
    swept(tmp_path, registry)
    assert unfinished.is_dir() and not finished.exists() and ledger.read_text() == "paid"
    assert lock.is_file()


def test_while_a_run_goes_on_it_refuses(tmp_path: Path, registry: MadeRegistry) -> None:
    (chain,) = chains(tmp_path, "a")
    with running(tmp_path / "locks"), pytest.raises(EnvironmentProblem, match="a run goes on"):
        swept(tmp_path, registry)
    assert left(tmp_path) == artifacts(chain)


def test_a_folder_whose_manifest_is_gone_stays_if_a_kept_version_names_it_and_goes_if_none_does(
    tmp_path: Path, registry: MadeRegistry
) -> None:
    champion, other = chains(tmp_path, "a", "b")
    champion.register(registry, "1")
    registry.pointed["champion"] = "1"
    (other.folder("align") / MANIFEST).unlink()
    swept(tmp_path, registry)
    assert not other.folder("align").exists()
    (champion.folder("align") / MANIFEST).unlink()
    found = swept(tmp_path, registry)
    assert champion.folder("align").is_dir() and champion.folder("base").is_dir()
    assert any("is gone" in line for line in found.missing)


def test_a_kept_version_without_lineage_is_told_and_folders_without_manifest_stay(
    tmp_path: Path, registry: MadeRegistry
) -> None:
    registry.kept.append(("1", "", {}))
    registry.pointed["champion"] = "1"
    (chain,) = chains(tmp_path, "a")
    (chain.folder("align") / MANIFEST).unlink()
    found = swept(tmp_path, registry)
    assert "nothing says what it was made of" in found.missing[0] and chain.folder("align").is_dir()


def test_a_version_that_waits_for_approval_is_kept() -> None:
    asked = moved("1", "2").model_copy(update={"event": "waits", "run": "r"})
    versions = [KnownVersion(version=version, aliases=(), tags={}) for version in ("1", "2")]
    assert kept_versions(versions, None, [asked]) == {"2": "waits for approval"}
