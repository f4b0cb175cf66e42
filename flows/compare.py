"""`llavaflow compare`: find two evaluations, compare them, print the table, write the page."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import fsspec
from pydantic import JsonValue
from rich.table import Table
from rich.text import Text

from configs.settings import Settings
from flows.outcome import shown_path
from flows.places import store_of
from tasks.artifacts import EvalReport
from tasks.errors import ScoringError
from tasks.evaluate.compare import Compared, Comparison, Flip, Row, compare
from tasks.evaluate.report import REPORT, Example
from tasks.register.registry import MlflowRegistry
from tasks.report.collect import question_of
from tasks.report.compare_inputs import Answered, ComparedBenchmark, ComparedRow, ComparePage, Flipped
from tasks.report.compare_page import write_page
from tasks.report.words import row_name, score_name, signed

MODELS = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>\d+)|@(?P<alias>[\w-]+))")
RESULT = "result.json"


@dataclass(frozen=True)
class Found:
    """An evaluation on this machine. `images` is where its images lie, if anywhere."""

    name: str
    folder: Path
    images: Path | None


@dataclass(frozen=True)
class Made:
    """A comparison and its page."""

    comparison: Comparison
    page: Path

    def json(self) -> dict[str, JsonValue]:
        """For programs; examples by their ids only."""
        value: dict[str, JsonValue] = self.comparison.model_dump(
            mode="json", exclude={"benchmarks": {"__all__": {"flips"}}}
        )
        flips: dict[str, JsonValue] = {
            part.name: [{"id": flip.first.id, "gain": flip.gain} for flip in part.flips]
            for part in self.comparison.benchmarks
        }
        return {**value, "flips": flips, "page": shown_path(self.page)}

    def tables(self) -> Iterator[Table | Text]:
        """For a person."""
        for part in self.comparison.benchmarks:
            yield _table(self.comparison, part)
        for note in notes_of(self.comparison):
            yield Text(f"Note: {note}")
        yield Text(f"page: {shown_path(self.page)}")


def compare_models(
    names: tuple[str, str], settings: Settings, registry: Callable[[], MlflowRegistry], html: str | None,
    confidence: float = 0.95,
) -> Made:
    """Find, compare, and write the page (by default under the folder of all runs).

    Raises ScoringError where a name is no evaluation or the two have nothing in common, RegistryError for a version
    that is not there.
    """
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="llavaflow-compare-")))
        first, second = (
            find(name, settings, registry, scratch / str(number)) for number, name in enumerate(names, 1)
        )
        comparison = compare(first.folder, second.folder, (first.name, second.name), confidence)
        page = Path(html) if html else settings.home() / f"compare-{_slug(first.name)}-{_slug(second.name)}.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        write_page(page, page_of(comparison, first.images or second.images))
    return Made(comparison, page)


def find(name: str, settings: Settings, registry: Callable[[], MlflowRegistry], scratch: Path) -> Found:
    """An evaluation by folder, uri, id of a run, number or alias of a version, or models:/name/version."""
    folder = Path(name).expanduser()
    for place in (folder, settings.home() / name):
        if (place / REPORT).is_file():
            return Found(_short(place.name), place, place)
        if (place / RESULT).is_file():
            return _fetched(place.name, _evaluation_of_run(place), settings, scratch)
    if "://" in name:
        return _fetched(name, name, settings, scratch)
    if folder.is_dir():
        raise ScoringError(f"{name} is neither an evaluation ({REPORT}) nor a run ({RESULT})")
    return _of_version(name, settings, registry(), scratch)


def page_of(comparison: Comparison, images: Path | None) -> ComparePage:
    """The comparison as the page shows it."""
    return ComparePage(
        first=comparison.first,
        second=comparison.second,
        confidence=comparison.confidence,
        notes=tuple(comparison.notes),
        benchmarks=tuple(
            ComparedBenchmark(
                name=part.name, judged=part.judged, notes=part.notes,
                rows=tuple(ComparedRow.model_validate(row.model_dump()) for row in part.rows),
                flips=tuple(_flipped(flip, images) for flip in part.flips),
            )
            for part in comparison.benchmarks
        ),
    )


def notes_of(comparison: Comparison) -> Iterator[str]:
    """What a reader of the table must know."""
    yield from comparison.notes
    for part in comparison.benchmarks:
        yield from (f"{score_name(part.name)}: {note}" for note in part.notes)
        if (needed := part.rows[-1].needed) is not None:
            yield (
                f"{score_name(part.name)}: a difference of one point takes about {needed} examples to be seen "
                f"(80 % power); here are {part.rows[-1].n}"
            )


def _of_version(name: str, settings: Settings, registry: MlflowRegistry, scratch: Path) -> Found:
    """A version's evaluation. The registry keeps no images; where the artifact is still in the store, it has them."""
    if named := MODELS.fullmatch(name):
        registry = MlflowRegistry(registry.store, named["name"], registry.alias)
        version = named["version"] or registry.of_alias(named["alias"])
    else:
        version = name if name.isdigit() else registry.of_alias(name)
    if version is None:
        raise ScoringError(
            f"{name} is no evaluation: no folder, no run under {settings.home()}, no alias of {registry.name}; "
            "`llavaflow models` lists the versions"
        )
    scratch.mkdir(parents=True)
    folder, digest = registry.evaluation(version, scratch)
    return Found(f"version {version}", folder, _in_store(digest, settings))


