"""The official LLaVA JSON as given samples: a list of {id, image?, conversations: [{from, value}, ...]}.

`image` may be a list of names, as LLaVA-NeXT's interleaved data have it: then each has its own image token, which stays
where it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from pydantic import JsonValue, ValidationError

from configs.schema import LlavaJsonSource
from model.records import IMAGE_TOKEN, Sample, Turn
from tasks.ingest.documents import BadLine, lines, list_items
from tasks.ingest.places import Place
from tasks.ingest.records import GivenSample, Quarantined, Reason, sample_id_of
from tasks.ingest.text import clean, too_long


class _Unfit(ValueError):
    """An element that makes no sample."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def read_llava_json(source: LlavaJsonSource, place: Place, longest_turn: int) -> Iterator[GivenSample | Quarantined]:
    """The samples in the order of the file, the first `limit` of them.

    Raises DataError if the file is missing, or broken in a way that hides where its elements begin.
    """
    file = source.file.rpartition("/")[2]
    for where, row in islice(_rows(source, place, file), source.limit):
        try:
            yield _sample(row, source, where, longest_turn)
        except _Unfit as error:
            name = row.get("id") if isinstance(row, dict) else None
            named = f"{where} ({name})" if isinstance(name, str | int) else where
            yield Quarantined(named[:200], error.reason, error.detail[:200])


def _rows(source: LlavaJsonSource, place: Place, file: str) -> Iterator[tuple[str, JsonValue | BadLine]]:
    if source.file.endswith(".jsonl"):
        for number, row in lines(place, source.file):
            yield f"{file}: line {number}", row
    else:
        for number, row in enumerate(list_items(place, source.file, None)):
            yield f"{file}: [{number}]", row


def _sample(row: JsonValue | BadLine, source: LlavaJsonSource, where: str, longest_turn: int) -> GivenSample:
    if isinstance(row, BadLine):
        raise _Unfit("malformed entry", str(row))
    if not isinstance(row, dict) or not isinstance(name := row.get("id"), str | int) or isinstance(name, bool):
        raise _Unfit("malformed entry", "no object with an 'id'")
    images = _images(row.get("image"))
    turns = _turns(row.get("conversations"), longest_turn)
    placed = _placed(turns, len(images))
    sample_id = sample_id_of(str(name)) or "sample"
    try:
        Sample(
            id=sample_id, image=images[0] if images else None, more_images=images[1:] or None, kind="given",
            conversations=placed,
        )
    except ValidationError as error:
        raise _Unfit("broken turn order", ", ".join(turn.role for turn in turns) or "no turns") from error
    first = images[0] if images else None
    return GivenSample(sample_id, source.stage, first, placed, placed != turns, images[1:])


def _images(value: JsonValue) -> tuple[str, ...]:
    """The files of a sample's images: a name, a list of names, or nothing."""
    names = [] if value is None else value if isinstance(value, list) else [value]
    if value == [] or not all(isinstance(name, str) and name for name in names):
        raise _Unfit("malformed entry", "'image' has to be the name of a file, or a list of such names")
    return tuple(str(name) for name in names)


def _placed(turns: tuple[Turn, ...], images: int) -> tuple[Turn, ...]:
    """The turns with as many image tokens as there are images."""
    if images < 2:
        return _with_image(turns) if images else _without_image(turns)
    tokens = sum(turn.text.count(IMAGE_TOKEN) for turn in turns if turn.role == "human")
    if not tokens:
        first, *others = turns
        return (Turn(role=first.role, text=f"{IMAGE_TOKEN}\n" * images + first.text), *others)
    if tokens != images:
        raise _Unfit("image tokens do not fit the images", f"{tokens} image tokens for {images} images")
    return turns


def _turns(value: JsonValue, longest: int) -> tuple[Turn, ...]:
    if not isinstance(value, list) or not value:
        raise _Unfit("malformed entry", "no list 'conversations'")
    turns = []
    for row in value:
        role, text = (row.get("from"), row.get("value")) if isinstance(row, dict) else (None, None)
        if not isinstance(text, str) or not isinstance(role, str):
            raise _Unfit("malformed entry", "a turn needs the texts 'from' and 'value'")
        if role not in ("human", "gpt"):
            raise _Unfit("broken turn order", f"a turn is from {clean(role)[:40]!r}, not from human or gpt")
        if role == "gpt" and not text.strip():
            raise _Unfit("malformed entry", "an answer is empty")
        turns.append(Turn(role="human" if role == "human" else "gpt", text=clean(text)))
    if detail := too_long((turn.text for turn in turns), longest):
        raise _Unfit("text too long", detail)
    return tuple(turns)


def _with_image(turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """One image token at the start of the first human turn, wherever there were any.

    So the released training code does since v1.0.0 (preprocess_multimodal): the order in the file has no effect.
    """
    tokens = sum(turn.text.count(IMAGE_TOKEN) for turn in turns if turn.role == "human")
    if tokens == 1 and turns[0].role == "human" and turns[0].text.startswith(f"{IMAGE_TOKEN}\n"):
        return turns
    first, *others = [_without_token(turn) for turn in turns]
    return (Turn(role=first.role, text=f"{IMAGE_TOKEN}\n{first.text}".strip()), *others)


def _without_token(turn: Turn) -> Turn:
    if turn.role != "human" or IMAGE_TOKEN not in turn.text:
        return turn
    return Turn(role=turn.role, text=turn.text.replace(IMAGE_TOKEN, "").strip())


def _without_image(turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    if any(IMAGE_TOKEN in turn.text for turn in turns if turn.role == "human"):
        raise _Unfit("image token without an image", "a text-only sample asks about an image")
    return turns
