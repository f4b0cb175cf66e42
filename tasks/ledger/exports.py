"""What the ledger paid for, as files in a storage: so that another machine, or this one after it lost its disk, never
pays for it again.

One file of gzipped JSON lines an export, `<uri>/<name>.jsonl.gz`: beginnings of requests, then answered requests. A
ledger takes a file in once and remembers its name; an answer that it has already stays as it is. A ledger that several
machines share (Postgres) needs none of this.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import fsspec
import sqlalchemy as sa

from tasks.errors import DataError
from tasks.ledger.tables import METADATA, PREFIXES, REQUESTS, insert_new, only_writer, open_engine

ROWS_AT_ONCE = 500
TAKEN = sa.Table("taken_exports", METADATA, sa.Column("name", sa.String(255), primary_key=True))
"""Names of the exports that are in this ledger, its own among them."""
SUFFIX = ".jsonl.gz"


class Exports:
    """The exports under a uri, and the ledger at a SQLAlchemy URL."""

    def __init__(self, url: str, uri: str, options: dict[str, Any] | None = None) -> None:
        self.url, self.uri = url, uri.rstrip("/")
        self._options = options or {}

    def write(self, name: str, since: float) -> int:
        """Write what was answered since a time (seconds since the epoch) to a file of this name; how many requests.

        Nothing is written where nothing was answered.
        """
        with self._engine() as engine, engine.begin() as connection:
            answered = sa.select(REQUESTS).where(REQUESTS.c.state == "answered", REQUESTS.c.answered >= since)
            rows = [dict(row) for row in connection.execute(answered.order_by(REQUESTS.c.key)).mappings()]
            if not rows:
                return 0
            begun = sorted({str(json.loads(row["request"])["prefix"]) for row in rows})
            beginnings = [dict(row) for row in self._beginnings(connection, begun)]
            lines = [{"beginning": row} for row in beginnings] + [{"request": row} for row in rows]
            body = "".join(json.dumps(line, sort_keys=True, ensure_ascii=False) + "\n" for line in lines)
            self._filesystem().pipe_file(f"{self.uri}/{name}{SUFFIX}", gzip.compress(body.encode(), mtime=0))
            connection.execute(insert_new(TAKEN, engine.dialect.name), [{"name": name}])
        return len(rows)

    def take_in(self) -> int:
        """Add the answers of all exports that are not in the ledger yet; how many requests were read.

        Raises DataError for an export that cannot be read.
        """
        taken = 0
        with self._engine() as engine:
            with engine.connect() as connection:
                known = set(connection.execute(sa.select(TAKEN.c.name)).scalars())
            for name, path in self._there():
                if name not in known:
                    taken += self._take(engine, name, path)
        return taken

    def _take(self, engine: sa.Engine, name: str, path: str) -> int:
        beginnings, requests = self._read(path)
        with engine.begin() as connection:
            only_writer(connection)
            for table, rows in ((PREFIXES, beginnings), (REQUESTS, requests)):
                for part in _parts(rows):
                    connection.execute(insert_new(table, engine.dialect.name), part)
            connection.execute(insert_new(TAKEN, engine.dialect.name), [{"name": name}])
        return len(requests)

    def _read(self, path: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        try:
            lines = gzip.decompress(self._filesystem().cat_file(path)).decode().splitlines()
            told: list[Mapping[str, dict[str, Any]]] = [json.loads(line) for line in lines]
            return (
                [line["beginning"] for line in told if "beginning" in line],
                [line["request"] for line in told if "request" in line],
            )
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"the ledger's export {path} cannot be read ({error}); restore it or remove it") from error

    def _there(self) -> Iterator[tuple[str, str]]:
        filesystem = self._filesystem()
        filesystem.invalidate_cache()
        try:
            found = filesystem.find(self.uri)
        except FileNotFoundError:
            return
        for path in sorted(found):
            if path.endswith(SUFFIX):
                yield path.rsplit("/", 1)[1].removesuffix(SUFFIX), path

    @staticmethod
    def _beginnings(connection: sa.Connection, digests: list[str]) -> Iterator[Mapping[str, Any]]:
        for start in range(0, len(digests), ROWS_AT_ONCE):
            chosen = PREFIXES.c.digest.in_(digests[start : start + ROWS_AT_ONCE])
            for row in connection.execute(sa.select(PREFIXES).where(chosen).order_by(PREFIXES.c.digest)).mappings():
                yield dict(row)

    @contextmanager
    def _engine(self) -> Iterator[sa.Engine]:
        engine = open_engine(sa.make_url(self.url))
        try:
            yield engine
        finally:
            engine.dispose()

    def _filesystem(self) -> Any:
        return fsspec.core.url_to_fs(self.uri, **self._options)[0]


def _parts(rows: list[dict[str, Any]]) -> Iterable[list[dict[str, Any]]]:
    return (rows[start : start + ROWS_AT_ONCE] for start in range(0, len(rows), ROWS_AT_ONCE))
