"""What `llavaflow run` and the commands of single stages do around a flow: servers, checks, display, the last words.

While Prefect's server and client load, which takes seconds, the run is opened and MLflow is made ready.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from configs.load import load_experiment
from configs.settings import Settings
from flows import doctor
from flows.environment import prepare_environment
from flows.interrupts import Interrupts, end_children
from flows.logs import quiet_terminal
from flows.named_model import Named
from flows.prefect_home import prefect_api
from tasks.errors import EnvironmentProblem

if TYPE_CHECKING:
    from flows.outcome import Outcome
    from flows.run import Run

GO_ON = "run the same command again: finished stages are kept"


@dataclass(frozen=True)
class Asked:
    """A command. `last` is the stage to stop after; None for the whole pipeline."""

    experiment: str
    overrides: Sequence[str] = ()
    tag: str = ""
    last: str | None = None
    as_json: bool = False
    verbose: bool = False
    model: Named | None = None
    """A model to evaluate that the experiment has not trained."""
    profile: bool = False
    """Whether training is to be profiled. No stage's key knows of it."""


def drive(asked: Asked) -> int:
    """Do it, say what came of it, and return the exit status."""
    quiet_terminal(asked.verbose)
    with Interrupts() as interrupts:
        holder: list[Run] = []
        try:
            _run(asked, holder)
        except (KeyboardInterrupt, SystemExit):  # Ray exits on SIGTERM while it starts
            end_children()
            return _interrupted(interrupts, holder)
        except Exception as error:  # noqa: BLE001 - the last place where it can be told in one line
            end_children()
            if interrupts.signal is not None:  # a library made something else of it on its way here
                return _interrupted(interrupts, holder)
            _tell(error, holder)
            return 1
    return 0


def _run(asked: Asked, holder: list[Run]) -> None:
    settings = Settings()
    experiment = load_experiment(asked.experiment, asked.overrides)
    prepare_environment(settings)
    with prefect_api() as api_is_up:
        if problems := doctor.check(settings, experiment, quiet=True):
            first, more = problems[0], len(problems) - 1
            others = f" ({more} more: llavaflow doctor)" if more else ""
            raise EnvironmentProblem(f"{first.name}: {first.what}; {first.remedy}{others}")
        # Not sooner: what these import takes a second, in which the server can start.
        from flows.progress_display import display_for, stderr_console
        from flows.run import open_run

        display = display_for(stderr_console())
        with open_run(asked.experiment, asked.overrides, asked.tag, display, asked.verbose, asked.profile) as run:
            holder.append(run)
            from flows.evaluation import evaluation
            from flows.pipeline import part, pipeline

            api_is_up()
            if asked.model is not None:
                evaluation(asked.experiment, asked.model, tuple(asked.overrides), asked.tag)
            elif asked.last is None:
                pipeline(asked.experiment, tuple(asked.overrides), asked.tag)
            else:
                part(asked.experiment, asked.last, tuple(asked.overrides), asked.tag)
        assert run.outcome is not None, "a run that is over has an outcome"
        _show(run.outcome, asked.as_json)


def _show(outcome: Outcome, as_json: bool) -> None:
    from rich.console import Console

    from flows.last_words import show

    if as_json:
        sys.stdout.write(outcome.model_dump_json(indent=1) + "\n")
    else:
        show(outcome, Console())


def _interrupted(interrupts: Interrupts, holder: list[Run]) -> int:
    _say_what_goes_on(holder)
    _say(f"interrupted; {GO_ON}")
    return interrupts.status


def _tell(error: Exception, holder: list[Run]) -> None:
    from flows.outcome import cause_of, shown_path

    _say_what_goes_on(holder)
    if holder:
        _say(f"full trace: {shown_path(holder[0].folder)}/run.log; {GO_ON}")
    _say(f"error: {cause_of(error)}")

def _say_what_goes_on(holder: list[Run]) -> None:
    for line in holder[0].going_on if holder else ():
        _say(line)


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
