"""Any task of lmms-eval on a checkpoint. The package is optional and heavy: it is imported only when it is asked for.

lmms-eval parses and scores by its own rules, which differ from the published ones (docs/benchmarks.md): its figures
stand beside ours, never among them.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from tasks.errors import EnvironmentProblem, ScoringError

MODEL = "llava_hf"
"""lmms-eval's name of LlavaForConditionalGeneration folders."""


def evaluate_tasks(
    checkpoint: Path, tasks: Sequence[str], limit: int | None = None, batch: int = 1, device: str = "cpu"
) -> dict[str, JsonValue]:
    """Task to its figures, as lmms-eval names them. Where a task's data is local, nothing is fetched.

    Raises EnvironmentProblem if lmms-eval is not installed, ScoringError if the folder is no checkpoint or lmms-eval
    gives no figures.
    """
    if not (checkpoint / "config.json").is_file():
        raise ScoringError(f"{checkpoint} is no Hugging Face folder: it has no config.json")
    evaluator = _evaluator()
    found: Any = evaluator.simple_evaluate(
        model=MODEL, model_args=f"pretrained={checkpoint},device_map={device}", tasks=list(tasks), limit=limit,
        batch_size=batch, device=device,
    )
    if not found or "results" not in found:
        raise ScoringError(f"lmms-eval gave no figures for {', '.join(tasks)}; see its --tasks list for names")
    # Its figures are numbers of numpy and stranger things: what JSON cannot hold is written as text.
    results: dict[str, JsonValue] = json.loads(json.dumps(found["results"], default=str))
    return results


def _evaluator() -> Any:
    try:
        return importlib.import_module("lmms_eval.evaluator")
    except ModuleNotFoundError as error:
        raise EnvironmentProblem(
            f"lmms-eval is not installed ({error.name} is missing); pip install lmms-eval into the environment"
        ) from error
