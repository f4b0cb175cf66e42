"""Annotation files as JSON, with errors that say where they are broken."""

from __future__ import annotations

import json
import math
from pathlib import Path

from pydantic import JsonValue

from tasks.errors import DataError


def read_text(path: Path) -> str:
    """The text of an annotation file. Raises DataError if it is missing or not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise DataError(f"there is no annotation file {path}: name it by data.source in the experiment") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}): is it compressed or an image?") from error


def read_json(path: Path) -> dict[str, JsonValue]:
    """A JSON object from a file. Raises DataError naming the file, line and column where it is none."""
    try:
        document = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error
    if not isinstance(document, dict):
        raise DataError(f"{path} holds a JSON {type(document).__name__}, not an object with lists as COCO has it")
    return document


def rows_of(document: dict[str, JsonValue], name: str, path: Path) -> list[JsonValue]:
    """A list in a JSON object. Raises DataError if it is not there."""
    rows = document.get(name)
    if not isinstance(rows, list):
        raise DataError(f"{path} has no list '{name}': it is not in COCO layout")
    return rows


def corners_of(value: JsonValue) -> tuple[float, float, float, float] | None:
    """Four finite numbers, or None."""
    if not isinstance(value, list) or len(value) != 4:
        return None
    numbers = [float(item) for item in value if isinstance(item, int | float) and not isinstance(item, bool)]
    if len(numbers) != 4 or not all(math.isfinite(number) for number in numbers):
        return None
    return (numbers[0], numbers[1], numbers[2], numbers[3])
