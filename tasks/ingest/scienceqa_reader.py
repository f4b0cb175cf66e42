"""The questions of one split of a ScienceQA-layout set. How they are asked is decided when they are sharded."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pydantic import JsonValue, ValidationError

from configs.schema import ScienceQASource
from model.questions import LETTERS, Problem
from tasks.errors import DataError
from tasks.ingest.documents import entries, list_items
from tasks.ingest.places import Place
from tasks.ingest.records import GivenQuestion, Quarantined
from tasks.ingest.staging import Staging
from tasks.ingest.text import clean

SCHEMA = (
    "DROP TABLE IF EXISTS pid",
    "CREATE TABLE pid (pid TEXT PRIMARY KEY, seen INTEGER) WITHOUT ROWID",
)


def read_scienceqa(source: ScienceQASource, place: Place, staging: Staging) -> Iterator[GivenQuestion | Quarantined]:
    """The questions of the split in the order of problems.json, then those that it lacks.

    Raises DataError if a file is missing or broken, or there is no such split.
    """
    for statement in SCHEMA:
        staging.create(statement)
    for pid in list_items(place, source.splits, source.split):
        staging.put("INSERT OR IGNORE INTO pid VALUES (?, 0)", str(pid))
    if not staging.number("SELECT count(*) FROM pid"):
        file = place.path(source.splits)
        raise DataError(f"{file}: split '{source.split}' is empty; name another by data.source.split")
    file = source.problems.rpartition("/")[2]
    for pid, row in entries(place, source.problems):
        if staging.put("UPDATE pid SET seen = 1 WHERE pid = ?", pid):
            yield _question(pid, row, source, f"{file}: {pid}")
    for (pid,) in staging.rows("SELECT pid FROM pid WHERE NOT seen ORDER BY pid"):
        yield Quarantined(f"{file}: {pid}", "malformed entry", "the split names it, but there is no such question")


def image_names(images: str, split: str, pid: str, image: str) -> tuple[str, ...]:
    """Where the image of a question may lie, best first; `images` is the folder in front, empty for none."""
    above = f"{images}/" if images else ""
    return (f"{above}{split}/{pid}/{image}", f"{above}{pid}/{image}")


def _question(pid: str, row: JsonValue, source: ScienceQASource, where: str) -> GivenQuestion | Quarantined:
    known = {key: value for key, value in row.items() if key in Problem.model_fields} if isinstance(row, dict) else row
    try:
        problem = Problem.model_validate_json(clean_json(known))
    except ValidationError as error:
        first = error.errors()[0]
        return Quarantined(where, "malformed entry", f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}")
    if not 0 <= problem.answer < len(problem.choices) <= len(LETTERS):
        return Quarantined(where, "malformed entry", f"answer {problem.answer} of {len(problem.choices)} choices")
    images = image_names("", source.split, pid, problem.image) if problem.image else ()
    return GivenQuestion(pid, problem, images)


def clean_json(value: JsonValue) -> str:
    """A JSON value as text, its own texts without control characters."""
    return json.dumps(_cleaned(value))


def _cleaned(value: JsonValue) -> JsonValue:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    return {key: _cleaned(item) for key, item in value.items()} if isinstance(value, dict) else value
