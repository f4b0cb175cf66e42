from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from configs.schema import StageConfig
from tasks.errors import NonFiniteLoss, TrainingError
from tasks.train.engine import Engine


class OneWeight:
    """Stands for a DeepSpeed engine over one weight, whose loss is its square."""

    device = torch.device("cpu")

    def __init__(self, weight: float, norm: float) -> None:
        self.weight, self.stepped = weight, 0
        self.optimizer = SimpleNamespace(param_groups=[{"lr": 0.0}], scaled_global_norm=lambda: norm)

    def set_gradient_accumulation_boundary(self, is_boundary: bool) -> None:
        """Every row is the last one here."""

    def __call__(self, row: object) -> torch.Tensor:
        return torch.tensor(self.weight) ** 2

    def backward(self, loss: torch.Tensor, scale_wrt_gas: bool) -> None:
        """Nothing is learnt here."""

    def step(self) -> None:
        self.stepped += 1


def engine_over(held: OneWeight) -> Engine:
    engine = Engine.__new__(Engine)  # which would need DeepSpeed's processes
    engine.config, engine.steps, engine.ranks = StageConfig(batch=1, lr=1e6), 10, 1
    engine._base_rates, engine._partitioned, engine.deepspeed = [1e6], False, held
    return engine


@pytest.mark.parametrize(
    ("weight", "norm", "told"),
    [(1e30, 1.0, "step 4: the loss is inf"), (1.0, float("nan"), "the gradient norm is nan")],
)
def test_what_diverges_is_stopped_before_the_optimizer_steps(weight: float, norm: float, told: str) -> None:
    held = OneWeight(weight, norm)
    rows: list[Callable[[], None]] = [lambda: None]
    with pytest.raises(NonFiniteLoss, match=rf"{told}; lower the learning rate"):
        engine_over(held).step(3, rows, 1)  # type: ignore[arg-type]
    assert held.stepped == 0


def test_a_step_without_a_supervised_token_is_refused_before_anything_is_computed() -> None:
    engine = Engine.__new__(Engine)  # which would need DeepSpeed's processes
    with pytest.raises(TrainingError, match="step 8 has no supervised token; remove samples without answers"):
        engine.step(7, [], 0)
