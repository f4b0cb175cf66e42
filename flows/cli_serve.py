"""`llavaflow serve`."""

from __future__ import annotations

from typing import Annotated

import typer


def serve(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="models:/NAME@ALIAS (followed), models:/NAME/VERSION, folder or URL.")
    ] = "models:/llavaflow@champion",
    host: Annotated[str, typer.Option("--host", help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port to listen at.", min=0, max=65535)] = 8080,
    name: Annotated[
        str, typer.Option("--name", help="What clients call the model; by default its name in the registry.")
    ] = "",
    overrides: Annotated[
        list[str] | None, typer.Option("--set", "-s", metavar="KEY=VALUE", help="Change one knob (configs/serve.py).")
    ] = None,
) -> None:
    """The champion as an OpenAI-compatible endpoint that follows the alias. LLAVAFLOW_SERVE_KEYS holds API keys."""
    from configs.load import load_serving
    from flows.serving import Served, run

    run(Served(model, name), load_serving(overrides or ()), host, port)
