"""Loss curves of what the base stage trains, written as they come so that another process can watch."""

from __future__ import annotations

import json
from pathlib import Path

EVERY = 10


class History:
    """Appends {"part", "step", "steps", "loss"} lines to a file, every tenth step and the last."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, part: str, step: int, steps: int, loss: float) -> None:
        """Record the loss of a step."""
        if step % EVERY and step != steps:
            return
        with self.path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps({"part": part, "step": step, "steps": steps, "loss": round(loss, 5)}) + "\n")
