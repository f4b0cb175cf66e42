"""The estimate of model/memory.py is within 15% of what torch allocates in real steps of the engine."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.integration.memory_of_a_step import Case, estimate
from tests.integration.test_ranks import environment, free_port

MIXED = (200, 180, 150, 100)
CASES = [
    *(Case(shape, stage, precision, 2, MIXED)
      for shape in ("micro", "tiny") for stage in ("align", "instruct") for precision in ("bf16", "fp32")),
    # Beside which activations are next to nothing, and one whose attention runs over many blocks.
    Case("tiny", "instruct", "bf16", 2, (20,)),
    Case("tiny", "instruct", "bf16", 2, (1000,)),
    Case("tiny", "instruct", "bf16", 2, MIXED, rows=2),
    Case("tiny", "instruct", "bf16", 1, (20,)),
    Case("tiny", "instruct", "bf16", 3, (20,)),
    Case("tiny", "instruct", "bf16", 2, MIXED, lora=True),
]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[Case, int]:
    """Peaks of all cases, in a process of their own."""
    log: Path = tmp_path_factory.mktemp("memory") / "log"
    told = json.dumps([asdict(case) for case in CASES])
    command = [sys.executable, "-m", "tests.integration.memory_of_a_step", told]
    with log.open("wb") as errors:
        ran = subprocess.run(
            command, cwd=PROJECT, env=environment(0, 1, free_port()), stdout=subprocess.PIPE, stderr=errors, check=False
        )
    assert ran.returncode == 0, log.read_text()[-2000:]
    lines = [json.loads(line) for line in ran.stdout.decode().splitlines() if line.startswith("{")]
    return {case: int(line["peak"]) for case, line in zip(CASES, lines, strict=True)}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_estimate_is_within_fifteen_percent_of_the_allocator_s_peak(measured: dict[Case, int], case: Case) -> None:
    assert estimate(case).peak == pytest.approx(measured[case], rel=0.15)
