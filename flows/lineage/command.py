"""`llavaflow lineage`: which search a command line asks for, and what it writes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from configs.settings import Settings
from flows.feedback.items import items_of, samples_of
from flows.feedback.places import store_of_feedback
from flows.lineage.catalogue import read_catalogue
from flows.lineage.downward import Downwards, sample_lines
from flows.lineage.records import Downward, Upward
from flows.lineage.shown import downward_lines, page, upward_lines
from flows.lineage.upward import Upwards
from flows.lineage.versions import Versions, known_versions, version_of
from flows.places import store_of
from tasks.errors import ConfigError
from tasks.register.package import PROVENANCE


@dataclass(frozen=True)
class Question:
    """The words of the command line: exactly one of the five is given."""

    model: str | None = None
    image: str | None = None
    answer: str | None = None
    prompts: str | None = None
    feedback: str | None = None
    """A user, or an item."""


def lineage(
    question: Question, registry: Versions, settings: Settings, html: Path | None = None, samples: Path | None = None
) -> Upward | Downward:
    """What a version came from, or what came of an image, an answer, a set of prompts, feedback.

    `html` is a page to write, `samples` a JSONL file for every training sample of the version. Raises ConfigError
    unless exactly one thing is asked, RegistryError and DataError for what does not exist.
    """
    named = (question.model, question.image, question.answer, question.prompts, question.feedback)
    if sum(bool(word) for word in named) != 1:
        raise ConfigError("name one thing: a MODEL, or --image, --answer, --prompts or --feedback")
    if samples is not None and question.model is None:
        raise ConfigError("--samples lists what a MODEL learned from; name one")
    store = store_of(settings)
    catalogue, versions = read_catalogue(store), known_versions(registry)
    if question.model:
        version = version_of(question.model, registry.name, versions)
        text = registry.text(version.version, PROVENANCE)
        downwards = Downwards(store, catalogue, registry.name, version)
        found: Upward | Downward = downwards.lineage(text)
        if samples is not None:
            _write(samples, sample_lines(downwards.samples(text)))
    else:
        found = _upwards(question, Upwards(store, catalogue, versions), settings)
    if html is not None:
        _write(html, iter([page("Lineage", lines(found, full=True))]))
    return found


def _upwards(question: Question, upwards: Upwards, settings: Settings) -> Upward:
    if question.image:
        return upwards.image(question.image)
    if question.answer:
        return upwards.answer(question.answer)
    if question.feedback:
        feedback = store_of_feedback(settings)
        items = items_of(question.feedback, feedback)
        return upwards.samples(f"feedback of {question.feedback}", samples_of(items, feedback))
    return upwards.prompts(question.prompts or "")


def lines(found: Upward | Downward, *, full: bool = False) -> Iterator[str]:
    """What was found, for people."""
    return downward_lines(found, full=full) if isinstance(found, Downward) else upward_lines(found, full=full)


def _write(path: Path, parts: Iterator[str]) -> None:
    """Write a file that is there when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with half.open("w", encoding="utf-8") as handle:
            handle.writelines(parts)
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)
