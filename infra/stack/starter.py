"""Start and stop the stack, and say how it is."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from infra.stack.client import env_file
from infra.stack.errors import StackProblem
from infra.stack.leftovers import sweep
from infra.stack.places import Places, write_private
from infra.stack.plan import Plan, make_plan, read_plan
from infra.stack.postgres import create_databases, prepare_postgres
from infra.stack.programs import Program, auth_file, mlflow_has_login, programs
from infra.stack.supervisor import Supervisor

POLL = 0.25
TRIES = 3
"""How often the supervisor may start a program until it is up: the first of all may be too slow for the second."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Condition:
    """One program: what the supervisor says of it, and whether it does its work."""

    name: str
    state: str
    healthy: bool
    pid: int


def start(places: Places, say: Say) -> Plan:
    """Start everything in the order of its needs; one that is up already stays. Raises StackProblem.

    Where one does not come up, all is stopped again.
    """
    places.make()
    with _locked(places):
        supervisor = Supervisor(places)
        if supervisor.running():
            return _already_up(places, supervisor, say)
        if count := sweep(places):
            say(f"{count} processes of a stack that was not stopped have been ended")
        plan = make_plan(places)
        known = _prepare(places, plan)
        supervisor.start(known)
        try:
            _start_in_order(places, plan, supervisor, known, say)
        except BaseException:
            _stop(places)
            raise
        write_private(places.env, env_file(places, plan))
    return plan


def stop(places: Places, say: Say, *, wipe: bool = False) -> None:
    """Stop everything, in the reverse order; with `wipe` remove databases, buckets, ports and secrets too."""
    if not places.home.exists():
        say("there is no stack")
        return
    with _locked(places):
        was_up = Supervisor(places).running()
        count = _stop(places)
        places.env.unlink(missing_ok=True)
        say("stopped" if was_up or count else "it was not up")
    if wipe:
        shutil.rmtree(places.home)
        say(f"removed {places.home}")


def conditions(places: Places) -> list[Condition]:
    """Every program; empty if the stack is not up."""
    plan, supervisor = read_plan(places), Supervisor(places)
    if plan is None or not supervisor.running():
        return []
    states = supervisor.states()
    return [
        Condition(
            program.name, states[program.name]["statename"], program.healthy(), states[program.name]["pid"]
        )
        for program in programs(places, plan) if program.name in states
    ]


def _already_up(places: Places, supervisor: Supervisor, say: Say) -> Plan:
    plan = read_plan(places)
    if plan is None:
        raise StackProblem(f"a supervisor runs, yet {places.plan} is gone; make stack-stop, then make stack")
    ill = [one.name for one in conditions(places) if not one.healthy]
    if ill:
        raise StackProblem(f"it is up, but not well: {', '.join(ill)}; make stack-logs, or stack-stop and stack again")
    say("it is up already")
    return plan


def _prepare(places: Places, plan: Plan) -> list[Program]:
    known = programs(places, plan)
    if plan.postgres is None:
        prepare_postgres(places.data / "postgres", plan.passwords["postgres"])
    if mlflow_has_login():
        write_private(places.home / "mlflow-auth.ini", auth_file(plan))
    for program in known:
        program.folder.mkdir(parents=True, exist_ok=True)
    return known


def _start_in_order(
    places: Places, plan: Plan, supervisor: Supervisor, known: Sequence[Program], say: Say
) -> None:
    """Start what has all it needs, until all is up."""
    if plan.postgres is not None:
        create_databases(plan)
    up: dict[str, float] = {}
    started: dict[str, float] = {}
    tries: dict[str, set[int]] = {program.name: set() for program in known}
    while len(up) < len(known):
        for program in known:
            if program.name not in started and set(program.needs) <= set(up):
                supervisor.start_program(program.name)
                started[program.name] = time.monotonic()
        for program in known:
            if program.name in started and program.name not in up and _is_up(
                places, supervisor, program, started[program.name], tries[program.name]
            ):
                if program.name == "postgres":
                    create_databases(plan)
                up[program.name] = time.monotonic() - started[program.name]
                say(f"{program.name} is up ({up[program.name]:.1f} s)")
        time.sleep(POLL)


def _is_up(places: Places, supervisor: Supervisor, program: Program, since: float, tries: set[int]) -> bool:
    """Whether it does its work. Raises StackProblem once it has ended too often, or takes too long."""
    state = supervisor.states()[program.name]
    tries.update({state["pid"]} - {0})
    late = time.monotonic() - since > program.needs_seconds
    if state["statename"] == "FATAL" or len(tries) > TRIES or late:
        why = f"is not up after {program.needs_seconds:g} s" if late else f"ended ({len(tries)} times)"
        raise StackProblem(f"{program.name} {why}: {last_lines(places, program.name, 5)}; see {places.logs}")
    return state["statename"] in {"STARTING", "RUNNING"} and program.healthy()


def last_lines(places: Places, name: str, count: int) -> str:
    """The end of a program's log; empty if it has none."""
    file = places.logs / f"{name}.log"
    if not file.exists():
        return ""
    with file.open("rb") as handle:
        handle.seek(max(0, file.stat().st_size - 64_000))
        return "\n".join(handle.read().decode(errors="replace").splitlines()[-count:])


def _stop(places: Places) -> int:
    """Stop in the reverse order, then end whatever is left; how many that were."""
    plan, supervisor = read_plan(places), Supervisor(places)
    if supervisor.running():
        if plan is not None:
            states = supervisor.states()
            for program in reversed(programs(places, plan)):
                if program.name in states:
                    supervisor.stop_program(program.name)
        supervisor.shut_down()
        _wait_for(lambda: not supervisor.running(), 20)
    count = sweep(places)
    shutil.rmtree(places.runtime, ignore_errors=True)
    return count


def _wait_for(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(POLL)


@contextmanager
def _locked(places: Places) -> Iterator[None]:
    """One start or stop at a time."""
    with places.lock.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StackProblem("the stack is being started or stopped by somebody else; wait for it") from error
        yield
