"""The `llavaflow` command. Heavy imports stand inside commands, so that help and errors come at once."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from configs.errors import LlavaflowError
from flows.bench import app as bench
from flows.cli_chat import chat
from flows.cli_serve import serve
from flows.cli_services import automations, backfill, publish, reap
from flows.feedback.cli import app as feedback_app
from flows.score import app as score

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import JsonValue

    from tasks.register.registry import MlflowRegistry

app = typer.Typer(
    help="LLaVA as a pipeline: images with captions in, a promoted model and a report out.", no_args_is_help=True,
    add_completion=False, pretty_exceptions_enable=False,
)
app.add_typer(score, name="score")
app.add_typer(bench, name="bench")
app.add_typer(feedback_app, name="feedback")
app.command()(chat)
app.command()(publish)
app.command()(automations)
app.command()(backfill)
app.command()(reap)
app.command()(serve)

Experiment = Annotated[str, typer.Argument(help="Id of an experiment, or path of a YAML file.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", "-s", metavar="KEY=VALUE", help="Change one knob.")]
Tag = Annotated[str, typer.Option("--tag", help="A word to find the run by.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, for programs.")]
Profile = Annotated[
    bool, typer.Option("--profile", help="Trace a few steps of each training stage that is built.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show what libraries log, too.")]
Waiting = Annotated[str, typer.Argument(metavar="RUN", help="Id of the run that waits for approval.")]
Model = Annotated[str, typer.Option("--model", help="Name in the registry.")]


@app.command()
def run(
    experiment: Experiment = "shapes", overrides: Overrides = None, tag: Tag = "", profile: Profile = False,
    as_json: Json = False, verbose: Verbose = False,
) -> None:
    """The whole pipeline: from images to a promotion decision and a report."""
    _drive(experiment, overrides, tag, None, as_json, verbose, profile)


@app.command()
def plan(experiment: Experiment = "shapes", overrides: Overrides = None, as_json: Json = False) -> None:
    """What a run would do, and why, before anything is spent."""
    from flows.plan import make_plan, render

    planned = make_plan(experiment, overrides or ())
    if as_json:
        _print_json(planned.model_dump(mode="json"))
    else:
        _print(render(planned))


@app.command("doctor")
def diagnose(experiment: Experiment = "shapes", overrides: Overrides = None, as_json: Json = False) -> None:
    """What is missing or off on this machine, each finding with its remedy."""
    from dataclasses import asdict

    from configs.load import load_experiment
    from configs.settings import Settings
    from flows.doctor import Level, check, render

    findings = check(Settings(), load_experiment(experiment, overrides or ()))
    if as_json:
        _print_json([asdict(finding) for finding in findings])
    else:
        _print(render(findings))
    if failures := [finding.name for finding in findings if finding.level is Level.FAIL]:
        sys.stderr.write(f"error: this machine cannot run it: {', '.join(failures)}\n")
        raise typer.Exit(1)


@app.command()
def ingest(
    experiment: Experiment = "shapes", overrides: Overrides = None, tag: Tag = "", as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Images, captions and boxes: read, checked, de-duplicated."""
    _drive(experiment, overrides, tag, "ingest", as_json, verbose)


