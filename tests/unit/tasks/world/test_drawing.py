from __future__ import annotations

from pathlib import Path

from tasks.world import drawing
from tasks.world.drawing import Picture, draw_all
from tasks.world.scene import make_scene


class Counted:
    """Progress that remembers."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []

    def update(self, done: int, total: int, **shown: float | str) -> None:
        self.steps.append((done, total))

    def note(self, message: str) -> None:
        raise AssertionError(message)


def test_two_processes_write_the_bytes_that_one_writes(tmp_path: Path) -> None:
    number = drawing.PARALLEL_FROM
    scenes = [make_scene(7, "train", index % 50, "training") for index in range(number)]
    draw_all([Picture(scene, tmp_path / "many" / f"{place}.jpg", 16) for place, scene in enumerate(scenes)])
    draw_all([Picture(scene, tmp_path / "few" / f"{place}.jpg", 16) for place, scene in enumerate(scenes[:50])])
    assert len(list((tmp_path / "many").iterdir())) == number
    for place in range(number):
        few = tmp_path / "few" / f"{place % 50}.jpg"
        assert (tmp_path / "many" / f"{place}.jpg").read_bytes() == few.read_bytes()


def test_progress_ends_at_the_number_of_pictures(tmp_path: Path) -> None:
    progress = Counted()
    scene = make_scene(7, "train", 0, "training")
    draw_all([Picture(scene, tmp_path / f"{place}.png", 16) for place in range(250)], progress)
    assert progress.steps == [(100, 250), (200, 250), (250, 250)]
