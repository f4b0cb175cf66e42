"""The command line as text: every command, argument and option, one a line.

`make cli-surface` writes it to cli_surface.txt; the contract test compares. A change there is a change for users.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import typer

OWN_OPTIONS_OF_TYPER = {"install_completion", "show_completion"}


def surface(app: typer.Typer) -> str:
    """The commands of an app, with their arguments and options, sorted by command."""
    return "\n".join(_lines(typer.main.get_command(app), "llavaflow")) + "\n"


def _lines(command: Any, path: str) -> Iterator[str]:
    yield path
    for parameter in command.params:
        if parameter.name not in OWN_OPTIONS_OF_TYPER:
            yield f"    {_parameter(parameter)}"
    for name, child in sorted(getattr(command, "commands", {}).items()):
        yield from _lines(child, f"{path} {name}")


def _parameter(parameter: Any) -> str:
    names = "/".join([*parameter.opts, *parameter.secondary_opts])
    annotation = parameter.type_descriptor.annotation
    kind = getattr(annotation, "__name__", str(annotation))
    many = "list of " if getattr(parameter, "multiple", False) or parameter.nargs == -1 else ""
    if many:
        kind = getattr(annotation.__args__[0], "__name__", "str") if hasattr(annotation, "__args__") else kind
    ending = "required" if parameter.required else f"default {parameter.default!r}"
    return f"{parameter.param_type_name} {names}: {many}{kind}, {ending}"


if __name__ == "__main__":
    from flows.cli import app as llavaflow

    sys.stdout.write(surface(llavaflow))
