"""Commands and options of `llavaflow` are a promise: a change shows up as a change of cli_surface.txt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tests.contracts.surface import surface

SNAPSHOT = Path(__file__).parent / "cli_surface.txt"


def test_commands_and_options_are_the_recorded_ones() -> None:
    from flows.cli import app

    assert surface(app) == SNAPSHOT.read_text(encoding="utf-8"), "run `make cli-surface` if the change is meant"


def test_the_issue_s_commands_are_all_there() -> None:
    recorded = SNAPSHOT.read_text(encoding="utf-8").splitlines()
    stages = ["ingest", "generate", "shard", "base", "train", "evaluate", "register", "promote"]
    wanted = {f"llavaflow {name}" for name in ["run", "plan", "doctor", "models", *stages]}
    assert wanted <= set(recorded)


def test_surface_names_kind_default_and_repetition_of_every_parameter() -> None:
    app = typer.Typer()

    @app.command()
    def run(
        experiment: str = typer.Argument("shapes"),
        overrides: Annotated[list[str] | None, typer.Option("--set", "-s")] = None,
        quiet: Annotated[bool, typer.Option("--quiet/--loud")] = False,
    ) -> None: ...

    @app.command()
    def plan(experiment: str) -> None: ...

    assert surface(app).splitlines() == [
        "llavaflow",
        "llavaflow plan",
        "    argument experiment: str, required",
        "llavaflow run",
        "    argument experiment: str, default 'shapes'",
        "    option --set/-s: list of str, default None",
        "    option --quiet/--loud: bool, default False",
    ]
