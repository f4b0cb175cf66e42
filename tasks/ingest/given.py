"""Samples and questions that sources bring, on disk until it is known what became of their images."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from model.records import Sample, Turn
from tasks.ingest.quarantine import Quarantine
from tasks.ingest.records import GivenQuestion, GivenSample, Quarantined, Reason
from tasks.ingest.staging import Staging

STAGES = ("align", "instruct")
SCHEMA = (
    # more: the names of further images, as a JSON list; null for none.
    """CREATE TABLE sample (stage TEXT, id TEXT, source INTEGER, image TEXT, more TEXT, turns TEXT,
    PRIMARY KEY (stage, id)) WITHOUT ROWID""",
    "CREATE TABLE repeated (stage TEXT, id TEXT, number INTEGER, PRIMARY KEY (stage, id)) WITHOUT ROWID",
    """CREATE TABLE question (id TEXT PRIMARY KEY, source INTEGER, image TEXT, problem TEXT) WITHOUT ROWID""",
)
JOINED = "LEFT JOIN placed ON placed.source = given.source AND placed.name = given.image"

WITH_ITS_IMAGE: dict[str, Reason] = {
    "occurs in a test set": "its image occurs in a test set", "withdrawn": "its image was withdrawn",
}
"""Reasons to leave out an image that are reasons of their own for its samples."""


class Given:
    """The samples and questions."""

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        for statement in SCHEMA:
            staging.create(statement)

    def add_sample(self, source: int, sample: GivenSample) -> bool:
        """Take up a sample. Returns whether its id was taken: it then has the next free number behind it."""
        turns = json.dumps([[turn.role, turn.text] for turn in sample.turns], ensure_ascii=False)
        more = json.dumps(sample.more) if sample.more else None
        name, renamed = sample.id, False
        while not self._staging.put(
            "INSERT OR IGNORE INTO sample VALUES (?, ?, ?, ?, ?, ?)",
            sample.stage, name, source, sample.image, more, turns,
        ):
            name, renamed = f"{sample.id}-{self._next(sample)}", True
        return renamed

    def add_question(self, source: int, question: GivenQuestion, image: str | None) -> bool:
        """Take up a question. Returns whether its id was free."""
        problem = question.problem.model_dump_json()
        values = (question.pid, source, image, problem)
        return self._staging.put("INSERT OR IGNORE INTO question VALUES (?, ?, ?, ?)", *values) == 1

    def number(self) -> int:
        """Samples and questions taken up."""
        return sum(self._staging.number(f"SELECT count(*) FROM {table}") for table in ("sample", "question"))

    def write(self, folder: Path, quarantine: Quarantine) -> dict[str, int]:
        """Write given/<stage>.jsonl and questions.jsonl, those whose image was left out excepted. Returns counts."""
        counts = {"given_align": 0, "given_instruct": 0, "given_without_image": 0, "questions": 0}
        for stage in STAGES:
            query = (
                "SELECT id, image, final, reason, json_array(given.source, more, turns) "
                f"FROM sample AS given {JOINED} WHERE stage = ? ORDER BY id"
            )
            kept = self._kept(self._staging.rows(query, stage), quarantine)
            lines = (line for row in kept if (line := self._line(*row, quarantine)) is not None)
            counts[f"given_{stage}"] = _write(folder / "given" / f"{stage}.jsonl", lines)
        counts["given_without_image"] = self._staging.number("SELECT count(*) FROM sample WHERE image IS NULL")
        query = f"SELECT id, image, final, reason, problem FROM question AS given {JOINED} ORDER BY id"
        rows = self._kept(self._staging.rows(query), quarantine)
        lines = (
            json.dumps({"id": name, "image": image, "problem": json.loads(problem)}, ensure_ascii=False)
            for name, image, problem in rows
        )
        counts["questions"] = _write(folder / "questions.jsonl", lines)
        return counts

    def _next(self, sample: GivenSample) -> int:
        """The next number for an id that is taken, remembered so that many equal ids cost no search."""
        key = (sample.stage, sample.id)
        self._staging.put("INSERT OR IGNORE INTO repeated VALUES (?, ?, 1)", *key)
        self._staging.put("UPDATE repeated SET number = number + 1 WHERE stage = ? AND id = ?", *key)
        return self._staging.number("SELECT number FROM repeated WHERE stage = ? AND id = ?", *key)

    def _line(self, name: str, image: str | None, payload: str, quarantine: Quarantine) -> str | None:
        """A sample whose first image is there; None where a further one is not."""
        source, more, turns = json.loads(payload)
        finals = []
        for file in json.loads(more) if more else ():
            final, reason = self._staging.first(
                "SELECT final, reason FROM placed WHERE source = ? AND name = ?", source, file
            ) or (None, "not listed")
            if final is None:
                left = WITH_ITS_IMAGE.get(reason, "its image was left out")
                quarantine.add(Quarantined(name, left, f"{file}: {reason}"))
                return None
            finals.append(final)
        return Sample(
            id=name, image=image, more_images=tuple(finals) or None, kind="given", conversations=_turns(turns)
        ).line()

    def _kept(self, rows: Iterator[Any], quarantine: Quarantine) -> Iterator[tuple[str, str | None, str]]:
        for name, image, final, reason, payload in rows:
            if image is None or final is not None:
                yield name, final, payload
                continue
            left = WITH_ITS_IMAGE.get(reason, "its image was left out")
            quarantine.add(Quarantined(name, left, f"{image}: {reason}"))


def _turns(text: str) -> tuple[Turn, ...]:
    return tuple(Turn(role=role, text=said) for role, said in json.loads(text))


def _write(path: Path, lines: Iterator[str]) -> int:
    """Write lines, if there are any. Returns how many."""
    first = next(lines, None)
    if first is None:
        return 0
    path.parent.mkdir(exist_ok=True)
    number = 1
    with path.open("w", encoding="utf-8") as handle:
        handle.write(f"{first}\n")
        for line in lines:
            handle.write(f"{line}\n")
            number += 1
    return number
