"""Prompts of the three kinds of conversation: files in, messages out.

A set of prompts is a folder with one folder a kind (`system.txt`, `shot_0_user.txt`, `shot_0_assistant.txt`, ...) and
`detail_questions.txt`. The structure is LLaVA's (captions one a line, a blank line, boxes one a line; captions alone
for the kind conversation), the wording is our own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from model.records import AnnotatedImage, Box
from tasks.artifacts import digest_of
from tasks.chat_records import Message
from tasks.errors import ConfigError

AskedKind = Literal["conversation", "detail", "complex"]
KINDS: tuple[AskedKind, ...] = get_args(AskedKind)
FOLDER = Path(__file__).parent / "prompts"
QUESTIONS = "detail_questions.txt"


@dataclass(frozen=True)
class Prompts:
    """A set of prompts. `before` holds, for each kind, the system message and the examples."""

    before: dict[AskedKind, tuple[Message, ...]]
    detail_questions: tuple[str, ...]
    digest: str
    """Digest over all files of the set, by name."""


def load_prompts(name: str, folder: Path = FOLDER) -> Prompts:
    """Read a set of prompts. Raises ConfigError where it does not exist or lacks a file."""
    root = folder / name
    if not root.is_dir():
        known = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_dir()))
        raise ConfigError(f"generate.prompts: no folder {name!r} under tasks/generate/prompts/; there are: {known}")
    texts = {path.relative_to(root).as_posix(): path.read_text("utf-8") for path in sorted(root.rglob("*.txt"))}
    before = {kind: _before(kind, texts, root) for kind in KINDS}
    questions = tuple(line.strip() for line in _text(texts, QUESTIONS, root).splitlines() if line.strip())
    if not questions:
        raise ConfigError(f"{root / QUESTIONS} is empty; write one question a line")
    return Prompts(before, questions, digest_of(texts))


def _before(kind: AskedKind, texts: dict[str, str], root: Path) -> tuple[Message, ...]:
    messages = [Message("system", _text(texts, f"{kind}/system.txt", root))]
    shot = 0
    while (user := f"{kind}/shot_{shot}_user.txt") in texts:
        messages += [
            Message("user", _text(texts, user, root)),
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
    boxes = () if kind == "conversation" else image.boxes
    return (*prompts.before[kind], Message("user", context(captions, boxes)))


def context(captions: Sequence[str], boxes: Sequence[Box]) -> str:
    """Captions one a line; a blank line; `category: [x1, y1, x2, y2]` one a line, with three decimals."""
    lines = list(captions)
    if boxes:
        lines += ["", *(f"{box.category}: [{', '.join(f'{corner:.3f}' for corner in box.box)}]" for box in boxes)]
    return "\n".join(lines)


def detail_question(prompts: Prompts, sample: str) -> str:
    """The question of a detailed description, chosen by a hash of the sample's id."""
    digest = hashlib.sha256(f"{prompts.digest}/{sample}".encode()).digest()
    return prompts.detail_questions[int.from_bytes(digest[:8], "big") % len(prompts.detail_questions)]


def asking_again(messages: tuple[Message, ...], reply: str, reason: str) -> tuple[Message, ...]:
    """The messages that ask for another reply, with what was wrong with the last one."""
    told = Message("user", f"That reply cannot be used: {reason}. Write it again, in the form that was asked for.")
    return (*messages, Message("assistant", reply), told)


def _clean(captions: Sequence[str]) -> list[str]:
    """Captions as single lines, without empty ones and repetitions."""
    return list(dict.fromkeys(line for caption in captions if (line := " ".join(caption.split()))))


def _turned(captions: list[str], turn: int) -> list[str]:
    at = turn % len(captions) if captions else 0
    turned = captions[at:] + captions[:at]
    return turned[::-1] if captions and (turn // len(captions)) % 2 else turned
