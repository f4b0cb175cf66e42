"""Where data lies on this machine: roots of data sets and of benchmarks, resolved from experiment and settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from configs.schema import Experiment, ShapesSource
from configs.settings import Settings
from tasks.artifacts import digest_of
from tasks.errors import DataError


def source_root(experiment: Experiment, settings: Settings) -> Path | None:
    """The folder of the experiment's data; None where the project makes them. Raises DataError if it is not there."""
    source = experiment.data.source
    return None if isinstance(source, ShapesSource) else resolve(source.root, experiment, settings)


def outside_benchmarks(experiment: Experiment, settings: Settings) -> dict[str, Path]:
    """Folders of the benchmarks that did not come with the images. Raises DataError if one is not there."""
    evaluate = experiment.evaluate
    parts = {
        "scienceqa": evaluate.scienceqa, "llava_bench": evaluate.llava_bench,
        "pope": evaluate.pope, "mme": evaluate.mme,
    }
    named = {name: part.root for name, part in parts.items() if part is not None}
    return {name: resolve(root, experiment, settings) for name, root in named.items() if root is not None}


def benchmarks(experiment: Experiment, settings: Settings, images: Path) -> dict[str, Path]:
    """Folders of all benchmarks: those that are named, and those that came with the images (an ImageSet's folder)."""
    brought = {path.name: path for path in sorted((images / "benchmarks").glob("*")) if path.is_dir()}
    return brought | outside_benchmarks(experiment, settings)


def resolve(root: str, experiment: Experiment, settings: Settings) -> Path:
    """A root as an absolute folder: relative ones lie under `data.root`, LLAVAFLOW_DATA_ROOT, or the working folder.

    Raises DataError, naming the remedy, if there is no such folder.
    """
    above = Path(experiment.data.root) if experiment.data.root else settings.data_root or Path()
    path = (above.expanduser() / Path(root).expanduser()).absolute()
    if not path.is_dir():
        remedy = "--set data.root=FOLDER or LLAVAFLOW_DATA_ROOT says what relative roots lie under"
        raise DataError(f"there is no data folder {path}; {remedy}")
    return path


def fingerprint(root: Path) -> str:
    """A digest that changes when the files of a folder do: by name, size and time of change, as reading all is slow."""
    table: list[JsonValue] = []
    for path in sorted(root.rglob("*")):
        if path.is_file():
            stat = path.stat()
            table.append([path.relative_to(root).as_posix(), stat.st_size, stat.st_mtime_ns])
    return digest_of(table)


def fingerprints(roots: Mapping[str, Path]) -> dict[str, JsonValue]:
    """Name to fingerprint of several folders."""
    return {name: fingerprint(root) for name, root in sorted(roots.items())}
