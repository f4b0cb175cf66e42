"""Estimated against measured memory of a training step: `python -m tests.benchmarks.memory`, a markdown row each."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict

from tests.conftest import PROJECT
from tests.integration.memory_of_a_step import Case, estimate
from tests.integration.test_ranks import environment, free_port

MIXED, LONG = (200, 180, 150, 100), (413, 350, 260)
CASES = [
    *(Case(shape, stage, precision, 2, MIXED)
      for shape in ("micro", "tiny") for stage in ("align", "instruct") for precision in ("bf16", "fp32")),
    Case("tiny", "instruct", "bf16", 2, (1000,)),
    Case("tiny", "instruct", "bf16", 3, (20,)),
    Case("tiny", "instruct", "fp32", 3, MIXED),
    Case("smollm2", "align", "bf16", 2, LONG),
    Case("smollm2", "instruct", "bf16", 2, LONG),
]


def row_of(case: Case, peak: int) -> str:
    """One line of the table."""
    guessed = estimate(case).peak
    what = f"{case.shape}, {case.stage}, {case.precision}, ZeRO-{case.zero}, rows of {sum(case.lengths):,}"
    return f"| {what} | {peak / 1e6:,.0f} MB | {guessed / 1e6:,.0f} MB | {guessed / peak - 1:+.1%} |"


def main() -> None:
    """Measure all cases in a process of their own and print the table."""
    command = [sys.executable, "-m", "tests.integration.memory_of_a_step", json.dumps([asdict(case) for case in CASES])]
    ran = subprocess.run(
        command, cwd=PROJECT, env=environment(0, 1, free_port()), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        check=True,
    )
    lines = [json.loads(line) for line in ran.stdout.decode().splitlines() if line.startswith("{")]
    rows = [row_of(case, int(line["peak"])) for case, line in zip(CASES, lines, strict=True)]
    sys.stdout.write("\n".join(["| step | measured | estimate | off |", "|---|---|---|---|", *rows]) + "\n")


if __name__ == "__main__":
    main()
