"""Answers kept as they come, so that an evaluation that was interrupted goes on where it stopped.

One line of JSON an answer, by a digest of all that shapes it: the model, the prompt, the image's bytes, the settings.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from pydantic import JsonValue, TypeAdapter, ValidationError

from tasks.artifacts import Frozen, canonical_json, digest_of
from tasks.errors import ConfigError
from tasks.evaluate.answers import Answerer, Likely, Prompt, Scorer

FILE = "answers.jsonl"


class _Line(Frozen):
    key: str
    text: str | None = None
    likelihoods: tuple[tuple[float, int], ...] | None = None


@dataclass(frozen=True)
class KeptLikelihood:
    """A `Likely` as it was written down."""

    log_probability: float
    tokens: int


class KeptAnswers:
    """An `Answerer` and `Scorer` that asks another one only what is not in its file yet.

    `identity` is all that tells the other one from any other model. One process at a time may use a file.
    """

    def __init__(self, answerer: Answerer, identity: Mapping[str, JsonValue], path: Path) -> None:
        self._answerer, self._identity, self._path = answerer, dict(identity), path
        self._known = _read(path)
        self._images: dict[Path, str] = {}

    def answer(self, prompts: Sequence[Prompt], batch: int) -> Iterator[tuple[int, str]]:
        """See `Answerer`. An answer is in the file before it is yielded; equal prompts are asked once (a blind model
        is asked the same of every photo)."""
        wanting: dict[str, list[int]] = {}
        for position, prompt in enumerate(prompts):
            key = self._key(prompt)
            if (line := self._known.get(key)) is not None and line.text is not None:
                yield position, line.text
            else:
                wanting.setdefault(key, []).append(position)
        asked = list(wanting)
        with self._file() as file:
            for number, text in self._answerer.answer([prompts[wanting[key][0]] for key in asked], batch):
                self._keep(file, _Line(key=asked[number], text=text))
                yield from ((position, text) for position in wanting[asked[number]])

    def likelihoods(
        self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]], batch: int
    ) -> Iterator[tuple[int, Sequence[Likely]]]:
        """See `Scorer`. Raises ConfigError where the model cannot score."""
        scorer = self._answerer
        if not isinstance(scorer, Scorer):
            raise ConfigError("this model cannot score given answers; set evaluate.scienceqa.answering=generate")
        keys = [self._key(prompt, tuple(given)) for prompt, given in zip(prompts, answers, strict=True)]
        for position, key in enumerate(keys):
            if (line := self._known.get(key)) is not None and line.likelihoods is not None:
                yield position, [KeptLikelihood(*pair) for pair in line.likelihoods]
        asked = [position for position, key in enumerate(keys) if key not in self._known]
        wanted = [prompts[position] for position in asked], [answers[position] for position in asked]
        with self._file() as file:
            for number, found in scorer.likelihoods(*wanted, batch):
                pairs = tuple((one.log_probability, one.tokens) for one in found)
                self._keep(file, _Line(key=keys[asked[number]], likelihoods=pairs))
                yield asked[number], found

    def _file(self) -> TextIO:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return self._path.open("a", encoding="utf-8", newline="\n")

    def _keep(self, file: TextIO, line: _Line) -> None:
        file.write(canonical_json(line.model_dump(exclude_none=True)) + "\n")
        file.flush()
        self._known[line.key] = line

    def _key(self, prompt: Prompt, answers: tuple[str, ...] | None = None) -> str:
        shapes = asdict(prompt) | {"image": None if prompt.image is None else self._digest(prompt.image)}
        return digest_of({"model": self._identity, "prompt": shapes, "answers": answers})

    def _digest(self, image: Path) -> str:
        if image not in self._images:
            self._images[image] = hashlib.sha256(image.read_bytes()).hexdigest()
        return self._images[image]


def _read(path: Path) -> dict[str, _Line]:
    """What the file holds. A last line that was cut off when its writer was killed is taken out of the file."""
    if not path.is_file():
        return {}
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        with path.open("r+b") as file:
            file.truncate(len(whole))
    lines = TypeAdapter(_Line)
    found: dict[str, _Line] = {}
    for text in whole.decode("utf-8", errors="replace").split("\n")[:-1]:
        try:
            line = lines.validate_json(text)
        except (ValidationError, json.JSONDecodeError):
            continue  # an answer that cannot be read is asked for again
        found[line.key] = line
    return found
