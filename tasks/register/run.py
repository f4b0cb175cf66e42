"""Stage register as plain functions: register a version, judge it against the champion, do what the gate decided."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from configs.schema import GateConfig
from tasks.artifacts import Frozen, ModelVersion, Promotion
from tasks.progress import Progress
from tasks.register.audit import JsonlAudit
from tasks.register.card import Subject, model_card
from tasks.register.desk import Desk
from tasks.register.evidence import Evidence, read_evidence
from tasks.register.gate import decide
from tasks.register.lock import file_lock
from tasks.register.promote import promote
from tasks.register.registry import Candidate, MlflowRegistry
from tasks.register.verdict import Verdict

TRAIL, LOCK = "registry-audit.jsonl", "registry-audit.lock"


class Judged(Frozen):
    """The gate's verdict, and the champion it was reached against."""

    verdict: Verdict
    champion: str | None
    champion_scores: dict[str, float]
    """Flat map of the champion's scores; empty without one."""


def desk_under(root: Path, registry: MlflowRegistry, who: str = "", run: str = "") -> Desk:
    """A desk whose trail and lock lie under the root of all runs."""
    return Desk(registry, JsonlAudit(root / TRAIL), lambda: file_lock(root / LOCK), who=who, run=run)


def register_model(
    registry: MlflowRegistry,
    candidate: Candidate,
    checkpoint: Path,
    evaluation: Path,
    description: str,
    config: Mapping[str, JsonValue],
    progress: Progress,
) -> ModelVersion:
    """Register a checkpoint with its evaluation and model card; the same two again give the version there is.

    `checkpoint` and `evaluation` are the folders of the Checkpoint and the EvalReport. Raises RegistryError.
    """
    evidence = _evidence(candidate, evaluation)
    subject = Subject(model=registry.name, description=description, config=dict(config))
    version = registry.register(candidate, checkpoint / "model", evaluation, model_card(subject, candidate, evidence))
    progress.note(f"{version.name} version {version.version} is registered")
    return version


def judge_model(
    registry: MlflowRegistry, version: ModelVersion, evaluation: Path, config: GateConfig, seed: int
) -> Judged:
    """Ask the gate, with the champion's evaluation as it was registered.

    Raises ConfigError for a floor that names no score, RegistryError if the champion has no evaluation to compare with.
    """
    challenger = read_evidence(evaluation, version.checkpoint, version.evaluation)
    current = registry.champion()
    champion = None if current is None else registry.evidence(current)
    return Judged(
        verdict=decide(challenger, champion, config, seed),
        champion=current,
        champion_scores={} if champion is None else champion.scores(),
    )


def promote_model(desk: Desk, version: ModelVersion, judged: Judged, progress: Progress) -> Promotion:
    """Move the alias or hold, as judged. Raises RegistryError if the champion is another one by now."""
    done = promote(desk, version.version, judged.verdict, judged.champion)
    for reason in judged.verdict.reasons:
        progress.note(f"{'ok' if reason.ok else 'NOT'}: {reason.text}")
    return done


def _evidence(candidate: Candidate, evaluation: Path) -> Evidence:
    return read_evidence(evaluation, candidate.checkpoint, candidate.evaluation)
