"""Ray Train's set-up of torch on the workers, after which they can be told to leave (tasks/train/drain.py)."""

from __future__ import annotations

from typing import Any

from ray.train.torch import TorchConfig

from tasks.train.drain import listen

_TorchBackend: Any = TorchConfig().backend_cls


class ListeningBackend(_TorchBackend):  # type: ignore[misc]
    """Sets up torch on the workers, and has them listen."""

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        """See ray.train.backend.Backend."""
        worker_group.execute(listen)
        super().on_start(worker_group, backend_config)


class ListeningTorch(TorchConfig):
    """torch.distributed between workers that can be told to leave."""

    @property
    def backend_cls(self) -> Any:
        """See TorchConfig."""
        return ListeningBackend
