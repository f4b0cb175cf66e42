"""A step is a set of samples: packing, ranks and ZeRO stages change speed, never losses or weights (fp32)."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import PROJECT
from tests.fakes.tiny_base import save_tiny_base
from tests.integration.engine_ranks import Case, reference

ARRANGEMENTS = ("text", "one", "several", "mixed", "alternating")
ALL = [
    Case(name=f"zero{zero}-{arrangement}-{tokens}", zero=zero, row_tokens=tokens, arrangement=arrangement)
    for zero in (1, 2, 3)
    for arrangement in ARRANGEMENTS
    # Everything in one row, or a row for nearly each sample: gradients are then summed over several micro steps.
    for tokens in ((100_000, 64) if arrangement == "mixed" else (200,))
]
ALL += [
    Case(name=f"zero{zero}-lora", zero=zero, row_tokens=100, arrangement="mixed", lora=True) for zero in (1, 2, 3)
]
PATIENCE_SECONDS = 240


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def references(base: Path) -> dict[str, dict[str, Any]]:
    plain = {arrangement: reference(base, arrangement) for arrangement in ARRANGEMENTS}
    return plain | {"lora": reference(base, "mixed", lora=True)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(rank: int, ranks: int, port: int) -> dict[str, str]:
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    compiled = {"TORCH_EXTENSIONS_DIR": str(Path(sys.prefix) / "torch_extensions")}
    path = f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}"
    return os.environ | {name: str(value) for name, value in told.items()} | compiled | {
        "MASTER_ADDR": "127.0.0.1", "PATH": path, "HF_HUB_OFFLINE": "1",
    }


def run(base: Path, out: Path, cases: list[Case], ranks: int) -> None:
    """All ranks to their end. One that hangs is ended and fails the test."""
    (out / "cases.json").write_text(json.dumps(cases))
    port, command = free_port(), [sys.executable, "-m", "tests.integration.engine_ranks", str(base), str(out)]
    processes = []
    for rank in range(ranks):
        with (out / f"rank{rank}.log").open("wb") as log:
            processes.append(
                subprocess.Popen(
                    command, cwd=PROJECT, env=environment(rank, ranks, port), stdout=log, stderr=subprocess.STDOUT
                )
            )
    try:
        ended = [process.wait(PATIENCE_SECONDS) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert ended == [0] * ranks, (out / "rank0.log").read_text()[-2000:]


@pytest.fixture(scope="module", params=[1, 2, 3])
def found(
    request: pytest.FixtureRequest, base: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    ranks: int = request.param
    cases = ALL if ranks == 2 else [case for case in ALL if case["arrangement"] == "mixed"]
    out = tmp_path_factory.mktemp(f"ranks{ranks}")
    run(base, out, cases, ranks)
    yield {case["name"]: (case, dict(np.load(out / f"{case['name']}.npz"))) for case in cases}


def test_ranks_zero_stages_and_packing_change_neither_losses_nor_weights(
    found: dict[str, Any], references: dict[str, dict[str, Any]]
) -> None:
    assert found
    for name, (case, result) in found.items():
        wanted = references["lora" if case.get("lora") else case["arrangement"]]
        assert result.keys() == wanted.keys()
        for part, value in wanted.items():
            np.testing.assert_allclose(result[part], value, rtol=0, atol=1e-5, err_msg=f"{name}: {part}")


def test_the_reference_learns(references: dict[str, dict[str, Any]]) -> None:
    # Weights move by far more than what the comparison forgives.
    moved = [
        float(np.abs(references["text"][name] - references["mixed"][name]).max())
        for name in references["text"]
        if name.startswith("weights.") and "language_model" in name
    ]
    assert max(moved) > 1e-3