@app.command()
def generate(
    experiment: Experiment = "shapes", overrides: Overrides = None, tag: Tag = "", as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Conversations about them, written by the teacher."""
    _drive(experiment, overrides, tag, "generate", as_json, verbose)


@app.command()
def shard(
    experiment: Experiment = "shapes", overrides: Overrides = None, tag: Tag = "", as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """WebDataset shards of the training samples."""
    _drive(experiment, overrides, tag, "shard", as_json, verbose)


@app.command()
def base(
    experiment: Experiment = "shapes", overrides: Overrides = None, tag: Tag = "", as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """The vision tower and the language model."""
    _drive(experiment, overrides, tag, "base", as_json, verbose)


@app.command()
def train(
    experiment: Experiment = "shapes", overrides: Overrides = None, tag: Tag = "",
    stage: Annotated[str, typer.Option("--stage", help="align or instruct: the last one to train.")] = "instruct",
    profile: Profile = False, as_json: Json = False, verbose: Verbose = False,
) -> None:
    """Training: align, then instruct."""
    if stage not in ("align", "instruct"):
        raise typer.BadParameter(f"{stage!r} is neither align nor instruct", param_hint="--stage")
    _drive(experiment, overrides, tag, stage, as_json, verbose, profile)


@app.command()
def evaluate(
    experiment: Experiment = "shapes", overrides: Overrides = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Instead of training: a LLaVA folder, models:/NAME/VERSION, or a URL.")
    ] = None,
    model_name: Annotated[str, typer.Option("--model-name", help="What the endpoint at the URL calls it.")] = "",
    api_key_env: Annotated[
        str, typer.Option("--api-key-env", help="Environment variable that holds the endpoint's key.")
    ] = "OPENAI_API_KEY",
    template: Annotated[
        str | None, typer.Option("--template", help="Prompt template; by default the checkpoint's own.")
    ] = None,
    tag: Tag = "", as_json: Json = False, verbose: Verbose = False,
) -> None:
    """What the benchmarks say of the trained model, or of any other (--model)."""
    if model is None:
        _drive(experiment, overrides, tag, "evaluate", as_json, verbose)
        return
    from flows.driver import Asked, drive
    from flows.interrupts import leave
    from flows.named_model import Named

    named = Named(model, model_name, api_key_env, template)
    leave(drive(Asked(experiment, tuple(overrides or ()), tag, "evaluate", as_json, verbose, named)))


@app.command()
def register(
    experiment: Experiment = "shapes", overrides: Overrides = None, tag: Tag = "", as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """The model as a version in the registry."""
    _drive(experiment, overrides, tag, "register", as_json, verbose)


@app.command()
def promote(
    experiment: Experiment = "shapes", overrides: Overrides = None, tag: Tag = "", as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """The gate's decision, and the alias of the champion moved if it says so."""
    _drive(experiment, overrides, tag, "promote", as_json, verbose)


@app.command()
def verify(
    uri: Annotated[str, typer.Argument(help="Folder of an artifact, or s3://...")], as_json: Json = False
) -> None:
    """Whether an artifact is whole: every file and every sample against its digest. Exit status 1 if not."""
    from flows.verify import as_json as json_of
    from flows.verify import check, lines

    verified = check(uri)
    if as_json:
        _print_json(json_of(uri, verified))
    else:
        typer.echo("\n".join(lines(uri, verified)))
    if verified.faults:
        raise typer.Exit(1)


@app.command()
def export(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="An experiment, a run, or where a shard set lies.")],
    to: Annotated[Path, typer.Option("--to", help="The JSON file to write.")],
    images: Annotated[Path | None, typer.Option("--images", help="Folder to write the images to.")] = None,
    stage: Annotated[str, typer.Option("--stage", help="Samples of align or of instruct.")] = "instruct",
    with_held_out: Annotated[bool, typer.Option("--with-held-out", help="Add those kept from training.")] = False,
) -> None:
    """Training samples as official LLaVA JSON, for other trainers."""
    from flows.export import export as write

    written = write(source, to, images, stage, with_held_out)
    pictures = f", {written.images:,} images in {images}" if images is not None else ""
    typer.echo(f"{to}: {written.samples:,} samples{pictures}")


@app.command()
def models(model: Model = "llavaflow", as_json: Json = False) -> None:
    """Versions in the registry: aliases, decision, scores."""
    rows = _registry(model).rows()
    if as_json:
        _print_json(rows)
    else:
        from flows.models_table import versions

        _print(versions(rows))


@app.command()
def history(model: Model = "llavaflow", as_json: Json = False) -> None:
    """Who became champion when, why, and who did not."""
    from configs.settings import Settings
    from flows.desk import desk_of
    from tasks.register.settle import history as trail

    records = trail(desk_of(Settings(), _registry(model)))
    if as_json:
        _print_json([record.model_dump(mode="json") for record in records])
    else:
        from flows.models_table import moves

        _print(moves(records))


