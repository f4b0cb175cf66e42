"""`llavaflow chat`: the page in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def chat(
    endpoint: Annotated[
        str, typer.Option("--endpoint", help="An OpenAI-compatible endpoint (.../v1); by default one is started.")
    ] = "",
    model: Annotated[
        str, typer.Option("--model", help="What the endpoint that is started serves.")
    ] = "models:/llavaflow@champion",
    compare: Annotated[
        str, typer.Option("--compare", metavar="NAME,NAME", help="The two models that are compared blind.")
    ] = "",
    host: Annotated[str, typer.Option("--host", help="0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 7860,
    login: Annotated[
        str, typer.Option("--login", metavar="NAME", help="Ask for it, and for LLAVAFLOW_CHAT_PASSWORD.")
    ] = "",
    examples: Annotated[
        Path | None, typer.Option("--examples", help="Folder of images to offer, instead of rendered shapes.")
    ] = None,
    api_key_env: Annotated[
        str, typer.Option("--api-key-env", help="Environment variable that holds the endpoint's key.")
    ] = "OPENAI_API_KEY",
) -> None:
    """A web page to ask the champion about images, compare two models, and say what is good or wrong."""
    from flows.chat import Opening, open_page

    pair = tuple(name.strip() for name in compare.split(",")) if compare else ()
    if len(pair) not in (0, 2):
        raise typer.BadParameter("name two models, with a comma between", param_hint="--compare")
    opening = Opening(
        endpoint, model, (pair[0], pair[1]) if len(pair) == 2 else None, host, port, login, examples, api_key_env
    )
    open_page(opening, lambda address: typer.echo(f"chat: {address}  (Ctrl-C ends it)"))
