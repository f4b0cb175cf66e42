"""`llavaflow verify`: whether an artifact is whole, and what of it is not."""

from __future__ import annotations

from pydantic import JsonValue

from configs.settings import Settings
from flows.places import storage_options
from tasks.verification import Verified, verify


def check(uri: str, settings: Settings | None = None) -> Verified:
    """Check the artifact in a folder or at `s3://...`. Raises ArtifactError where there is none."""
    return verify(uri, storage_options(uri, settings or Settings()))


def lines(uri: str, verified: Verified) -> list[str]:
    """What was found, for the terminal."""
    samples = f", {verified.samples:,} samples" if verified.samples else ""
    looked_at = f"{verified.files:,} files, {verified.bytes / 1e6:,.1f} MB{samples}"
    faults = [str(fault) for fault in verified.faults]
    return [*faults, f"{uri}: {looked_at}: {f'{len(faults)} faults' if faults else 'whole'}"]


def as_json(uri: str, verified: Verified) -> dict[str, JsonValue]:
    """What was found, for programs."""
    return {
        "uri": uri, "whole": not verified.faults, "files": verified.files, "samples": verified.samples,
        "bytes": verified.bytes, "faults": [{"file": fault.file, "what": fault.what} for fault in verified.faults],
    }
