"""Prompts of the three kinds of conversation: files in, messages out.

A set of prompts is a folder with one folder a kind (`system.txt`, `shot_0_user.txt`, `shot_0_assistant.txt`, ...) and
`detail_questions.txt`. The structure is LLaVA's (captions one a line, a blank line, boxes one a line; captions alone
for the kind conversation), the wording is our own. A kind that is given something else than usual has a system
message for that: `system_captions.txt` or `system_captions_and_boxes.txt`, where there is one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.schema import Given, Inputs
from model.records import AnnotatedImage, Box
from tasks.artifacts import digest_of
from tasks.chat.records import Message
from tasks.errors import ConfigError
from tasks.generate.kinds import KINDS, AskedKind

FOLDER = Path(__file__).parent / "prompts"
QUESTIONS = "detail_questions.txt"


@dataclass(frozen=True)
class Prompts:
    """A set of prompts. `before` holds, for each kind, the system message and the examples."""

    before: dict[AskedKind, tuple[Message, ...]]
    inputs: dict[AskedKind, Given]
    detail_questions: tuple[str, ...]
    digest: str
    """Digest over all files of the set, by name."""


def load_prompts(name: str, inputs: Inputs | None = None, folder: Path = FOLDER) -> Prompts:
    """Read a set of prompts. Raises ConfigError where it does not exist or lacks a file."""
    root = folder / name
    if not root.is_dir():
        known = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_dir()))
        raise ConfigError(f"generate.prompts: no folder {name!r} under tasks/generate/prompts/; there are: {known}")
    texts = {path.relative_to(root).as_posix(): path.read_text("utf-8") for path in sorted(root.rglob("*.txt"))}
    given = _given(inputs or Inputs())
    before = {kind: _before(kind, given[kind], texts, root) for kind in KINDS}
    questions = tuple(line.strip() for line in _text(texts, QUESTIONS, root).splitlines() if line.strip())
    if not questions:
        raise ConfigError(f"{root / QUESTIONS} is empty; write one question a line")
    return Prompts(before, given, questions, digest_of(texts))


def _given(inputs: Inputs) -> dict[AskedKind, Given]:
    return {"conversation": inputs.conversation, "detail": inputs.detail, "complex": inputs.complex}


def _before(kind: AskedKind, given: Given, texts: dict[str, str], root: Path) -> tuple[Message, ...]:
    special = f"{kind}/system_{given}.txt"
    messages = [Message("system", _text(texts, special if special in texts else f"{kind}/system.txt", root))]
    shot = 0
    while (user := f"{kind}/shot_{shot}_user.txt") in texts:
        told = _text(texts, user, root)
        messages += [
            # An example shows what the request will show: without boxes, it ends at the blank line before them.
            Message("user", told if given == "captions_and_boxes" else told.partition("\n\n")[0]),
            Message("assistant", _text(texts, f"{kind}/shot_{shot}_assistant.txt", root)),
        ]
        shot += 1
    return tuple(messages)


def _text(texts: dict[str, str], name: str, root: Path) -> str:
    if name not in texts:
        raise ConfigError(f"{root / name} is missing; a set of prompts needs it")
    return texts[name].strip()


def messages_for(prompts: Prompts, kind: AskedKind, image: AnnotatedImage, turn: int = 0) -> tuple[Message, ...]:
    """The messages that ask for one conversation about an image.

    `turn` counts conversations of one kind about one image: later ones see the captions in another order, so that
    they are requests of their own and the teacher begins from something else.
    """
    captions = _turned(_clean(image.captions), turn)
    boxes = image.boxes if prompts.inputs[kind] == "captions_and_boxes" else ()
    return (*prompts.before[kind], Message("user", context(captions, boxes)))


def context(captions: Sequence[str], boxes: Sequence[Box]) -> str:
    """Captions one a line; a blank line; `category: [x1, y1, x2, y2]` one a line, with three decimals."""
    if not boxes:
        return "\n".join(captions)
    lines = ("{}: [{:.3f}, {:.3f}, {:.3f}, {:.3f}]".format(box.category, *box.box) for box in boxes)
    return "\n".join([*captions, "", *lines])


def detail_question(prompts: Prompts, sample: str) -> str:
    """The question of a detailed description, chosen by a hash of the sample's id."""
    digest = hashlib.sha256(f"{prompts.digest}/{sample}".encode()).digest()
    return prompts.detail_questions[int.from_bytes(digest[:8], "big") % len(prompts.detail_questions)]


def asking_again(messages: tuple[Message, ...], reply: str, complaint: str) -> tuple[Message, ...]:
    """The messages that ask for another reply, with what was wrong with the last one."""
    return (*messages, Message("assistant", reply), Message("user", complaint))


def _clean(captions: Sequence[str]) -> list[str]:
    """Captions as single lines, without empty ones and repetitions."""
    return list(dict.fromkeys(line for caption in captions if (line := " ".join(caption.split()))))


def _turned(captions: list[str], turn: int) -> list[str]:
    at = turn % len(captions) if captions else 0
    turned = captions[at:] + captions[:at]
    return turned[::-1] if captions and (turn // len(captions)) % 2 else turned
