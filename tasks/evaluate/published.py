"""Published ScienceQA rows (test split, percent), to print beside a run's own. Source: table 7 of the LLaVA paper."""

from __future__ import annotations

from tasks.evaluate.scienceqa import COLUMNS

SCIENCEQA = {
    "Human": (90.23, 84.97, 87.48, 89.60, 87.50, 88.10, 91.59, 82.42, 88.40),
    "GPT-3.5": (74.64, 69.74, 76.00, 74.44, 67.28, 77.42, 76.80, 68.89, 73.97),
    "GPT-3.5 CoT": (75.44, 70.87, 78.09, 74.68, 67.43, 79.93, 78.23, 69.68, 75.17),
    "LLaMA-Adapter": (84.37, 88.30, 84.36, 83.72, 80.32, 86.90, 85.83, 84.05, 85.19),
    "MM-CoT large": (95.91, 82.00, 90.82, 95.26, 88.80, 92.89, 92.44, 90.31, 91.68),
    "GPT-4 (text-only)": (84.06, 73.45, 87.36, 81.87, 70.75, 90.73, 84.69, 79.10, 82.69),
    "LLaVA 13B": (90.36, 95.95, 88.00, 89.49, 88.00, 90.66, 90.93, 90.90, 90.92),
    "LLaVA + GPT-4 complement": (90.36, 95.50, 88.55, 89.05, 87.80, 91.08, 92.22, 88.73, 90.97),
    "LLaVA + GPT-4 judge": (91.56, 96.74, 91.09, 90.62, 88.99, 93.52, 92.73, 92.16, 92.53),
}


def published_rows() -> dict[str, dict[str, float]]:
    """Name of a published result to its percent per row of the breakdown."""
    return {name: dict(zip(COLUMNS, values, strict=True)) for name, values in SCIENCEQA.items()}
