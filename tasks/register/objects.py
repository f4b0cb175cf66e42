"""Lock and audit trail of promotions as objects in S3, by conditional puts.

The lease is one object that is created by `If-None-Match: *` and changed by `If-Match`, so that of two takers one
wins; a record of the trail is an object of its own, which is created once and never changed. S3 has no transaction to
keep open: a holder renews its lease for its whole length right before it moves the alias, which is as far as fencing
goes here. Times are those of the server's answers, to the second.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import fsspec
from pydantic import ValidationError

from tasks.errors import RegistryError
from tasks.register.audit import AuditRecord
from tasks.register.lock import LEASE_SECONDS, POLL_SECONDS, WAIT_SECONDS, Hold, lost, new_holder, wait_for


class Found(NamedTuple):
    """An object: its bytes, its version, and the server's time."""

    body: bytes
    etag: str
    now: float


class Bucket:
    """Objects under `s3://bucket/prefix`."""

    def __init__(self, root: str, options: dict[str, Any] | None = None) -> None:
        self.root = root.rstrip("/")
        self._bucket, _, self._prefix = self.root.removeprefix("s3://").partition("/")
        self._options = options or {}
        self._opened: Any = None

    def read(self, name: str) -> Found | None:
        """An object; None if there is none. Raises RegistryError if S3 does not answer."""
        filesystem = self._filesystem()
        try:
            answer = filesystem.call_s3("get_object", Bucket=self._bucket, Key=self._key(name))
            body = fsspec.asyn.sync(filesystem.loop, answer["Body"].read)
        except FileNotFoundError:
            return None
        except Exception as error:  # botocore's errors have no root in common with OSError
            raise self._refused(name, error) from error
        return Found(body, answer["ETag"], _date(answer))

    def create(self, name: str, body: bytes) -> str | None:
        """Make an object that is not there; its version, or None if it is there."""
        return self._put(name, body, {"IfNoneMatch": "*"})

    def replace(self, name: str, body: bytes, etag: str) -> str | None:
        """Replace an object that is as it was read; its new version, or None if it is not."""
        return self._put(name, body, {"IfMatch": etag})

    def names(self, folder: str) -> list[str]:
        """Names of the objects under a folder, sorted."""
        filesystem = self._filesystem()
        try:
            paths = filesystem.find(f"{self.root}/{folder}")
        except FileNotFoundError:
            return []
        except Exception as error:  # botocore's errors have no root in common with OSError
            raise self._refused(folder, error) from error
        return sorted(f"{folder}/{str(path).rsplit('/', 1)[1]}" for path in paths)

    def _put(self, name: str, body: bytes, condition: dict[str, str]) -> str | None:
        try:
            answer = self._filesystem().call_s3(
                "put_object", Bucket=self._bucket, Key=self._key(name), Body=body, **condition
            )
        except Exception as error:  # botocore's errors have no root in common with OSError
            if not (isinstance(error, OSError) and "condition" in str(error).lower()):
                raise self._refused(name, error) from error
            return None
        return str(answer["ETag"])

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    def _filesystem(self) -> Any:
        if self._opened is None:
            # What others write has to be seen at once.
            options = {**self._options, "use_listings_cache": False}
            self._opened = fsspec.core.url_to_fs(self.root, **options)[0]
        return self._opened

    def _refused(self, name: str, error: Exception) -> RegistryError:
        cause = " ".join(str(error).split()) or type(error).__name__
        return RegistryError(f"{self.root}/{name} cannot be used: {cause}; see to the store, then run again")


class ObjectAudit:
    """The trail as objects `registry/audit/<number>.json`."""

    FOLDER = "registry/audit"

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def append(self, record: AuditRecord) -> None:
        """See `AuditStore`. A number that another took first is passed over."""
        names = self._bucket.names(self.FOLDER)
        number = int(names[-1].rsplit("/", 1)[1].removesuffix(".json")) + 1 if names else 1
        while self._bucket.create(f"{self.FOLDER}/{number:010d}.json", record.model_dump_json().encode()) is None:
            number += 1

    def records(self) -> list[AuditRecord]:
        """See `AuditStore`. Raises RegistryError if an object is no record: the trail was edited."""
        found = []
        for name in self._bucket.names(self.FOLDER):
            try:
                if (read := self._bucket.read(name)) is not None:
                    found.append(AuditRecord.model_validate_json(read.body))
            except ValidationError as error:
                raise RegistryError(f"{self._bucket.root}/{name} is no audit record; restore it") from error
        return found


class ObjectHold:
    """The lease, held as one version of its object."""

    def __init__(self, bucket: Bucket, name: str, holder: str, etag: str, seconds: float) -> None:
        self._bucket, self._name, self._holder, self._etag, self._seconds = bucket, name, holder, etag, seconds

    @contextmanager
    def fenced(self) -> Iterator[None]:
        """See `Hold`. The lease is renewed for its whole length, if it is still the one that was taken."""
        if not self._written(self._seconds):
            raise lost(f"{self._bucket.root}/{self._name}")
        yield

    def release(self) -> None:
        """Let the next have it; who lost it has nothing to let go."""
        self._written(0.0)

    def _written(self, seconds: float) -> bool:
        found = self._bucket.read(self._name)
        if found is None or found.etag != self._etag or _until(found) <= found.now:
            return False
        etag = self._bucket.replace(self._name, _lease(self._holder, found.now + seconds), found.etag)
        if etag is not None:
            self._etag = etag
        return etag is not None


@contextmanager
def object_lock(
    bucket: Bucket, name: str, *, seconds: float = LEASE_SECONDS, timeout: float = WAIT_SECONDS,
    poll: float = POLL_SECONDS * 5,
) -> Iterator[Hold]:
    """Hold the lease of a name for `seconds` at a time. Raises RegistryError after `timeout` seconds of waiting."""
    holder, where, taken = new_holder(), f"registry/{name}.lease", list[str]()

    def take() -> bool:
        etag = _take(bucket, where, holder, seconds)
        taken.extend([] if etag is None else [etag])
        return etag is not None

    wait_for(take, f"{bucket.root}/{where}", timeout, poll)
    hold = ObjectHold(bucket, where, holder, taken[0], seconds)
    try:
        yield hold
    finally:
        hold.release()


def _take(bucket: Bucket, name: str, holder: str, seconds: float) -> str | None:
    """The version of the lease if it was free, else None."""
    if bucket.read(name) is None:
        bucket.create(name, _lease("", 0.0))
    found = bucket.read(name)
    if found is None or _until(found) > found.now:
        return None
    return bucket.replace(name, _lease(holder, found.now + seconds), found.etag)


def _lease(holder: str, until: float) -> bytes:
    return json.dumps({"holder": holder, "until": until}).encode()


def _until(found: Found) -> float:
    return float(json.loads(found.body)["until"])


def _date(answer: dict[str, Any]) -> float:
    return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]).timestamp()