@app.command()
def compare(
    model_a: Annotated[str, typer.Argument(help="Folder or uri of an evaluation, id of a run, version or alias.")],
    model_b: Annotated[str, typer.Argument(help="The other one, to be compared with it.")],
    html: Annotated[str | None, typer.Option("--html", help="Where the page goes; by default beside the runs.")] = None,
    confidence: Annotated[float, typer.Option("--confidence", min=0.5, max=0.999, help="Of the intervals.")] = 0.95,
    model: Model = "llavaflow", as_json: Json = False,
) -> None:
    """Two evaluated models on the same examples: differences, how sure they are, and which examples flipped."""
    from configs.settings import Settings
    from flows.compare import compare_models

    made = compare_models((model_a, model_b), Settings(), lambda: _registry(model), html, confidence)
    if as_json:
        _print_json(made.json())
    else:
        for part in made.tables():
            _print(part)


@app.command()
def lineage(
    version: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="Version, alias, models:/NAME/VERSION, or id of a run.")
    ] = None,
    image: Annotated[str | None, typer.Option("--image", help="What came of it: its sha256 or its id.")] = None,
    answer: Annotated[str | None, typer.Option("--answer", help="What came of it: its key in the ledger.")] = None,
    prompts: Annotated[str | None, typer.Option("--prompts", help="What came of them: their digest.")] = None,
    feedback: Annotated[str | None, typer.Option("--feedback", help="What came of it: a user, or an item.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="A page to write, with all that is found.")] = None,
    samples: Annotated[
        Path | None, typer.Option("--samples", help="A JSONL file to write: every training sample of MODEL.")
    ] = None,
    model: Model = "llavaflow", as_json: Json = False,
) -> None:
    """What a model learned from; or which models learned from an image, an answer, a set of prompts."""
    from configs.settings import Settings
    from flows.lineage.command import Question, lines
    from flows.lineage.command import lineage as look
    from flows.lineage.versions import model_name

    registry = _registry(model_name(version or "", model))
    found = look(Question(version, image, answer, prompts, feedback), registry, Settings(), html, samples)
    if as_json:
        _print_json(found.model_dump(mode="json"))
    else:
        typer.echo("\n".join(lines(found)))


@app.command()
def forget(
    images: Annotated[
        list[str] | None, typer.Argument(metavar="IMAGE...", help="sha256 or id of an image, or a file of them.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the list.")] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Let them in again.")] = False,
    show: Annotated[bool, typer.Option("--list", help="Show what is withdrawn.")] = False,
    as_json: Json = False,
) -> None:
    """Withdraw images: the next runs leave them out and rebuild what had them."""
    import getpass

    from configs.settings import Settings
    from flows.lineage.forgetting import forget as withdraw
    from flows.lineage.forgetting import listed, names_in, told
    from flows.places import withdrawn_of

    settings = Settings()
    if show:
        there = [*withdrawn_of(settings).now().values()]
        shown, lines = there, listed(there)
    else:
        done = withdraw(names_in(images or []), settings, getpass.getuser(), reason, undo=undo)
        shown, lines = [*done.changed], told(done)
    if as_json:
        _print_json([one.model_dump(mode="json") for one in shown])
    else:
        typer.echo("\n".join(lines))


@app.command()
def gc(
    apply: Annotated[bool, typer.Option("--apply", help="Remove it; by default it is only listed.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Also what is kept only because it is the newest of an experiment.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Artifacts, work folders and runs that no kept model needs: listed, or removed."""
    from configs.settings import Settings
    from flows.desk import desk_of
    from flows.lineage.garbage import collect, lines

    settings = Settings()
    models = [_registry(name) for name in _registry("").models()]
    trails = [(registry, desk_of(settings, registry).trail()) for registry in models]
    found = collect(trails, settings, apply=apply, everything=everything)
    if as_json:
        _print_json({"items": [item.model_dump(mode="json") for item in found.items], "missing": [*found.missing]})
    else:
        typer.echo("\n".join(lines(found)))


@app.command()
def reproduce(
    version: Annotated[str, typer.Argument(metavar="MODEL", help="Version, alias, models:/NAME/VERSION, or a run.")],
    into: Annotated[
        Path | None, typer.Option("--into", help="Fresh root to make it under; by default one that is removed.")
    ] = None,
    model: Model = "llavaflow", as_json: Json = False,
) -> None:
    """Make a model again, pay nothing, and compare stage by stage. Exit status 1 if not all is equal."""
    from configs.settings import Settings
    from flows.lineage.reproducing import lines
    from flows.lineage.reproducing import reproduce as again
    from flows.lineage.versions import model_name

    found = again(version, _registry(model_name(version, model)), Settings(), into)
    if as_json:
        _print_json(found.model_dump(mode="json"))
    else:
        typer.echo("\n".join(lines(found)))
    if not found.equal:
        raise typer.Exit(1)


@app.command()
def rollback(
    to: Annotated[str | None, typer.Option("--to", help="Version to go back to; default is the one before.")] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the trail.")] = "",
    model: Model = "llavaflow", as_json: Json = False,
) -> None:
    """Point the alias of the champion back to an earlier version."""
    import getpass

    from configs.settings import Settings
    from flows.desk import desk_of
    from tasks.register.promote import rollback as roll_back

    done = roll_back(desk_of(Settings(), _registry(model), who=getpass.getuser()), to, reason)
    if as_json:
        _print_json(done.model_dump(mode="json"))
    else:
        typer.echo(f"champion is version {done.champion_after}, was version {done.champion_before}")


@app.command()
def approve(
    run: Waiting, reason: Annotated[str, typer.Option("--reason", help="Why, for the trail.")],
    model: Model = "llavaflow", as_json: Json = False,
) -> None:
    """Make the version that a run asks about the champion."""
    _answer(run, reason, model, as_json, yes=True)


@app.command()
def reject(
    run: Waiting, reason: Annotated[str, typer.Option("--reason", help="Why, for the trail.")],
    model: Model = "llavaflow", as_json: Json = False,
) -> None:
    """Hold the version that a run asks about."""
    _answer(run, reason, model, as_json, yes=False)


def main() -> None:
    """The console script. Whatever goes wrong ends with its cause on the last line and a status that is not 0."""
    try:
        app()
    except LlavaflowError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - the last place where it can be told in one line
        sys.stderr.write(f"error: {type(error).__name__}: {error}\n")
        sys.exit(1)


def _drive(
    experiment: str, overrides: Sequence[str] | None, tag: str, last: str | None, as_json: bool, verbose: bool,
    profile: bool = False,
) -> None:
    from flows.driver import Asked, drive
    from flows.interrupts import leave

    leave(drive(Asked(experiment, tuple(overrides or ()), tag, last, as_json, verbose, profile=profile)))


def _answer(run: str, reason: str, model: str, as_json: bool, *, yes: bool) -> None:
    import getpass

    from configs.settings import Settings
    from flows.approval import give_answer
    from flows.desk import desk_of
    from tasks.progress import Silent

    registry = _registry(model)
    desk = desk_of(Settings(), registry, who=getpass.getuser())
    answered = give_answer(desk, registry, run, reason, yes=yes, progress=Silent())
    done = answered.promotion
    if as_json:
        _print_json(done.model_dump(mode="json"))
        return
    typer.echo(f"{done.verdict}: version {done.challenger}; champion is version {done.champion_after or 'none'}")
    typer.echo("\n".join([*done.reasons, *([answered.flow] if answered.flow else [])]))


def _registry(model: str) -> MlflowRegistry:
    from flows.registry import registry_of

    return registry_of(model)


def _print(what: object) -> None:
    from rich.console import Console

    Console().print(what)


def _print_json(value: JsonValue | Sequence[object]) -> None:
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
