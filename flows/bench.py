"""`llavaflow bench`: a team's own bench, and benchmarks of others on a checkpoint."""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from configs.errors import ConfigError
from configs.load import load_experiment
from configs.schema import OpenAIEndpoint
from configs.settings import Settings

app = typer.Typer(help="A bench of your own images, and benchmarks of others.", no_args_is_help=True)

Root = Annotated[Path, typer.Argument(help="Folder of the set: questions, context, images.")]


@app.command("build")
def build(
    root: Root,
    experiment: Annotated[str, typer.Option("--experiment", help="Its generate.teacher answers.")] = "shapes",
    overrides: Annotated[list[str] | None, typer.Option("--set", "-s", metavar="KEY=VALUE")] = None,
    questions: Annotated[str, typer.Option("--questions", help="JSONL: question_id, image, text, category.")] = (
        "questions.jsonl"
    ),
    context: Annotated[str, typer.Option("--context", help="JSONL: image, captions and instances, or caption.")] = (
        "context.jsonl"
    ),
    images: Annotated[str, typer.Option("--images", help="Folder of the images; empty: not checked.")] = "images",
    out: Annotated[str, typer.Option("--out", help="The references.")] = "answers_gpt4.jsonl",
) -> None:
    """References for your own LLaVA-Bench-layout set, by a text-only teacher from the contexts."""
    from tasks.chat.client import make_client
    from tasks.evaluate.references import build_references
    from tasks.ledger.ledger import Ledger, LedgerAsker

    settings, endpoint = Settings(), load_experiment(experiment, overrides or ()).generate.teacher
    if endpoint is None:
        raise ConfigError(f"experiment {experiment} has no generate.teacher to ask; name another by --experiment")
    key = os.environ.get(endpoint.api_key_env) if isinstance(endpoint, OpenAIEndpoint) else None
    settings.home().mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        client = make_client(endpoint, key, "llm")
        stack.callback(client.close)
        ledger = Ledger(settings.ledger_url or f"sqlite:///{settings.home()}/ledger.db")
        stack.callback(ledger.close)
        asker = LedgerAsker(ledger, client, "reference")
        counts = build_references(
            root / questions, root / context, root / images if images else None, root / out, asker, asker.model, _shown
        )
        typer.echo(
            f"{root / out}: {counts['questions']} references about {counts['images']} images by {asker.model}, "
            f"${asker.tally.used.usd:.2f}"
        )


@app.command("lmms")
def lmms(
    checkpoint: Annotated[Path, typer.Argument(help="A Hugging Face folder of a LLaVA model.")],
    tasks: Annotated[list[str], typer.Option("--task", help="A task of lmms-eval; several times for several.")],
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="The first so many examples of each.")] = None,
    batch: Annotated[int, typer.Option("--batch", min=1)] = 1,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:0.")] = "cpu",
) -> None:
    """Any task of lmms-eval on a checkpoint, as lmms-eval scores it (needs the package lmms-eval)."""
    from tasks.evaluate.lmms import evaluate_tasks

    typer.echo(json.dumps(evaluate_tasks(checkpoint, tasks, limit, batch, device), indent=1))


def _shown(done: int, total: int) -> None:
    sys.stderr.write(f"{done} of {total} references\n")
