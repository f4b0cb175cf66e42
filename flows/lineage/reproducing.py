"""`llavaflow reproduce`: make a version again from what is recorded, under a fresh root, and compare.

The code is that of the recorded commit, the teacher's and judge's answers come out of the ledger, and nothing is sent.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from configs.settings import Settings
from flows.lineage.catalogue import read_catalogue
from flows.lineage.comparing import Around, Reproduction, causes_of, compare
from flows.lineage.comparing import lines as lines
from flows.lineage.downward import stages_of
from flows.lineage.records import KnownVersion
from flows.lineage.versions import Versions, known_versions, version_of
from flows.outcome import Outcome
from flows.places import ledger_of, store_of, withdrawn_of
from flows.report_page import machine_line
from flows.run import RESULT
from tasks.code import PROJECT, code_state
from tasks.errors import EnvironmentProblem, RegistryError
from tasks.register.package import EXPERIMENT, PROVENANCE
from tasks.register.provenance import Made, Provenance
from tasks.withdrawn import WithdrawnImages

ELSEWHERE = (
    "LLAVAFLOW_STORAGE", "LLAVAFLOW_STORE", "LLAVAFLOW_MLFLOW_URI", "LLAVAFLOW_PREFECT_API_URL", "PREFECT_API_URL",
    "PREFECT_HOME",
)
"""Settings that would have the reproduction write where the original did."""
SHOWN_FILES = 5


@dataclass(frozen=True)
class Recipe:
    """What a version was made from."""

    version: KnownVersion
    experiment: str
    """The resolved experiment, as YAML."""
    stages: dict[str, Made]
    hardware: Mapping[str, str]

    @property
    def dirty(self) -> bool:
        """Whether the code of a stage differed from its commit."""
        return any(made.git_dirty for made in self.stages.values())


def recipe_of(word: str, registry: Versions) -> Recipe:
    """What a version was made from. Raises RegistryError where it is not recorded."""
    version = version_of(word, registry.name, known_versions(registry))
    experiment, provenance = (registry.text(version.version, name) for name in (EXPERIMENT, PROVENANCE))
    stages = stages_of(provenance, version.version)
    if experiment is None or provenance is None or "git_commit" not in version.tags:
        raise RegistryError(
            f"version {version.version} records no {'commit' if experiment and provenance else 'experiment'}: it was "
            "registered by other means, or outside a git work tree, and cannot be made again"
        )
    return Recipe(version, experiment, stages, Provenance.model_validate_json(provenance).hardware)


def reproduce(word: str, registry: Versions, settings: Settings, into: Path | None = None) -> Reproduction:
    """Make a version again and compare. `into` is a fresh root, kept; without it one is made, and kept if unequal.

    Raises RegistryError where the recipe is not recorded, EnvironmentProblem where its commit is not to be had.
    """
    recipe = recipe_of(word, registry)
    root = _fresh(into)
    with _tree(recipe.version.tags["git_commit"], root) as (tree, notes):
        outcome, error = _run(recipe, tree, root, settings)
    records = {} if outcome is None else {record.name: record for record in outcome.stages}
    stages = compare(recipe.stages, records)
    causes: tuple[str, ...] = ()
    if first := next((stage for stage in stages if stage.state != "equal"), None):
        made = recipe.stages[first.stage]
        around = Around(
            hardware=recipe.hardware, dirty=recipe.dirty, error=error,
            files=_files(first.stage, made, settings, root) if first.now else (),
        )
        here = {**recipe.hardware, "Machine": machine_line(), "Python": platform.python_version()}
        causes = causes_of(made, records.get(first.stage), around, here)
    if recipe.dirty:
        notes = (*notes, "it was made by code that differed from its commit, and that code is not recorded")
    if first is None and into is None:
        shutil.rmtree(root)
    return Reproduction(
        model=registry.name, version=recipe.version.version, notes=notes, stages=stages, causes=causes,
        root=str(root) if root.exists() else None,
    )


def _fresh(into: Path | None) -> Path:
    if into is None:
        # Ray's sockets lie below it and need a short path.
        return Path(tempfile.mkdtemp(prefix="again-"))
    if into.exists() and any(into.iterdir()):
        raise EnvironmentProblem(f"{into} is not empty, so something there could be taken for made anew; name another")
    into.mkdir(parents=True, exist_ok=True)
    return into.absolute()


@contextmanager
def _tree(commit: str, root: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """A folder with the code of a commit: the present one where it is just that, else a work tree of its own."""
    state = code_state()
    if state.commit == commit and state.dirty is False:
        yield PROJECT, ("made by the present code, which is that of its commit",)
        return
    folder = root / "code"
    _git(commit, "worktree", "add", "--detach", str(folder), commit)
    try:
        yield folder, (f"made by the code of commit {commit[:12]}, in a work tree of its own",)
    finally:
        _git(commit, "worktree", "remove", "--force", str(folder))


def _git(commit: str, *arguments: str) -> None:
    try:
        subprocess.run(["git", "-C", str(PROJECT), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        told = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else str(error)
        raise EnvironmentProblem(
            f"the code of commit {commit[:12]} is not to be had ({told.splitlines()[-1]}); fetch it and try again"
        ) from error


def _run(recipe: Recipe, tree: Path, root: Path, settings: Settings) -> tuple[Outcome | None, str | None]:
    """Make the stages up to the evaluation: nothing is registered, no alias moves."""
    config = root / "experiment.yaml"
    config.write_text(recipe.experiment, encoding="utf-8")
    _withdrawn_then(recipe, settings, root)
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "evaluate", str(config)], cwd=tree, env=_environment(root, settings),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
    )
    told = [line for line in done.stderr.splitlines() if line.strip()][-1:]
    try:
        results = [Outcome.model_validate_json(path.read_bytes()) for path in root.glob(f"*/{RESULT}")]
    except ValidationError:
        return None, "the result of the run is of another form than this code's"
    outcome = results[0] if results else None
    error = outcome.error if outcome and outcome.error else " ".join(told)
    return outcome, error if done.returncode else None


def _environment(root: Path, settings: Settings) -> dict[str, str]:
    """This process's, but for where things are written and who is asked."""
    environment = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    environment |= {
        "LLAVAFLOW_ROOT": str(root), "LLAVAFLOW_LEDGER_URL": ledger_of(settings), "LLAVAFLOW_LEDGER_ONLY": "true"
    }
    data = settings.data_root
    if data is not None:
        known = str(data)
        environment["LLAVAFLOW_DATA_ROOT"] = known if "://" in known else str(Path(known).expanduser().absolute())
    return environment


def _withdrawn_then(recipe: Recipe, settings: Settings, root: Path) -> None:
    """The list of withdrawn images as it was when the images were taken up."""
    made = recipe.stages.get("ingest")
    if made is not None:
        WithdrawnImages(root).append(withdrawn_of(settings).now(until=made.created).values())


def _files(stage: str, made: Made, settings: Settings, root: Path) -> tuple[str, ...]:
    """Files that differ between the original and the reproduction, where both are there."""
    here = read_catalogue(store_of(settings))
    there = read_catalogue(store_of(Settings(root=root, storage=None, store=None)))
    original = here.by_digest.get(made.digest)
    again = [entry for entry in there.entries if entry.stage == stage]
    if not original or not again:
        return ()
    before, now = original[0].manifest.files, again[0].manifest.files
    names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    more = (f"and {len(names) - SHOWN_FILES} more",) if len(names) > SHOWN_FILES else ()
    return (*names[:SHOWN_FILES], *more)
