"""Send a batch, so that it is found again whatever happens on the way, and find again what others left half sent."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tasks.artifacts import digest_of
from tasks.batches.desk import Desk, Wanted
from tasks.chat.batch import Standing, UnknownOutcome
from tasks.errors import EndpointError
from tasks.ledger.batches import BatchRow


@dataclass
class Choice:
    """Requests for the next batch."""

    chosen: list[Wanted] = field(default_factory=list)
    too_large: list[Wanted] = field(default_factory=list)
    """No batch can hold them."""
    over_budget: bool = False
    """There was money for no more than these."""


def choose(desk: Desk, free: Iterable[Wanted], allowance: float | None) -> Choice:
    """As many requests as one batch may hold and as `allowance` (USD) pays for at their highest price."""
    config, choice, size, reserved = desk.config, Choice(), 0, 0.0
    for item in free:
        if len(choice.chosen) == config.max_requests:
            break
        length = len(desk.provider.request_line(item.key, item.messages))
        if length > config.max_bytes:
            choice.too_large.append(item)
            continue
        price = desk.highest_price(item)
        if allowance is not None and reserved + price > allowance:
            choice.over_budget = True
            break
        if size + length > config.max_bytes:
            break
        choice.chosen.append(item)
        size, reserved = size + length, reserved + price
    return choice


def send(desk: Desk, chosen: Sequence[Wanted]) -> bool:
    """Claim these requests and send those that were to be had as a batch; False if there were none.

    Those that were not are marked `held`. Raises EndpointRejected and EndpointError; then the requests are free
    again, unless the batch may have been started all the same.
    """
    name, rows = uuid.uuid4().hex, desk.rows
    rows.begin(
        name, desk.identity, desk.purpose, desk.client.model, desk.who, desk.clock(), desk.provider.patience,
        desk.config.discount,
    )
    try:
        claims = rows.claim_all((desk.entry(item) for item in chosen), name, desk.clock())
        for item in chosen:
            item.held = claims[item.key] != "ours"
        ours = [item for item in chosen if not item.held]
        if not ours:
            rows.forget(name)
            return False
        input_file = _upload(desk, name, ours)
    except BaseException:
        rows.end(name, "dropped", "not sent", "its batch could not be sent", desk.clock(), sent=False)
        raise
    _create(desk, name, ours, input_file)
    return True


def recover(desk: Desk, row: BatchRow) -> None:
    """Go on with a batch whose sender is gone: adopt it if the endpoint has it, let its requests go if not.

    One that was asked for a moment ago may turn up in the endpoint's list yet, and is left to be looked for again.
    """
    if not desk.rows.take_over(row, desk.who, desk.clock(), desk.provider.patience):
        return
    asked = row.asked if row.state == "creating" else None
    if asked is not None:
        found = desk.provider.find(row.name, asked)
        if found is not None:
            _adopt(desk, row.name, found)
            desk.progress.note(f"found a batch that was sent and not written down: {found.line}")
            return
        if desk.clock() < asked + desk.orphan_seconds:
            return
    desk.rows.end(row.name, "dropped", "not sent", "its batch was never sent", desk.clock(), sent=False)


def _upload(desk: Desk, name: str, items: Sequence[Wanted]) -> str:
    with tempfile.TemporaryFile() as lines:
        for item in items:
            lines.write(desk.provider.request_line(item.key, item.messages))
        return desk.provider.upload(f"llavaflow-{name}", lines)


def _create(desk: Desk, name: str, items: Sequence[Wanted], input_file: str) -> None:
    keys, asked, rows = digest_of(sorted(item.key for item in items)), desk.clock(), desk.rows
    rows.change(
        name, state="creating", requests=len(items), keys_digest=keys, input_file_id=input_file, asked=asked,
        lease_until=asked + desk.provider.patience,
    )
    try:
        started = desk.provider.create(name, keys, input_file, asked)
    except UnknownOutcome:
        rows.change(name, lease_until=asked)
        raise
    except EndpointError:
        rows.end(name, "dropped", "not sent", "its batch was refused", desk.clock(), sent=False)
        raise
    except BaseException:
        rows.change(name, lease_until=asked)
        raise
    _adopt(desk, name, started)
    desk.progress.note(f"sent {len(items)} requests as a batch: {started.id}")


def _adopt(desk: Desk, name: str, standing: Standing) -> None:
    desk.rows.change(name, state="sent", provider_id=standing.id, standing=standing.line)
