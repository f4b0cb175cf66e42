from __future__ import annotations

import resource

import pytest
import torch

from model.flops import LanguageShape, VisionShape, row_flops
from model.packed import collate
from model.tokenize import Encoded
from tasks.train.figures import Utilisation, matmul_ceiling, peak_memory

LANGUAGE, TOWER = LanguageShape(32, 64, 2, 400), VisionShape(16, 32, 3, 16, 8)
SAMPLE = Encoded((1, 2, 3, 4), (-100, -100, 3, 4), turns=2)
IMAGE = torch.zeros(3, 32, 32)


@pytest.mark.parametrize("images", [0, 1])
def test_utilisation_is_the_work_of_real_samples_over_what_the_device_could_do(images: int) -> None:
    row = collate([SAMPLE], [IMAGE] * images, IMAGE, 0)
    used = Utilisation(LANGUAGE, TOWER, language_trains=True, adapters=None, ceiling=1e9)
    # A dummy image is no work.
    work = row_flops([4], 2, images, LANGUAGE, TOWER, language_trains=True)
    assert used.share([4], [row], 0.5) == pytest.approx(work / 0.5e9)


def test_a_tower_of_unknown_shape_counts_nothing() -> None:
    row = collate([SAMPLE], [IMAGE], IMAGE, 0)
    text = collate([SAMPLE], [], IMAGE, 0)
    unknown, known = (
        Utilisation(LANGUAGE, tower, language_trains=True, adapters=None, ceiling=1e9) for tower in (None, TOWER)
    )
    assert unknown.share([4], [row], 1.0) == known.share([4], [text], 1.0)


def test_the_ceiling_is_a_rate_and_memory_is_what_the_system_says() -> None:
    assert matmul_ceiling(32, 64, torch.device("cpu"), torch.float32) > 1e6
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    assert peak_memory(torch.device("cpu")) == pytest.approx(resident, rel=0.05)
