"""Annotation files as streams of JSON values: nothing is held but the value under way. Errors say where it broke."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import ijson
from ijson.backends import python as slow
from pydantic import JsonValue

from tasks.errors import DataError
from tasks.ingest.places import Place

BOM = b"\xef\xbb\xbf"
PACKED = {b"\x1f\x8b": "gzip", b"PK": "zip", b"BZ": "bzip2", b"\x28\xb5": "zstd", b"\xfd7": "xz"}
BUFFER = 1 << 16
BEGINNINGS = frozenset({"start_map", "start_array", "string", "number", "boolean", "null"})
"""Events with which an element of a list begins."""
LONGEST_LINE = 16_000_000
"""Bytes; a longer line is no record but a file without line ends."""


class BadLine(ValueError):
    """A line of a JSONL file that holds no JSON value."""


def list_items(place: Place, name: str, of: str | None, *, required: bool = True) -> Iterator[JsonValue]:
    """The elements of a list: the one under a key of the file's object, or (`of` None) the file's own.

    Raises DataError if the file is missing, broken, or of another layout; if not `required`, a missing list is empty.
    """
    with _opened(place, name, "[" if of is None else "{") as stream:
        found = False
        try:
            for item in ijson.items(stream, "item" if of is None else f"{of}.item", use_float=True, buf_size=BUFFER):
                found = True
                yield item
        except ijson.JSONError as error:
            raise DataError(_broken(place.path(name), stream, str(error))) from error
        if not found and of is not None and required and not _has_list(stream, of):
            raise DataError(f"{place.path(name)} has no list '{of}': it is not in the layout that data.source names")


def entries(place: Place, name: str) -> Iterator[tuple[str, JsonValue]]:
    """The keys and values of a file's object. Raises DataError as `list_items` does."""
    with _opened(place, name, "{") as stream:
        try:
            yield from ijson.kvitems(stream, "", use_float=True, buf_size=BUFFER)
        except ijson.JSONError as error:
            raise DataError(_broken(place.path(name), stream, str(error))) from error


def lines(place: Place, name: str) -> Iterator[tuple[int, JsonValue | BadLine]]:
    """Number and value of every line that is not blank; a line that holds no JSON comes as a BadLine."""
    with _opened(place, name, "") as stream:
        number = 0
        while line := stream.readline(LONGEST_LINE):
            number += 1
            if len(line) >= LONGEST_LINE and not line.endswith(b"\n"):
                _skip_line(stream)
                yield number, BadLine(f"longer than {LONGEST_LINE} bytes")
            elif line.strip():
                yield number, _value(line)


def corners_of(value: JsonValue) -> tuple[float, float, float, float] | None:
    """Four finite numbers, or None."""
    if not isinstance(value, list) or len(value) != 4:
        return None
    numbers = [float(item) for item in value if isinstance(item, int | float) and not isinstance(item, bool)]
    if len(numbers) != 4 or not all(math.isfinite(number) for number in numbers):
        return None
    return (numbers[0], numbers[1], numbers[2], numbers[3])


def _value(line: bytes) -> JsonValue | BadLine:
    try:
        value: JsonValue = json.loads(line.decode("utf-8"))
    except json.JSONDecodeError as error:
        return BadLine(f"not JSON: {error.msg} at column {error.colno}")
    except UnicodeDecodeError as error:
        return BadLine(f"not UTF-8 (byte {error.start} of the line)")
    except RecursionError:
        return BadLine("nested too deeply")
    return value


def _skip_line(stream: BinaryIO) -> None:
    while (part := stream.readline(LONGEST_LINE)) and not part.endswith(b"\n"):
        pass


@contextmanager
def _opened(place: Place, name: str, opening: str) -> Iterator[BinaryIO]:
    """A file past its byte order mark, once it is plain that it begins as it should."""
    with place.open(name) as stream:
        head = stream.read(4096)
        path = place.path(name)
        if packed := next((kind for sign, kind in PACKED.items() if head.startswith(sign)), None):
            raise DataError(f"{path} is compressed ({packed}): unpack it")
        text = head.removeprefix(BOM).lstrip()
        if not text:
            raise DataError(f"{path} is empty: put the annotation file there whole")
        if opening and not text.startswith(opening.encode()):
            wanted = "an object with lists, as COCO has it" if opening == "{" else "a list"
            raise DataError(f"{path} is not {wanted}: it begins with {text[:20].decode(errors='replace')!r}")
        _rewind(stream)
        yield stream


def _broken(path: str, stream: BinaryIO, told: str) -> str:
    """Where a file is broken, found by reading it once more by a parser that is slow and knows where it is."""
    element, number, of = "", 0, ""
    _rewind(stream)
    try:
        for prefix, event, _ in slow.parse(stream):
            if prefix in ("item", f"{of}.item") and event in BEGINNINGS:
                element, number = f"at element {number} of its list {of}".rstrip(), number + 1
            elif event == "start_array" and "." not in prefix:
                of, number = prefix, 0
                element = f"at the start of its list {of}".rstrip()
    except (ijson.JSONError, ValueError) as error:
        told = str(error)
    first = " ".join(told.split())[:120]
    return f"{path} is not JSON, broken {element or 'at its start'}: {first}; get it again or mend it there"


def _has_list(stream: BinaryIO, of: str) -> bool:
    """Whether the file's object has a list of that name, be it empty."""
    _rewind(stream)
    return any(prefix == of and event == "start_array" for prefix, event, _ in ijson.parse(stream, buf_size=BUFFER))


def _rewind(stream: BinaryIO) -> None:
    """To the start of the text, past a byte order mark."""
    stream.seek(0)
    if stream.read(len(BOM)) != BOM:
        stream.seek(0)
