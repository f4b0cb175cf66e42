"""Three ways to have a multiple-choice question answered: written at once, in two passes, or by likelihood."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from configs.schema import ScienceQAConfig
from model.questions import Problem, candidates_of, cue_of
from tasks.errors import ConfigError
from tasks.evaluate.answers import Answerer, Likely, Prompt, Scorer, answer_all
from tasks.evaluate.extraction import Parsed, Rule, parse_answer
from tasks.evaluate.scienceqa import Marked, mark


class Given(NamedTuple):
    """An answer and what became of it."""

    text: str
    marked: Marked


Asked = Sequence[tuple[Problem, Prompt]]


def answers_of(
    asked: Asked, config: ScienceQAConfig, answerer: Answerer, batch: int, progress: Callable[[int], None]
) -> list[Given]:
    """The answer to each question, in the order of asking. `progress` hears how many are answered."""
    if config.answering == "likelihood":
        return _by_likelihood(asked, config, answerer, batch, progress)
    texts = answer_all(answerer, [prompt for _, prompt in asked], batch, progress)
    if config.answering == "two_pass":
        texts = _second_pass([prompt for _, prompt in asked], texts, config, answerer, batch)
    rule = Rule(config.rule)
    return [
        Given(text, mark(problem, parse_answer(text, problem.choices, rule)))
        for (problem, _), text in zip(asked, texts, strict=True)
    ]


def _second_pass(
    prompts: Sequence[Prompt], reasonings: Sequence[str], config: ScienceQAConfig, answerer: Answerer, batch: int
) -> list[str]:
    """Each reasoning with the answer that the cue draws out behind it, put together as the published outputs are."""
    cue = cue_of(config.prompt_format)
    told = [text.split(cue.mark, 1)[0].rstrip() for text in reasonings]
    again = [
        replace(prompt, begun=f"{reasoning}{cue.text}".strip(), max_new_tokens=config.answer_tokens)
        for prompt, reasoning in zip(prompts, told, strict=True)
    ]
    second = answer_all(answerer, again, batch, lambda done: None)
    return [f"{reasoning}\n The answer is {text.strip()}" for reasoning, text in zip(told, second, strict=True)]


def _by_likelihood(
    asked: Asked, config: ScienceQAConfig, answerer: Answerer, batch: int, progress: Callable[[int], None]
) -> list[Given]:
    """The likeliest candidate of each; of equally likely ones the first."""
    if not isinstance(answerer, Scorer):
        raise ConfigError("this model cannot score given answers; set evaluate.scienceqa.answering=generate")
    candidates = [candidates_of(problem, config.prompt_format) for problem, _ in asked]
    found: dict[int, Given] = {}
    for position, likely in answerer.likelihoods([prompt for _, prompt in asked], candidates, batch):
        best = likeliest(candidates[position], likely, config.normalise)
        found[position] = Given(candidates[position][best], mark(asked[position][0], Parsed(best)))
        progress(len(found))
    return [found[position] for position in range(len(asked))]


def likeliest(candidates: Sequence[str], likely: Sequence[Likely], normalise: str) -> int:
    """Index of the candidate with the highest log-probability per token, per character, or as it is."""
    lengths: Mapping[str, Callable[[int], int]] = {
        "tokens": lambda index: likely[index].tokens,
        "characters": lambda index: len(candidates[index]),
        "none": lambda index: 1,
    }
    length = lengths[normalise]
    return max(range(len(candidates)), key=lambda index: likely[index].log_probability / max(1, length(index)))
