"""The scripted teacher: reads the prompt of a kind, writes a reply in the form that the prompt asks for.

The same prompt always gets the same reply; a hash of its text chooses among the variants.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from tasks.chat.records import Message
from tasks.scripted import exchanges, foreign
from tasks.scripted.context import Context, read_context
from tasks.world import talk
from tasks.world.facts import Facts
from tasks.world.scene import seeded

COMPLAINT = "That reply cannot be used"
"""Begins a user turn that asks for the last reply again."""
TURNS = (3, 6)
KNOWN_FORMS = 0.6
"""Part of the reasoning questions that are of the forms of `tasks.world.talk`; the others are for variety."""


def answer(messages: Sequence[Message]) -> str:
    """The reply to a prompt of the stage generate."""
    system = " ".join(message.content for message in messages if message.role == "system")
    asked = [message.content for message in messages if message.role == "user"]
    about = next((text for text in reversed(asked) if not text.startswith(COMPLAINT)), "")
    context = read_context(about)
    if not context.captions:
        return foreign.NOTHING_KNOWN
    # A reply that was complained about is not given again, where there is another one to give.
    rng = seeded("teacher", *asked[asked.index(about) :], system)
    if "reasoning" in system:
        return _complex(context, rng)
    if "in detail" in system:
        return _detail(context, rng)
    return _conversation(context, rng)


def _conversation(context: Context, rng: random.Random) -> str:
    facts = context.facts()
    if facts is None:
        return _written(foreign.conversation(context))
    turns = rng.randint(*TURNS)
    extra = exchanges.looking(facts, rng, rng.randint(0, 2))
    pairs = [*talk.conversation(facts, rng, turns - len(extra)), *extra]
    rng.shuffle(pairs)
    return _written(pairs)


def _detail(context: Context, rng: random.Random) -> str:
    facts = context.facts()
    if facts is None:
        return foreign.description(context)
    if rng.random() < 0.5 and all(thing.quadrant for thing in facts.things):
        return exchanges.description(facts, rng)
    return talk.detail(facts, rng)[1]


def _complex(context: Context, rng: random.Random) -> str:
    facts = context.facts()
    if facts is not None:
        return _written([_reasoning(facts, rng)])
    pair = foreign.thinking(context)
    return foreign.NO_QUESTION if pair is None else _written([pair])


def _reasoning(facts: Facts, rng: random.Random) -> talk.Exchange:
    if rng.random() >= KNOWN_FORMS and (pair := exchanges.thinking(facts, rng)):
        return pair
    return talk.reasoning(facts, rng)


def _written(pairs: Sequence[tuple[str, str]]) -> str:
    """Questions and answers in the form that the prompts ask for."""
    return "\n===\n".join(f"Question:\n{question}\n===\nAnswer:\n{reply}" for question, reply in pairs)
