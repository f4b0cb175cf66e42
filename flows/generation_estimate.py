"""What the stage generate would ask, pay and take, before it does: from the ledger's own answers where it has any.

Each kind of conversation is estimated by the best there is: answers in the ledger to the same prompts by the same
model; else the prompts of images that are there; else the lengths of the prompts' own examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import fmean

from pydantic import JsonValue

from configs.schema import Endpoint, Experiment, GenerateConfig, OpenAIEndpoint
from flows.ledger_history import remembered
from tasks.chat.records import Message
from tasks.generate.kinds import KINDS, AskedKind
from tasks.generate.languages.base import Language
from tasks.generate.languages.known import LANGUAGES
from tasks.generate.parse import Rejected, parse
from tasks.generate.plan import quotas
from tasks.generate.prompt import Prompts, load_prompts, messages_for
from tasks.image_files import read_annotations

CHARACTERS_A_TOKEN = 4
"""Of Latin text; of other scripts a character is about a token."""
IMAGES = 200
"""Images whose prompts are measured."""
FEWEST = 10
"""Answers in the ledger that make an estimate."""

Work = dict[str, JsonValue]


@dataclass(frozen=True)
class PerRequest:
    """Means over requests of one kind."""

    asked: float
    """Tokens."""
    answered: float
    """Tokens."""
    source: str
    seconds: float | None = None
    refused: float = 0.0
    """Share of first replies that are not used."""


def generation_of(experiment: Experiment, images: Path | None = None, ledger: str | None = None) -> Work:
    """Requests to the teacher, with tokens, money and time where it is a paid one.

    `images` is the folder of the ImageSet where it is there, `ledger` the ledger's URL.
    """
    config = experiment.generate
    if config.teacher is None or config.samples == 0:
        return {}
    work: Work = {"requests": config.samples, "requests at most": config.samples * config.max_attempts}
    if not isinstance(config.teacher, OpenAIEndpoint):
        return work
    language = LANGUAGES[config.language]
    prompts = load_prompts(config.prompts or language.prompts, config.inputs)
    each = {kind: _per_request(kind, prompts, language, config.teacher, images, ledger) for kind in KINDS}
    return work | _summed(config, config.teacher, each)


def cost_of(endpoint: Endpoint, asked: float, answered: float) -> Work:
    """Tokens and money at an endpoint; nothing where rules answer."""
    if not isinstance(endpoint, OpenAIEndpoint):
        return {}
    usd = (asked * endpoint.usd_per_million_input + answered * endpoint.usd_per_million_output) / 1e6
    return {
        "tokens asked": round(asked), "tokens answered": round(answered), "usd": round(usd * price_factor(endpoint), 2)
    }


def price_factor(endpoint: OpenAIEndpoint) -> float:
    """What is paid of the list price: all of it for requests that are sent one by one, less in batches."""
    return endpoint.batch.discount if endpoint.batch else 1.0


def tokens_of(text: str) -> float:
    """About how many tokens a text has."""
    latin = sum(map(str.isascii, text))
    return latin / CHARACTERS_A_TOKEN + len(text) - latin


def seconds_for(endpoint: OpenAIEndpoint, requests: float, tokens: float, latency: float | None) -> float | None:
    """How long so many requests take at an endpoint, by its slowest limit; None where nothing is known."""
    bounds = []
    if latency is not None:
        bounds.append(requests * latency / endpoint.concurrency)
    if endpoint.requests_per_minute is not None:
        bounds.append(60 * requests / endpoint.requests_per_minute)
    if endpoint.tokens_per_minute is not None:
        bounds.append(60 * tokens / endpoint.tokens_per_minute)
    return max(bounds, default=None)


def _per_request(
    kind: AskedKind, prompts: Prompts, language: Language, teacher: OpenAIEndpoint, images: Path | None,
    ledger: str | None,
) -> PerRequest:
    before = prompts.before[kind]
    answers = remembered(ledger, "teacher", teacher.model, before) if ledger else []
    if len(answers) >= FEWEST:
        refused = [
            isinstance(parse(kind, known.reply.text, "-", known.reply.finish_reason, language), Rejected)
            for known in answers
        ]
        return PerRequest(
            asked=fmean(known.reply.input_tokens for known in answers),
            answered=fmean(known.reply.output_tokens for known in answers),
            source="earlier answers", seconds=fmean(known.seconds for known in answers), refused=fmean(refused),
        )
    answered = _mean_tokens([message for message in before if message.role == "assistant"])
    told = sum(tokens_of(message.content) for message in before)
    if images is not None:
        seen = [messages_for(prompts, kind, image)[-1] for image in islice(read_annotations(images), IMAGES)]
        if seen:
            return PerRequest(told + _mean_tokens(seen), answered, "prompts of these images")
    questions = [message for message in before if message.role == "user"]
    return PerRequest(told + _mean_tokens(questions), answered, "the prompts' examples")


def _mean_tokens(messages: Sequence[Message]) -> float:
    return fmean(tokens_of(message.content) for message in messages) if messages else 0.0


def _summed(config: GenerateConfig, teacher: OpenAIEndpoint, each: dict[AskedKind, PerRequest]) -> Work:
    requests = asked = answered = waited = 0.0
    parts = {kind: number for kind, number in quotas(config.samples, config.mix).items() if number}
    for kind, number in parts.items():
        one = each[kind]
        # Asked again, a request has the reply that was refused in it.
        again = number * sum(one.refused**attempt for attempt in range(1, config.max_attempts))
        requests += number + again
        asked += (number + again) * one.asked + again * one.answered
        answered += (number + again) * one.answered
        waited += (number + again) * (one.seconds or 0.0)
    latency = waited / requests if all(each[kind].seconds is not None for kind in parts) else None
    seconds = seconds_for(teacher, requests, asked + answered, latency)
    timed: Work = {} if seconds is None else {"seconds": round(seconds)}
    sources = {each[kind].source: None for kind in parts}
    cost = cost_of(teacher, asked, answered)
    return {"requests": round(requests)} | cost | timed | {"estimated from": " and ".join(sources)}
