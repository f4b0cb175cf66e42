"""What is seen of a training stage: speeds out of its timings, and steps whose loss stands out. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, median

Figures = Mapping[str, float]
SPIKE_WINDOW, SPIKE_DEVIATIONS, SPIKE_RISE = 25, 6.0, 1.2
PLATEAU_WINDOW, PLATEAU_GAIN = 200, 0.002


def speeds(history: Sequence[Figures], timings: Sequence[Figures]) -> dict[str, float]:
    """Over some steps: tokens, supervised tokens and samples a second, share of time spent waiting, row fill.

    And of the rank that tells, whose part of a step is like the others': model FLOPs utilisation, most memory in GB.

    Time is that of the whole step, waiting for its data included.
    """
    stepping = sum(line["seconds"] for line in timings)
    waiting = sum(line["waiting"] for line in timings)
    whole = max(1e-9, stepping + waiting)
    used = sum(line["mfu"] * (line["seconds"] + line["waiting"]) for line in timings)
    return {
        "tokens_per_second": round(sum(line["tokens"] for line in history) / whole),
        "supervised_tokens_per_second": round(sum(line["supervised_tokens"] for line in history) / whole, 1),
        "samples_per_second": round(sum(line["samples"] for line in history) / whole, 3),
        "waiting_share": round(waiting / whole, 4),
        "row_fill": round(fmean(line["row_fill"] for line in timings), 4),
        "mfu": round(used / whole, 4),
        "memory_gb": max(line["memory_gb"] for line in timings),
    }


def spikes(losses: Sequence[float]) -> list[int]:
    """Steps (from 1) whose loss jumps: above the median of the steps before it by a fifth, and by far more than these
    scatter (six times their median deviation).
    """
    found = []
    for at in range(SPIKE_WINDOW, len(losses)):
        before = losses[at - SPIKE_WINDOW : at]
        middle = median(before)
        scatter = median(abs(loss - middle) for loss in before)
        if losses[at] > max(middle * SPIKE_RISE, middle + SPIKE_DEVIATIONS * scatter):
            found.append(at + 1)
    return found


def plateau(losses: Sequence[float]) -> int | None:
    """The step (from 1) from which on the loss fell no more: the mean of every later window of 200 steps is less than
    0.2% below that of the window before it. None if it fell to the end, or there are fewer than two windows.
    """
    means = [
        fmean(losses[at : at + PLATEAU_WINDOW])
        for at in range(len(losses) % PLATEAU_WINDOW, len(losses), PLATEAU_WINDOW)
    ]
    flat = len(means)
    while flat > 1 and means[flat - 1] > means[flat - 2] * (1 - PLATEAU_GAIN):
        flat -= 1
    return None if flat == len(means) else len(losses) - (len(means) - flat) * PLATEAU_WINDOW + 1
