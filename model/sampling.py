"""How an answer is drawn from a model's probabilities. Pure: no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sampling:
    """`temperature` 0 is greedy: the likeliest token each time, of equal ones that with the lowest id.

    Otherwise tokens are drawn from the likeliest that together have a probability of `top_p`. The draws are a pure
    function of `seed` and the prompt, whatever else is answered at the same time.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        assert self.temperature >= 0.0 and 0.0 < self.top_p <= 1.0, f"no such sampling: {self}"


GREEDY = Sampling()
