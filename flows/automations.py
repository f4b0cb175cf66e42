"""`llavaflow automations FILE`: bring a server's automations to what a file says, each known by its name.

The file holds Prefect's own automations, with two words more, as ids differ from server to server: an action may name
`deployment: FLOW/NAME` where Prefect wants its id, and `webhook: NAME` for a webhook block of that name. The address
of webhooks is a secret and comes from the environment; without one, what would call it is left out and said so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml
from pydantic import BaseModel, ValidationError

from flows.prefect_remote import configured_client
from tasks.errors import ConfigError

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.events.schemas.automations import AutomationCore

ADDRESS = "LLAVAFLOW_ALERT_WEBHOOK"
"""Environment variable with the URL that alerts are posted to."""
NOWHERE = "00000000-0000-0000-0000-000000000000"
"""Stands for an id while a file is checked without a server."""
Tree = dict[str, Any]


class Loaded(NamedTuple):
    """What became of an automation."""

    name: str
    done: str
    """created, updated, or why it was left out."""


def read_automations(path: Path) -> list[Tree]:
    """The automations of a file, checked against Prefect's own models, unknown keys being errors.

    Raises ConfigError, in one line.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict) or set(tree) != {"automations"} or not isinstance(tree["automations"], list):
        raise ConfigError(f"{path} has to be a mapping with the one key `automations`, a list")
    automations: list[Tree] = tree["automations"]
    for automation in automations:
        if not isinstance(automation, dict):
            raise ConfigError(f"{path}: {automation!r} is no automation")
        _check(path, automation)
    names = [automation["name"] for automation in automations]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{path} has two automations called {twice[0]!r}; a name may occur once")
    return automations


def load_automations(path: Path) -> list[Loaded]:
    """Create or update every automation of a file on the configured server. Twice is the same as once.

    Raises ConfigError for a file or deployment that is not right, EnvironmentProblem if no API answers.
    """
    automations = read_automations(path)
    with configured_client() as client:
        return [_load(client, automation) for automation in automations]


def _check(path: Path, automation: Tree) -> None:
    name = automation.get("name")
    try:
        core = _core(automation, lambda action: _resolved(action, NOWHERE, NOWHERE))
    except (ValidationError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"{path}: automation {name!r}: {' '.join(str(error).split())[:400]}") from error
    unknown = [*_unknown(core.trigger, automation["trigger"], "trigger"), *_unknown_actions(core, automation)]
    unknown += [key for key in automation if key not in type(core).model_fields]
    if unknown:
        raise ConfigError(f"{path}: automation {name!r}: Prefect knows no {', '.join(unknown)}")


def _core(automation: Tree, resolve: Any) -> AutomationCore:
    from prefect.events.schemas.automations import AutomationCore

    return AutomationCore.model_validate({**automation, "actions": [resolve(one) for one in automation["actions"]]})


def _unknown(model: BaseModel, tree: Tree, where: str) -> Iterator[str]:
    """Keys that Prefect would ignore in silence."""
    yield from (f"{where}.{key}" for key in tree if key not in type(model).model_fields)
    inner_ones = zip(getattr(model, "triggers", ()), tree.get("triggers", ()), strict=True)
    for number, (inner, written) in enumerate(inner_ones):
        yield from _unknown(inner, written, f"{where}.triggers[{number}]")


def _unknown_actions(core: AutomationCore, automation: Tree) -> Iterator[str]:
    for number, (action, written) in enumerate(zip(core.actions, automation["actions"], strict=True)):
        known = {key: value for key, value in written.items() if key not in ("deployment", "webhook")}
        yield from _unknown(action, known, f"actions[{number}]")


def _load(client: SyncPrefectClient, automation: Tree) -> Loaded:
    name = automation["name"]
    webhooks = {action["webhook"] for action in automation["actions"] if "webhook" in action}
    blocks = {webhook: _webhook(client, webhook) for webhook in sorted(webhooks)}
    if missing := [webhook for webhook, block in blocks.items() if block is None]:
        return Loaded(name, f"left out: no webhook block {missing[0]}; set {ADDRESS} to the URL to be called")
    deployments = {one["deployment"]: _deployment(client, one["deployment"]) for one in _naming(automation)}
    core = _core(
        automation,
        lambda action: _resolved(action, deployments.get(action.get("deployment")), blocks.get(action.get("webhook"))),
    )
    there = client.read_automations_by_name(name)
    if there:
        client.update_automation(there[0].id, core)
        return Loaded(name, "updated")
    client.create_automation(core)
    return Loaded(name, "created")


def _naming(automation: Tree) -> list[Tree]:
    return [action for action in automation["actions"] if "deployment" in action]


def _resolved(action: Tree, deployment: UUID | str | None, block: UUID | str | None) -> Tree:
    """An action as Prefect knows it: ids instead of names."""
    plain = {key: value for key, value in action.items() if key not in ("deployment", "webhook")}
    if "deployment" in action:
        plain |= {"source": "selected", "deployment_id": str(deployment)}
    if "webhook" in action:
        plain["block_document_id"] = str(block)
    return plain


def _deployment(client: SyncPrefectClient, name: str) -> UUID:
    from prefect.exceptions import ObjectNotFound

    try:
        return client.read_deployment_by_name(name).id
    except ObjectNotFound as error:
        raise ConfigError(f"the server has no deployment {name}; register it first: prefect deploy --all") from error


def _webhook(client: SyncPrefectClient, name: str) -> UUID | None:
    """The id of the webhook block, written anew where the environment has an address; None where there is neither."""
    from prefect.blocks.webhook import Webhook
    from prefect.exceptions import ObjectNotFound
    from pydantic import SecretStr

    if address := os.environ.get(ADDRESS):
        Webhook.register_type_and_schema()
        saved = Webhook(url=SecretStr(address)).save(name, overwrite=True)
        assert not hasattr(saved, "__await__"), "blocks are saved at once outside an event loop"
    try:
        return client.read_block_document_by_name(name, "webhook").id
    except ObjectNotFound:
        return None
