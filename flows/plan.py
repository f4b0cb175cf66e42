"""What a run would do, and why: the same keys, the same look into the cache, and nothing started."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import Field, JsonValue
from rich.console import Group
from rich.table import Table
from rich.text import Text

from configs.load import load_experiment
from configs.schema import Experiment, StageConfig
from configs.settings import Settings
from flows.estimates import images_of, samples_of, work_of
from flows.mixtures import mixture_of
from flows.places import ledger_of, store_of
from flows.specs import PARENTS, Specs
from tasks.artifacts import Artifact, Frozen
from tasks.report.words import duration
from tasks.stages import StageSpec, decide
from tasks.storage import Store

AFTERWARDS = {"register": "evaluate", "promote": "register"}
"""Stages that make no artifact, and what they look at: the same again has the same outcome."""


class PlannedStage(Frozen):
    """What would become of a stage."""

    name: str
    cached: bool
    reason: str
    work: dict[str, JsonValue] = Field(default_factory=dict)
    """What there is to do, in numbers; empty for a cached stage."""


class Plan(Frozen):
    """What would become of a run."""

    experiment: str
    stages: tuple[PlannedStage, ...]
    usd: float
    """What teacher and judge would cost at their prices, if the ledger knew none of the answers."""


def make_plan(experiment: str, overrides: Sequence[str] = (), settings: Settings | None = None) -> Plan:
    """The plan of a run. Raises ConfigError and DataError as the run would."""
    settings, loaded = settings or Settings(), load_experiment(experiment, overrides)
    stages = tuple(_stages(loaded, Specs(loaded, settings), store_of(settings), ledger_of(settings)))
    costs = [stage.work.get("usd", 0.0) for stage in stages]
    return Plan(
        experiment=loaded.id, stages=stages, usd=sum(float(usd) for usd in costs if isinstance(usd, int | float))
    )


def _stages(experiment: Experiment, specs: Specs, store: Store, ledger: str) -> Iterator[PlannedStage]:
    there: dict[str, Artifact] = {}
    for name, parents in PARENTS.items():
        reason = _rebuilt_parent(parents, there)
        if reason is None:
            spec: StageSpec[Artifact] = getattr(specs, name)(*(there[parent] for parent in parents))
            decision = decide(store, spec)
            reason = decision.reason
            if decision.artifact is not None:
                there[name] = decision.artifact
        work = {} if name in there else _work(name, experiment, specs.settings, there, _folders(store, there), ledger)
        yield PlannedStage(name=name, cached=name in there, reason=reason, work=work)
    known = set(there)
    for name, above in AFTERWARDS.items():
        if above in known:
            known.add(name)
            yield PlannedStage(name=name, cached=True, reason="looked up again")
        else:
            yield PlannedStage(name=name, cached=False, reason=f"its parent {above} will be rebuilt")


def _work(
    name: str, experiment: Experiment, settings: Settings, there: dict[str, Artifact], folders: dict[str, Path],
    ledger: str,
) -> dict[str, JsonValue]:
    """What there is to do, and how a training stage's mixture is made up."""
    config: StageConfig | None = getattr(experiment.train.stages, name, None)
    own = samples_of(experiment, there, images_of(experiment, there)).get(name)
    mixture = mixture_of(config, name, own, settings) if config else {}
    mixed = sum(taken for taken, _ in mixture.values()) or None
    told = ", ".join(f"{source} {taken:,} of {number:,}" for source, (taken, number) in mixture.items())
    work = work_of(name, experiment, there, folders, ledger, mixed)
    return work | ({"an epoch:": told} if told else {})


def _rebuilt_parent(parents: tuple[str, ...], there: dict[str, Artifact]) -> str | None:
    missing = next((parent for parent in parents if parent not in there), None)
    return None if missing is None else f"its parent {missing} will be rebuilt"


def _folders(store: Store, there: dict[str, Artifact]) -> dict[str, Path]:
    """The folders of images, shards and base models, where to look at them costs nothing."""
    looked_into = [name for name in ("ingest", "shard", "base") if name in there]
    return {} if store.remote else {name: store.local(there[name]) for name in looked_into}


def render(plan: Plan) -> Group:
    """The plan for the terminal."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("stage", "", "why", "to do"):
        table.add_column(heading, overflow="fold")
    for stage in plan.stages:
        state = Text("cached", style="green") if stage.cached else Text("build", style="yellow")
        work = ", ".join(_shown(name, value) for name, value in stage.work.items())
        table.add_row(stage.name, state, Text(stage.reason), work)
    cost = f"teacher and judge: about ${plan.usd:,.2f}; what the ledger knows is not asked again"
    return Group(table, *([cost] if plan.usd else []))


def _shown(name: str, value: JsonValue) -> str:
    if name == "seconds" and isinstance(value, int | float):
        return f"about {duration(value)}"
    return f"{value:,} {name}" if isinstance(value, int | float) else f"{name} {value}"