def _in_store(digest: str, settings: Settings) -> Path | None:
    store = store_of(settings)
    for key in store.keys("evaluate"):
        manifest = store.manifest("evaluate", key)
        if manifest is not None and manifest.digest == digest:
            return store.local(store.descriptor(EvalReport, "evaluate", manifest))
    return None


def _evaluation_of_run(folder: Path) -> str:
    stages = json.loads((folder / RESULT).read_text(encoding="utf-8")).get("stages", [])
    uri = next((stage.get("uri") for stage in stages if stage.get("name") == "evaluate"), None)
    if uri is None:
        raise ScoringError(f"run {folder.name} ended before it evaluated anything; compare a run that did")
    return str(uri)


def _fetched(name: str, uri: str, settings: Settings, scratch: Path) -> Found:
    """An evaluation at a uri, copied here where it lies elsewhere."""
    if "://" not in uri:
        return Found(_short(Path(name).name), Path(uri), Path(uri))
    options = {"endpoint_url": settings.s3_endpoint} if settings.s3_endpoint and uri.startswith("s3:") else {}
    try:
        filesystem, path = fsspec.core.url_to_fs(uri.rstrip("/"), **options)
        scratch.mkdir(parents=True)
        filesystem.get(f"{path}/", str(scratch), recursive=True)
    except (OSError, ValueError, ImportError) as error:
        raise ScoringError(f"{uri} cannot be fetched: {error}") from error
    return Found(name, scratch, scratch)


def _flipped(flip: Flip, images: Path | None) -> Flipped:
    question, options = question_of(flip.first.prompt)
    file = flip.first.image or flip.second.image
    return Flipped(
        id=flip.first.id, image=images / file if images and file else None, question=question, options=options,
        truth=flip.first.correct[:1] if options else flip.first.correct, gain=flip.gain,
        first=_answered(flip.first), second=_answered(flip.second),
    )


def _answered(example: Example) -> Answered:
    said = example.sighted
    words = (said.words or "").partition("\n")[2].strip() if said.scores else ""
    return Answered(text=said.text, choice=said.choice, outcome=said.outcome, scores=said.scores, words=words)


def _table(comparison: Comparison, part: Compared) -> Table:
    table = Table(
        title=f"{score_name(part.name)}: A is {comparison.first}, B is {comparison.second}", title_justify="left",
        box=None, padding=(0, 2, 0, 0),
    )
    table.add_column("", no_wrap=True)
    for heading in ("n", "A", "B", "B - A", f"{comparison.confidence:.0%} interval", "A only", "B only", "p", "Holm"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in part.rows:
        table.add_row(*_cells(row), style="bold" if row.whole else "")
    return table


def _cells(row: Row) -> list[str]:
    only = ["-" if count is None else str(count) for count in (row.first_only, row.second_only)]
    return [
        row_name(row.name), str(row.n), f"{row.first:.1f}", f"{row.second:.1f}", signed(row.difference),
        f"{signed(row.low)} to {signed(row.high)}", *only, f"{row.p_value:.3g}",
        "-" if row.holm is None else f"{row.holm:.3g}",
    ]


def _short(name: str) -> str:
    """A folder's name; of a cache key the first of its letters."""
    return name[:10] if re.fullmatch(r"[0-9a-f]{32}", name) else name


def _slug(name: str) -> str:
    return re.sub(r"[^\w]+", "-", Path(name).name).strip("-")[:40] or "model"
