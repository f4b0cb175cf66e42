"""Where data lies on this machine: roots of data sets and of benchmarks, resolved from experiment and settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import fsspec
from pydantic import JsonValue

from configs.schema import Experiment, ShapesSource
from configs.settings import Settings
from tasks.artifacts import digest_of
from tasks.errors import DataError
from tasks.ingest.places import S3, Place
from tasks.ingest.testsets import CAPTIONS, LLAVA_BENCH, SCIENCEQA, SetConfig, TestSet

REMEDY = "--set data.root=FOLDER or LLAVAFLOW_DATA_ROOT says what relative roots lie under"


def source_places(experiment: Experiment, settings: Settings) -> tuple[Place | None, ...]:
    """The roots of the sources, whether they are there or not; None where the project makes the data."""
    return tuple(
        None
        if isinstance(source, ShapesSource)
        else Place(_joined(source.root, experiment, settings), settings.s3_endpoint)
        for source in experiment.data.sources
    )


def check_places(experiment: Experiment, settings: Settings) -> None:
    """Raise DataError, naming the remedy, if a source is not there whose size the experiment does not tell."""
    for source, place in zip(experiment.data.sources, source_places(experiment, settings), strict=True):
        if place is not None and not place.exists() and getattr(source, "expected", None) is None:
            raise DataError(f"there is no data folder {place.uri}; {REMEDY}")


def test_sets(experiment: Experiment, settings: Settings) -> tuple[TestSet, ...]:
    """The test sets that the experiment names. Raises DataError if one is not there."""
    configs, roots = _configured(experiment), outside_benchmarks(experiment, settings)
    return tuple(TestSet(name, root, configs[name]) for name, root in roots.items())


def outside_benchmarks(experiment: Experiment, settings: Settings) -> dict[str, Path]:
    """Folders of the benchmarks that did not come with the images. Raises DataError if one is not there."""
    named = {name: part.root for name, part in _configured(experiment).items()}
    return {name: resolve(root, experiment, settings) for name, root in named.items() if root is not None}


def _configured(experiment: Experiment) -> dict[str, SetConfig]:
    evaluate = experiment.evaluate
    parts = {
        SCIENCEQA: evaluate.scienceqa, LLAVA_BENCH: evaluate.llava_bench, "pope": evaluate.pope, "mme": evaluate.mme,
        CAPTIONS: evaluate.captions,
    }
    return {name: part for name, part in parts.items() if part is not None}


def benchmarks(experiment: Experiment, settings: Settings, images: Path) -> dict[str, Path]:
    """Folders of all benchmarks: those that are named, and those that came with the images (an ImageSet's folder)."""
    brought = {path.name: path for path in sorted((images / "benchmarks").glob("*")) if path.is_dir()}
    return brought | outside_benchmarks(experiment, settings)


def resolve(root: str, experiment: Experiment, settings: Settings) -> Path:
    """A root as an absolute folder: relative ones lie under `data.root`, LLAVAFLOW_DATA_ROOT, or the working folder.

    Raises DataError, naming the remedy, if there is no such folder.
    """
    joined = _joined(root, experiment, settings)
    if joined.startswith(S3):
        raise DataError(f"benchmarks are read from a folder, and {joined} is none; give the absolute path of a copy")
    if not Path(joined).is_dir():
        raise DataError(f"there is no data folder {joined}; {REMEDY}")
    return Path(joined)


def _joined(root: str, experiment: Experiment, settings: Settings) -> str:
    above = str(experiment.data.root or settings.data_root or "")
    if root.startswith(S3):
        return root
    if above.startswith(S3) and not Path(root).expanduser().is_absolute():
        return f"{above.rstrip('/')}/{root}"
    return str((Path(above).expanduser() / Path(root).expanduser()).absolute())


def fingerprint(root: Path) -> str:
    """A digest that changes when the files of a folder do: by name, size and time of change, as reading all is slow."""
    table: list[JsonValue] = []
    for path in sorted(root.rglob("*")):
        if path.is_file():
            stat = path.stat()
            table.append([path.relative_to(root).as_posix(), stat.st_size, stat.st_mtime_ns])
    return digest_of(table)


def fingerprint_model(path: str) -> str | None:
    """As `fingerprint`, of a model's folder, here or in S3; None for a hub id, whose revision says it all.

    What is in S3 counts by name, size and ETag. What cannot be listed counts as not there: the stage says why.
    """
    if "://" not in path:
        folder = Path(path).expanduser()
        return fingerprint(folder) if folder.is_dir() else None
    try:
        filesystem, root = fsspec.core.url_to_fs(path)
        listed = filesystem.find(root, detail=True)
    except (OSError, ValueError):
        return None
    return digest_of(
        [[name, entry.get("size"), entry.get("ETag") or entry.get("mtime")] for name, entry in sorted(listed.items())]
    )


def fingerprints(roots: Mapping[str, Path]) -> dict[str, JsonValue]:
    """Name to fingerprint of several folders."""
    return {name: fingerprint(root) for name, root in sorted(roots.items())}
