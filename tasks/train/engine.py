"""One optimizer step with DeepSpeed: the loss of the step's samples, however they are packed and spread.

loss = sum over the step's supervised tokens / their number over all ranks. DeepSpeed averages gradients over ranks, so
each rank's share is multiplied by the number of ranks. Accumulation boundaries are set by hand, because the number of
rows differs from step to step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from configs.schema import StageConfig
from model.memory import REDUCE_BUCKET
from model.packed import PackedLlava, Row
from model.stages import PROJECTOR, part_of
from tasks.errors import NonFiniteLoss, TrainingError
from tasks.train.schedule import rate


@dataclass(frozen=True)
class StepResult:
    """What one step gave, the same on every rank. `loss` is the mean over supervised tokens, the rates those it had."""

    loss: float
    grad_norm: float
    lr: float
    projector_lr: float
    heard: tuple[float, ...] = ()
    """What the ranks had to say, summed over them."""


def parameter_groups(model: nn.Module, config: StageConfig) -> list[dict[str, Any]]:
    """Trainable parameters by learning rate and decay: the projector may have its own rate, norms, biases no decay."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            lr = config.projector_lr if config.projector_lr and part_of(name) == PROJECTOR else config.lr
            decay = 0.0 if parameter.ndim < 2 else config.weight_decay
            groups.setdefault((lr, decay), []).append(parameter)
    return [
        {"params": parameters, "lr": lr, "base_lr": lr, "weight_decay": decay}
        for (lr, decay), parameters in groups.items()
    ]


class Engine:
    """A DeepSpeed engine that knows what a step is."""

    def __init__(self, model: PackedLlava, config: StageConfig, steps: int, deepspeed_config: dict[str, Any]) -> None:
        import deepspeed

        self.config, self.steps = config, steps
        groups = parameter_groups(model, config)
        self._base_rates = [group["base_lr"] for group in groups]
        optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)
        trained = sum(parameter.numel() for group in groups for parameter in group["params"])
        told = with_bucket(deepspeed_config, trained)
        self.deepspeed, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=told)
        statistics_as_weights(model)
        self.ranks = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
        self._partitioned = self.deepspeed.zero_optimization_stage() == 3

    def step(self, step: int, rows: Sequence[Row], supervised: int, said: Sequence[float] = ()) -> StepResult:
        """Update the weights by the rows of this rank. `supervised` counts tokens over all ranks.

        `said` travels with the loss, so that ranks agree on what else there is to do at no cost: as many values on
        every rank.

        Raises NonFiniteLoss, with the weights as they were, when loss or gradient is not finite.
        """
        if not supervised:
            raise TrainingError(f"step {step + 1} has no supervised token; remove samples without answers")
        factor = rate(step, self.steps, self.config.warmup_share)
        for group, base in zip(self.deepspeed.optimizer.param_groups, self._base_rates, strict=True):
            group["lr"] = base * factor
        # Summed where it is computed: to fetch it after each row would have a GPU wait for the next one.
        total = torch.zeros((), device=self.deepspeed.device)
        for at, row in enumerate(rows):
            self.deepspeed.set_gradient_accumulation_boundary(is_boundary=at == len(rows) - 1)
            summed = self.deepspeed(self._on_device(row))
            self.deepspeed.backward(summed * (self.ranks / supervised), scale_wrt_gas=False)
            total += summed.detach()
        everywhere = torch.tensor([*said], device=total.device)
        summed_loss, *heard = self._over_ranks(torch.cat([total.reshape(1), everywhere]))
        loss = summed_loss / supervised
        if not math.isfinite(loss):
            raise NonFiniteLoss(f"step {step + 1}: the loss is {loss}; lower the learning rate, or look at its samples")
        norm = self._update()
        if not math.isfinite(norm):
            raise NonFiniteLoss(f"step {step + 1}: the gradient norm is {norm}; lower the learning rate")
        projector_lr = (self.config.projector_lr or self.config.lr) * factor
        return StepResult(loss, norm, self.config.lr * factor, projector_lr, tuple(heard))

    def weights(self) -> dict[str, torch.Tensor] | None:
        """The model's weights, by the names that the model itself has for them, on rank 0; None on the others.

        Every rank has to call it: with ZeRO-3 each holds a part.
        """
        if self._partitioned:
            held = self.deepspeed._zero3_consolidated_16bit_state_dict()
        else:
            held = self.deepspeed.module.state_dict() if self.deepspeed.global_rank == 0 else None
        return None if held is None else {name.removeprefix("llava."): value for name, value in held.items()}

    @property
    def partitioned(self) -> bool:
        """Whether each rank holds a part of the weights alone (ZeRO-3), so that all have to take part in any pass."""
        return bool(self._partitioned)

    def any_rank(self, said: bool) -> bool:
        """Whether any rank says so. Every rank has to call it."""
        return self._over_ranks(torch.tensor([float(said)]))[0] > 0

    def from_first(self, number: int) -> int:
        """The number (below 2^24) that the first rank has, on every rank. Every rank has to call it."""
        said = number if self.deepspeed.global_rank == 0 else 0
        return int(self._over_ranks(torch.tensor([float(said)]))[0])

    def _update(self) -> float:
        """Let the optimizer step if the gradient is finite. Returns its norm before clipping, over all ranks."""
        optimizer = self.deepspeed.optimizer
        if self._partitioned:
            # ZeRO-3 works the norm out within its step, and leaves the step out itself where it is not finite.
            self.deepspeed.step()
            return float(optimizer._global_grad_norm)
        norm = float(optimizer.scaled_global_norm())
        if math.isfinite(norm):
            self.deepspeed.step()
        return norm

    def _over_ranks(self, values: torch.Tensor) -> list[float]:
        if self.ranks > 1:
            values = values.to(self.deepspeed.device)
            torch.distributed.all_reduce(values)
        return [float(value) for value in values]

    def _on_device(self, row: Row) -> Row:
        return row if self.deepspeed.device.type == "cpu" else row.to(self.deepspeed.device)


def with_bucket(settings: dict[str, Any], trained: int) -> dict[str, Any]:
    """The same with a bucket for gradients no larger than all of them: DeepSpeed makes it as large as it is told."""
    zero = settings.get("zero_optimization", {})
    bucket = min(int(zero.get("reduce_bucket_size", REDUCE_BUCKET)), trained)
    return settings | {"zero_optimization": zero | {"reduce_bucket_size": bucket}}


def statistics_as_weights(model: nn.Module) -> None:
    """Bring the statistics of batch norms (EfficientNet's) to the type of their weights.

    DeepSpeed brings parameters alone to bf16, and torch has no batch norm of both types.
    """
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None and layer.running_var is not None:
            layer.running_mean = layer.running_mean.to(layer.weight.dtype)
            layer.running_var = layer.running_var.to(layer.weight.dtype)


def deepspeed_settings(base: dict[str, Any], config: StageConfig, precision: str, ranks: int) -> dict[str, Any]:
    """The DeepSpeed configuration of a stage: the named file, plus what follows from the experiment.

    The batch sizes count rows, one a micro step; how many there are in a step is ours to say (see the module).
    """
    return base | {
        "train_micro_batch_size_per_gpu": 1,
        "train_batch_size": ranks,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": config.grad_clip,
        "bf16": {"enabled": precision == "bf16"},
        "steps_per_print": 2**31,
        "wall_clock_breakdown": False,
    }
