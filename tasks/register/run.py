"""Stage register as plain functions: register a version, judge it against the champion, do what the gate decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import JsonValue

from configs.schema import GateConfig, RegistryConfig
from tasks.artifacts import Frozen, ModelVersion, Promotion, content_digest
from tasks.errors import RegistryError
from tasks.progress import Progress
from tasks.register.canary import Canary, choose, differing
from tasks.register.card import Subject, model_card
from tasks.register.desk import Desk
from tasks.register.evidence import UNKNOWN, Evidence, Surroundings, read_evidence
from tasks.register.gate import comparable, decide
from tasks.register.package import CARD, EXPERIMENT, PROVENANCE, Contents, Link
from tasks.register.promote import APPROVAL_HOURS, promote, withdraw
from tasks.register.registry import MlflowRegistry
from tasks.register.shown import read_shown
from tasks.register.verdict import Reason, Verdict
from tasks.register.version import Candidate
from tasks.storage import file_table


class Judged(Frozen):
    """The gate's verdict, and the champion it was reached against."""

    verdict: Verdict
    champion: str | None
    champion_scores: dict[str, float]
    """Flat map of the champion's scores; empty without one."""


@dataclass(frozen=True)
class Material:
    """What a version is made of, beside what it is registered with."""

    checkpoint: Path
    """The folder of the Checkpoint."""
    checkpoint_uri: str
    """Where that folder is kept; linked weights stay there."""
    evaluation: Path
    """The folder of the EvalReport."""
    description: str
    """The experiment in a sentence."""
    config: Mapping[str, JsonValue]
    """The resolved experiment."""


def register_model(
    registry: MlflowRegistry, candidate: Candidate, material: Material, knobs: RegistryConfig, progress: Progress
) -> ModelVersion:
    """Register a checkpoint with its evaluation and model card; the same two again give the version there is.

    Raises RegistryError.
    """
    evidence = _evidence(candidate, material.evaluation)
    subject = Subject(
        model=registry.name, description=material.description, config=dict(material.config),
        shown=read_shown(material.evaluation),
    )
    model = material.checkpoint / "model"
    link = None
    if knobs.weights == "link":
        link = Link(f"{material.checkpoint_uri.rstrip('/')}/model", content_digest(file_table(model)))
    contents = Contents(
        model=model, evaluation=material.evaluation, files=_files(subject, candidate, evidence), link=link,
        canary=Canary(
            probes=choose(material.evaluation, knobs.canary), tokens=knobs.canary_tokens, share=knobs.canary_share
        ),
    )
    version = registry.register(candidate, contents)
    progress.note(f"{version.name} version {version.version} is registered")
    return version


def _files(subject: Subject, candidate: Candidate, evidence: Evidence) -> dict[str, str]:
    provenance = candidate.provenance
    return {
        CARD: model_card(subject, candidate, evidence),
        EXPERIMENT: yaml.safe_dump(subject.config, sort_keys=False),
        **({} if provenance is None else {PROVENANCE: provenance.model_dump_json(indent=1) + "\n"}),
    }


@dataclass(frozen=True)
class Anew:
    """The evaluation of a champion by the present rules."""

    version: str
    digest: str
    folder: Path


def incomparable_champion(registry: MlflowRegistry, version: ModelVersion, evaluation: Path) -> str | None:
    """The champion, if it was measured by other rules or on other examples than a version; else None.

    Raises RegistryError if the champion has no evaluation.
    """
    champion = registry.champion()
    if champion is None or champion == version.version:
        return None
    challenger = read_evidence(evaluation, version.checkpoint, version.evaluation)
    return None if comparable(challenger, registry.evidence(champion)) else champion


def judge_model(
    registry: MlflowRegistry, version: ModelVersion, evaluation: Path, config: GateConfig, seed: int,
    found: Surroundings = UNKNOWN, anew: Anew | None = None,
) -> Judged:
    """Ask the gate, with the champion's evaluation as it was registered, or as it was made `anew`.

    Raises ConfigError for a floor that names no score, RegistryError if the champion has no evaluation to compare with.
    """
    challenger = read_evidence(evaluation, version.checkpoint, version.evaluation)
    current = registry.champion()
    champion = None if current is None else registry.evidence(current)
    again = champion is not None and anew is not None and anew.version == current
    if champion is not None and anew is not None and again:
        champion = read_evidence(anew.folder, champion.checkpoint, anew.digest)
    verdict = decide(challenger, champion, config, seed, found)
    if again:
        told = Reason(ok=True, check="rules", text=f"version {current} was evaluated anew by the present rules")
        verdict = verdict.model_copy(update={"reasons": (*verdict.reasons, told)})
    return Judged(
        verdict=verdict,
        champion=current,
        champion_scores={} if champion is None else champion.scores(),
    )


def promote_model(
    desk: Desk, version: ModelVersion, judged: Judged, progress: Progress, hours: float = APPROVAL_HOURS
) -> Promotion:
    """Move the alias, hold, or ask a person, as judged. Raises RegistryError if the champion is another one by now."""
    done = promote(desk, version.version, judged.verdict, judged.champion, hours)
    for reason in judged.verdict.reasons:
        progress.note(f"{'ok' if reason.ok else 'NOT'}: {reason.text}")
    return done


def check_champion(desk: Desk, registry: MlflowRegistry, promotion: Promotion, progress: Progress) -> Promotion:
    """Ask a new champion, loaded from the registry, its canary questions; one that fails goes back by itself.

    Returns what became of the promotion. A champion that passed once is not asked again.
    """
    version = promotion.challenger
    if promotion.champion_after != version or registry.tag_of(version, "canary") is not None:
        return promotion
    asked, why = _asked(registry, version)
    if why is None:
        registry.tag(version, {"canary": f"passed ({asked})" if asked else "none to ask"})
        return promotion
    progress.note(f"version {version} is taken back: {why}")
    back = withdraw(desk, version, f"canary: {why}")
    registry.tag(version, {"canary": f"failed: {why}"})
    return back or promotion


def _asked(registry: MlflowRegistry, version: str) -> tuple[int, str | None]:
    """How many questions a version has, and why it does not pass; None if it does. What cannot be asked does not."""
    try:
        canary = registry.canary(version)
        wrong = differing(canary.probes, registry.answers(version, canary)) if canary.probes else []
    except (RegistryError, ValueError) as error:
        return 0, f"it cannot be loaded and asked: {' '.join(str(error).split())}"
    asked = len(canary.probes)
    passed = asked == 0 or 1 - len(wrong) / asked >= canary.share
    return asked, None if passed else f"{len(wrong)} of {asked} canary answers differ"


def _evidence(candidate: Candidate, evaluation: Path) -> Evidence:
    return read_evidence(evaluation, candidate.checkpoint, candidate.evaluation)
