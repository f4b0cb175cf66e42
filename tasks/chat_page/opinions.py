"""What a user says of answers, as items of feedback: kept in the database first, then told to MLflow."""

from __future__ import annotations

import hashlib
import logging

from tasks.chat_page.desk import Desk
from tasks.chat_page.talk import Side, Talk, Vote
from tasks.errors import LlavaflowError
from tasks.feedback.records import LONGEST_TEXT, Item, Message, Stored


def rating(desk: Desk, talk: Talk, place: int, user: str, *, good: bool, consent: bool) -> Item:
    """Thumbs up or down for the answer at a place. The same answer rated again is the same item."""
    messages = talk.sides[0].messages[: place + 1]
    return Item(
        id=id_of(user, talk.id, messages), kind="answer", user=user, conversation=talk.id, created=desk.now(),
        consent=consent, messages=messages, verdict="good" if good else "bad",
    )


def vote(desk: Desk, talk: Talk, verdict: Vote, user: str, *, consent: bool) -> Item:
    """A vote between the last answers of the two sides."""
    first, second = (side.messages for side in talk.sides)
    return Item(
        id=id_of(user, talk.id, (*first, *second)), kind="vote", user=user, conversation=talk.id, created=desk.now(),
        consent=consent, messages=first, other=second, verdict=verdict,
    )


def explained(item: Item, reasons: list[str], words: str, correction: str, *, consent: bool) -> Item:
    """The item with its reasons, and with a correction if that is not what the answer says already."""
    said = "; ".join([*reasons, *([words.strip()] if words.strip() else [])])
    changed = correction.strip() if correction.strip() != item.messages[-1].text.strip() else ""
    update = {"reason": said[:LONGEST_TEXT], "correction": changed[:LONGEST_TEXT], "consent": consent}
    return Item.model_validate(item.model_dump() | update)


def keep(desk: Desk, item: Item) -> Stored:
    """Keep an item with its images; tell MLflow where there is one. What MLflow cannot take is kept all the same."""
    pictures = [picture for image in sorted(item.images) if (picture := desk.uploads.picture(image)) is not None]
    stored = desk.store.add(item, pictures)
    if desk.traces is not None:
        try:
            if trace := desk.traces.tell(item):
                desk.store.traced(item.id, trace)
        except LlavaflowError as error:
            logging.getLogger("llavaflow").warning("feedback %s is kept, but not in MLflow: %s", item.id, error)
    return stored


def id_of(user: str, conversation: str, messages: tuple[Message, ...]) -> str:
    """The id of what a user says of these messages."""
    told = "\n".join(message.model_dump_json() for message in messages)
    return hashlib.sha256(f"{user}\n{conversation}\n{told}".encode()).hexdigest()[:32]


def answer_at(side: Side, place: int) -> Message | None:
    """The answer at a place of the shown messages; None if what is shown there is no answer."""
    message = side.messages[place] if 0 <= place < len(side.messages) else None
    return message if message is not None and message.role == "assistant" else None
