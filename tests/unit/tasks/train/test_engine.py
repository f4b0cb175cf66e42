from __future__ import annotations

import pytest

from tasks.errors import TrainingError
from tasks.train.engine import Engine


def test_a_step_without_a_supervised_token_is_refused_before_anything_is_computed() -> None:
    engine = Engine.__new__(Engine)  # which would need DeepSpeed's processes
    with pytest.raises(TrainingError, match="step 8 has no supervised token; remove samples without answers"):
        engine.step(7, [], 0)
