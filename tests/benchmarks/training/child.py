"""One measuring process: `python -m tests.benchmarks.training.child TOLD.json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from tests.benchmarks.training import ceiling, ours, peers
from tests.benchmarks.training.gate import Gate, Told


def main() -> None:
    """Run the mode that the file names."""
    held = json.loads(Path(sys.argv[1]).read_text())
    told = Told(**held | {"base": Path(held["base"]), "shards": Path(held["shards"])})
    if told.device == "cpu":
        torch.set_num_threads(told.threads)
    how = {"ours": ours.run, "ceiling": ceiling.run}.get(told.mode, peers.run)
    how(told, Gate())


if __name__ == "__main__":
    main()
