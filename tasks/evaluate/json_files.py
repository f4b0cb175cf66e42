"""Read JSON and JSONL as people deliver them: with a byte order mark, CRLF, blank lines. Duplicate keys are errors."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from pydantic import JsonValue

from tasks.errors import DataError

JsonObject = dict[str, JsonValue]


class DuplicateKey(ValueError):
    """A JSON object holds a key twice; json.loads alone would keep the last in silence."""


def read_text(path: Path) -> str:
    """The text of a file without byte order mark, line ends as \\n. Raises DataError if it cannot be read as UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); convert it first") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def parse_json(text: str) -> JsonValue:
    """Parse JSON. Raises DuplicateKey, or ValueError as json does."""
    value: JsonValue = json.loads(text, object_pairs_hook=_unique)
    return value


def read_json(path: Path) -> JsonValue:
    """The one JSON value of a file. Raises DataError if it is none."""
    try:
        return parse_json(read_text(path))
    except DuplicateKey as error:
        raise DataError(f"{path}: {error}") from error
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}") from error


def read_object(path: Path) -> JsonObject:
    """The one JSON object of a file. Raises DataError if it is none."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise DataError(f"{path} must hold one JSON object, but holds a {type(value).__name__}")
    return value


def read_lines(path: Path) -> list[JsonObject]:
    """One JSON object a line; blank lines do not count. Raises DataError naming the first bad line."""
    return parse_lines(read_text(path), path)


def parse_lines(text: str, path: Path) -> list[JsonObject]:
    """The objects of JSONL text; `path` is for the message of the DataError."""
    rows: list[JsonObject] = []
    # Not splitlines(): it also cuts at U+2028 and its like, which JSON strings may hold.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = parse_json(line)
        except ValueError as error:
            raise DataError(f"{path}: line {number} is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise DataError(f"{path}: line {number} must be a JSON object, but is a {type(value).__name__}")
        rows.append(value)
    return rows


def named(names: list[str], at_most: int = 5) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - at_most} more" if len(names) > at_most else ""
    return ", ".join(names[:at_most]) + more


def _unique(pairs: list[tuple[str, JsonValue]]) -> JsonObject:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = sorted(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise DuplicateKey(f"key(s) given twice: {named(twice)}; keep one of each")
    return found

