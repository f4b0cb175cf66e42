"""Resolve an experiment: its YAML file, then `a.b.c=value` overrides, checked against the schema.

An unknown experiment or key fails at once and names the nearest valid one.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from configs.errors import ConfigError
from configs.schema import Experiment
from configs.serve import ServeConfig

EXPERIMENTS = Path(__file__).resolve().parent / "experiments"
DEEPSPEED = Path(__file__).resolve().parent / "deepspeed"


def experiment_ids() -> list[str]:
    """Ids of the experiments that ship with the project."""
    return sorted(path.stem for path in EXPERIMENTS.glob("*.yaml"))


def load_experiment(experiment: str, overrides: Sequence[str] = ()) -> Experiment:
    """The experiment of an id, or of a YAML file's path, with overrides (`train.stages.instruct.lr=1e-5`) applied.

    Raises ConfigError, in one line, for an unknown id, an unreadable file, an unknown key, or a value of wrong type.
    """
    tree = _read(_path_of(experiment))
    for override in overrides:
        _apply(tree, override)
    return validate(tree)


def deepspeed_file(name: str) -> Path:
    """The DeepSpeed configuration of a name. Raises ConfigError naming those there are."""
    path = DEEPSPEED / f"{name}.json"
    if not path.is_file():
        known = sorted(file.stem for file in DEEPSPEED.glob("*.json"))
        raise ConfigError(f"no DeepSpeed configuration {name!r}; there are: {', '.join(known)}")
    return path


def validate(tree: dict[str, Any]) -> Experiment:
    """The experiment that a tree of plain values describes. Raises ConfigError, in one line."""
    try:
        return Experiment.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from error


def load_serving(overrides: Sequence[str] = ()) -> ServeConfig:
    """The knobs of the endpoint, with overrides (`limits.concurrency=32`) applied. Raises ConfigError, in one line."""
    tree: dict[str, Any] = {}
    for override in overrides:
        _apply(tree, override)
    try:
        return ServeConfig.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from error


def _path_of(experiment: str) -> Path:
    path = Path(experiment) if experiment.endswith((".yaml", ".yml")) else EXPERIMENTS / f"{experiment}.yaml"
    if not path.is_file():
        hint = _nearest(experiment, experiment_ids())
        raise ConfigError(f"no experiment {experiment!r}{hint}; there are: {', '.join(experiment_ids())}")
    return path


def _read(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} must hold a mapping of keys, it holds {type(tree).__name__}")
    return {key: _unshared(value) for key, value in tree.items()}


def _unshared(value: Any) -> Any:
    """A copy in which nothing occurs twice: a YAML alias is the same object as its anchor, and setting a key of one
    would set it of the other."""
    if isinstance(value, dict):
        return {key: _unshared(inner) for key, inner in value.items()}
    return [_unshared(inner) for inner in value] if isinstance(value, list) else value


def _apply(tree: dict[str, Any], override: str) -> None:
    """Set one dotted key. Keys are checked by the schema afterwards, so that the error can name the nearest."""
    key, separator, text = override.partition("=")
    names = key.strip().split(".")
    if not separator or not all(names):
        raise ConfigError(f"--set takes key=value, for example train.stages.instruct.lr=1e-5; got {override!r}")
    at = tree
    for depth, name in enumerate(names[:-1]):
        below = at.setdefault(name, {})
        if below is None:
            below = at[name] = {}
        if not isinstance(below, dict):
            raise ConfigError(f"{'.'.join(names[: depth + 1])} is a value, it has no key {names[depth + 1]!r}")
        at = below
    at[names[-1]] = _value(text.strip())


def _value(text: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    if isinstance(value, str):
        # YAML 1.1 reads 1e-5 as text; people who set learning rates mean a number.
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _explain(error: ValidationError) -> str:
    problems = [_explain_one(dict(detail)) for detail in error.errors()]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return problems[0] + more


def _explain_one(detail: dict[str, Any]) -> str:
    location = tuple(str(part) for part in detail["loc"])
    path = _without_tags(location)
    dotted = ".".join(path)
    if detail["type"] == "extra_forbidden":
        return f"unknown key {dotted!r}{_nearest(dotted, list(_dotted_keys(Experiment)))}"
    if detail["type"] == "missing":
        return f"missing key {dotted!r}: it has no default"
    return f"{dotted}: {detail['msg']} (got {detail['input']!r})"


def _without_tags(location: Iterable[str]) -> list[str]:
    """A location without the discriminator tags that pydantic puts between the keys of a union."""
    kinds = {tag for model in _models(Experiment) for tag in _tags(model)}
    path: list[str] = []
    for part in location:
        if part in kinds and path and path[-1] in ("source", "teacher", "judge", "vision", "language"):
            continue
        path.append(part)
    return path


def _tags(model: type[BaseModel]) -> list[str]:
    kind = model.model_fields.get("kind")
    return [str(value) for value in get_args(kind.annotation)] if kind else []


def _models(root: type[BaseModel]) -> list[type[BaseModel]]:
    found = [root]
    for field in root.model_fields.values():
        for nested in _nested(field.annotation):
            found += _models(nested)
    return found


def _nested(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _nested(argument)]


def _dotted_keys(model: type[BaseModel], prefix: str = "") -> Iterable[str]:
    for name, field in model.model_fields.items():
        yield prefix + name
        for nested in _nested(field.annotation):
            yield from _dotted_keys(nested, f"{prefix}{name}.")


def _nearest(wrong: str, known: list[str]) -> str:
    """A suggestion phrase, by whole dotted path first, then by last name."""
    close = difflib.get_close_matches(wrong, known, n=1, cutoff=0.6)
    if not close:
        last = wrong.rsplit(".", 1)[-1]
        names = {key.rsplit(".", 1)[-1]: key for key in known}
        close = [names[name] for name in difflib.get_close_matches(last, list(names), n=1, cutoff=0.6)]
    return f"; did you mean {close[0]!r}?" if close else ""
