"""`llavaflow feedback`: look at it, decide on it, export it as data, delete a user's."""

from __future__ import annotations

import getpass
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from configs.settings import Settings

if TYPE_CHECKING:
    from tasks.feedback.records import Stored
    from tasks.feedback.reviewing import Reviewer

app = typer.Typer(help="Feedback on answers: review it, export it as data, delete a user's.", no_args_is_help=True)

Items = Annotated[list[str] | None, typer.Argument(metavar="ITEM...", help="Beginnings of their ids.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, for programs.")]


@app.command()
def review(
    state: Annotated[str, typer.Option("--state", help="new, held, accepted, rejected; by default all.")] = "",
    user: Annotated[str, typer.Option("--user", help="Of one user only.")] = "",
    html: Annotated[Path | None, typer.Option("--html", help="A page to write, with the images.")] = None,
    as_json: Json = False,
) -> None:
    """Items, what was found in them, and where they stand."""
    from flows.feedback.places import store_of_feedback
    from tasks.feedback.page import page
    from tasks.feedback.reviewing import lines
    from tasks.feedback.reviewing import state_of as named

    store = store_of_feedback(Settings())
    items = store.items(named(state) if state else None, user or None)
    if html is not None:
        html.write_text(page(items, store.picture), encoding="utf-8")
    if as_json:
        _print_json(items)
    else:
        typer.echo("\n".join(lines(items)))


@app.command()
def accept(
    items: Items = None,
    everything: Annotated[bool, typer.Option("--all-new", help="All that are new; held ones stay held.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; needed for what holds personal data.")] = "",
    as_json: Json = False,
) -> None:
    """Let models learn from items."""
    from flows.feedback.places import store_of_feedback
    from tasks.feedback.reviewing import accept as let

    if bool(items) == everything:
        raise typer.BadParameter("name items, or say --all-new")
    _told(let(store_of_feedback(Settings()), items or [], _by(reason), all_new=everything), as_json)


@app.command()
def reject(
    items: Annotated[list[str], typer.Argument(metavar="ITEM...", help="Beginnings of their ids.")],
    reason: Annotated[str, typer.Option("--reason", help="Why.")] = "",
    as_json: Json = False,
) -> None:
    """Keep models from learning from items."""
    from flows.feedback.places import store_of_feedback
    from tasks.feedback.reviewing import reject as keep_out

    _told(keep_out(store_of_feedback(Settings()), items, _by(reason)), as_json)


@app.command()
def export(
    to: Annotated[Path | None, typer.Option("--to", help="Folder of versions; by default under the root.")] = None,
    at_least: Annotated[int, typer.Option("--at-least", min=0, help="Only if so many items are new.")] = 0,
    experiment: Annotated[
        str, typer.Option("--experiment", help="Tell the Prefect server, so that this one is run with it.")
    ] = "",
    overrides: Annotated[
        list[str] | None, typer.Option("--set", "-s", metavar="KEY=VALUE", help="Change one knob of it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Accepted items as a version of a data set, for `data.also`."""
    from flows.feedback.announcing import announce, announcement, source_of
    from flows.feedback.places import exports_of, store_of_feedback
    from tasks.feedback.exporting import export as write
    from tasks.feedback.exporting import told

    settings = Settings()
    written = write(store_of_feedback(settings), to or exports_of(settings), at_least)
    if written is None:
        typer.echo(_nothing(at_least, as_json))
        return
    if experiment:
        announce(announcement(written.folder, experiment, tuple(overrides or ())))
    if as_json:
        typer.echo(json.dumps(written.json() | {"source": source_of(written.folder)}, indent=1, ensure_ascii=False))
    else:
        sent = [f"told the Prefect server: {experiment} may be run with it"] if experiment else []
        typer.echo("\n".join([*told(written), f"--set data.also='[{json.dumps(source_of(written.folder))}]'", *sent]))


@app.command()
def delete(
    user: Annotated[str, typer.Argument(help="As the page names the user.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    model: Annotated[str, typer.Option("--model", help="Name in the registry.")] = "llavaflow",
) -> None:
    """Delete a user's items, images and traces, and say which models learned from them."""
    from flows.feedback.deletion import Places, lines
    from flows.feedback.deletion import delete as remove
    from flows.feedback.places import exports_of, store_of_feedback, traces_of, uploads_of
    from flows.places import store_of, withdrawn_of
    from flows.registry import registry_of

    settings = Settings()
    if not yes:
        typer.confirm(f"Delete all feedback of {user}? It cannot be brought back", abort=True)
    places = Places(
        store_of_feedback(settings), store_of(settings), exports_of(settings), uploads_of(settings),
        withdrawn_of(settings), traces_of(settings),
    )
    done = remove(user, places, registry_of(model), getpass.getuser(), _now())
    typer.echo("\n".join(lines(user, done)))


def _by(reason: str) -> Reviewer:
    from tasks.feedback.reviewing import Reviewer

    return Reviewer(getpass.getuser(), _now(), reason)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _nothing(at_least: int, as_json: bool) -> str:
    if as_json:
        return "null"
    few = f"fewer than {at_least:,} accepted items are new" if at_least else "no accepted item can be learned from"
    return f"nothing is exported: {few}; see: llavaflow feedback review"


def _told(items: list[Stored], as_json: bool) -> None:
    if as_json:
        _print_json(items)
    else:
        typer.echo("\n".join(f"{stored.review.state}: {stored.item.id}" for stored in items) or "no item is new")


def _print_json(items: list[Stored]) -> None:
    typer.echo(json.dumps([stored.model_dump(mode="json") for stored in items], indent=1, ensure_ascii=False))
