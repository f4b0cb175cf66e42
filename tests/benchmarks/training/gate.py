"""How a measuring process and the one that called it take turns, by lines on standard input and output."""

from __future__ import annotations

import json
import resource
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

MARK = "@@"
"""In front of every line for the caller; what libraries print is passed over."""


@dataclass(frozen=True)
class Told:
    """What a measuring process is told."""

    mode: str
    stage: str
    base: Path
    shards: Path
    samples: int
    device: str
    row_tokens: int
    threads: int
    options: dict[str, Any] = field(default_factory=dict)


class Gate:
    """Waits for the word to go, and tells what came of it."""

    def go(self) -> bool:
        """Wait. False when there is no more to do."""
        self._tell({"ready": True})
        return sys.stdin.readline().strip() == "go"

    def done(self, seconds: float, tokens: int, **more: Any) -> None:
        """A pass over the samples is over. Memory is that of the GPU where there is one, else of the process."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        if torch.cuda.is_available():
            peak = torch.cuda.max_memory_allocated() / 1e9
        self._tell({"seconds": seconds, "tokens": tokens, "peak_gb": peak, **more})

    @staticmethod
    def _tell(line: dict[str, Any]) -> None:
        sys.stdout.write(f"{MARK}{json.dumps(line)}\n")
        sys.stdout.flush()
