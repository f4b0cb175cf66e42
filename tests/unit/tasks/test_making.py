from __future__ import annotations

import threading
from pathlib import Path

from tasks.artifacts import ImageSet
from tasks.code import CodeState
from tasks.making import Made, make, only_one, sweep
from tasks.progress import Progress, Silent
from tasks.stages import Built, StageSpec
from tasks.storage import Store

SPEC = StageSpec("ingest", ImageSet, ("tasks/progress.py",), 1)


def state() -> CodeState:
    return CodeState(None, None, {})


class Notes(Silent):
    """Progress that keeps what is noted."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.noted = threading.Event()

    def note(self, message: str) -> None:
        self.notes.append(message)
        self.noted.set()


def test_two_that_want_the_same_at_once_build_it_once(tmp_path: Path) -> None:
    store, built = Store(str(tmp_path / "cache"), tmp_path / "scratch"), list[str]()
    second_waits = Notes()
    made: dict[str, Made[ImageSet]] = {}

    def build(folder: Path, progress: Progress) -> Built:
        built.append("once")
        second.start()
        assert second_waits.noted.wait(10), "the second one is to wait for the first"
        (folder / "a").write_text("a")
        return Built()

    def ask(name: str, progress: Progress) -> None:
        made[name] = make(store, tmp_path / "locks", SPEC, build, progress, state)

    second = threading.Thread(target=ask, args=("second", second_waits))
    ask("first", Silent())
    second.join(20)
    assert built == ["once"]
    assert (made["first"].cached, made["second"].cached) == (False, True)
    assert made["first"].artifact == made["second"].artifact


def test_a_build_that_fails_lets_the_next_try(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "cache"), tmp_path / "scratch")
    outcomes = iter([ValueError("no"), None])

    def build(folder: Path, progress: Progress) -> Built:
        if error := next(outcomes):
            raise error
        (folder / "a").write_text("a")
        return Built()

    for _ in range(2):
        try:
            made = make(store, tmp_path / "locks", SPEC, build, Silent(), state)
        except ValueError:
            continue
    assert not made.cached
    assert make(store, tmp_path / "locks", SPEC, build, Silent(), state).cached


def test_what_a_killed_build_left_is_swept_and_a_running_one_s_is_not(tmp_path: Path) -> None:
    store, locks = Store(str(tmp_path / "cache"), tmp_path / "scratch"), tmp_path / "locks"
    key = "0123456789abcdef" * 2
    dead = store.workspace("ingest", key)
    (dead / "half").write_text("a")
    (locks).mkdir()
    (locks / f"ingest-{key}.lock").touch()
    with only_one(locks / f"shard-{key}.lock", Silent()):
        alive = store.workspace("shard", key)
        sweep(store.scratch, locks)
    assert not dead.exists()
    assert alive.exists()


def test_a_lock_is_free_again_after_use(tmp_path: Path) -> None:
    for _ in range(2):
        with only_one(tmp_path / "lock", Silent()) as waited:
            assert not waited
