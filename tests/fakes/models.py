"""Models and judges for tests of stage evaluate: they answer at once and by rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from model.records import IMAGE_TOKEN
from tasks.chat.records import Failure, Message, Reply
from tasks.evaluate.answers import Prompt


@dataclass
class Model:
    """Answers every prompt by a function; remembers the calls."""

    say: Callable[[Prompt], str]
    batches: list[list[Prompt]] = field(default_factory=list)

    def answer(self, prompts: Sequence[Prompt], batch: int) -> Iterator[tuple[int, str]]:
        """One answer a prompt, the last one first."""
        self.batches.append(list(prompts))
        yield from ((position, self.say(prompts[position])) for position in reversed(range(len(prompts))))

    @property
    def asked(self) -> list[Prompt]:
        """Every prompt, in the order of asking."""
        return [prompt for batch in self.batches for prompt in batch]


def reads_truth(seeing: Mapping[str, str], reading: Mapping[str, str]) -> Model:
    """Knows what an image shows and what a text says: maps from the prompt, its image token aside, to the answer.

    Without the image it says A to what only an image tells.
    """

    def say(prompt: Prompt) -> str:
        if prompt.image is not None:
            return seeing[prompt.text.removeprefix(f"{IMAGE_TOKEN}\n")]
        return reading.get(prompt.text, "The answer is A.")

    return Model(say)


def always_a() -> Model:
    """Says A, whatever is asked."""
    return Model(lambda prompt: "The answer is A.")


def babbles() -> Model:
    """Says nothing that any rule can read."""
    return Model(lambda prompt: "well well well")


@dataclass
class Judge:
    """Answers every request by a function of the user's message and the attempt; remembers what it was asked."""

    say: Callable[[str, int], str | None]
    rounds: list[tuple[int, int]] = field(default_factory=list)
    """Attempt and number of requests of every round."""
    requests: list[Sequence[Message]] = field(default_factory=list)

    def __call__(self, requests: Sequence[Sequence[Message]], attempt: int) -> Sequence[Reply | Failure]:
        """One outcome a request; None from the function is a failure of the endpoint."""
        self.rounds.append((attempt, len(requests)))
        self.requests += requests
        said = [self.say(request[-1].content, attempt) for request in requests]
        return [Failure("timed out") if text is None else Reply(text, 10, 10) for text in said]
