"""`python -m infra.stack start|stop|status|logs`, which `make stack` and its like call."""

from __future__ import annotations

import argparse
import sys
import time

from infra.stack.errors import StackProblem
from infra.stack.places import PROJECT, Places
from infra.stack.plan import Plan, read_plan
from infra.stack.programs import mlflow_has_login, prefect_on_postgres, programs
from infra.stack.starter import conditions, last_lines, start, stop


def main(arguments: list[str] | None = None) -> int:
    """Do what is asked; 0 if all went well."""
    parser = argparse.ArgumentParser(prog="infra.stack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("start")
    commands.add_parser("stop").add_argument("--wipe", action="store_true", help="remove databases and buckets, too")
    commands.add_parser("status")
    logs = commands.add_parser("logs")
    logs.add_argument("program", nargs="?", help="one program; all of them otherwise")
    logs.add_argument("--lines", type=int, default=20)
    asked = parser.parse_args(arguments)
    places = Places.usual()
    try:
        if asked.command == "start":
            return _start(places)
        if asked.command == "stop":
            stop(places, _say, wipe=asked.wipe)
            return 0
        if asked.command == "status":
            return _status(places)
        return _logs(places, asked.program, asked.lines)
    except (StackProblem, OSError) as problem:  # a full disk, a folder that is not ours
        sys.stderr.write(f"stack: {' '.join(str(problem).split())}\n")
        return 1


def _start(places: Places) -> int:
    began = time.monotonic()
    plan = start(places, _say)
    _say(f"ready after {time.monotonic() - began:.0f} s")
    _addresses(plan)
    file = places.env.relative_to(PROJECT) if places.env.is_relative_to(PROJECT) else places.env
    _say(f"addresses and keys: . {file}")
    return 0


def _addresses(plan: Plan) -> None:
    for name, title in (("prefect", "Prefect"), ("mlflow", "MLflow"), ("ray_dashboard", "Ray"), ("s3", "S3")):
        sys.stdout.write(f"  {title:<8} {plan.url(name)}\n")
    if not mlflow_has_login():
        _say("MLflow asks for no password, as the package Flask-WTF is not installed (mlflow[auth])")
    if not prefect_on_postgres(plan):
        _say("Prefect keeps its state in SQLite, as this Postgres lacks pg_trgm (apt-get install postgresql)")


def _status(places: Places) -> int:
    """0 if all is well, 1 if something is ill, 3 if nothing is up, as for a service of the system."""
    found = conditions(places)
    if not found:
        _say("not up; `make stack` starts it")
        return 3
    for one in found:
        health = "well" if one.healthy else "ILL"
        sys.stdout.write(f"  {one.name:<12} {one.state:<10} {health:<6} {one.pid or ''}\n")
    if plan := read_plan(places):
        _addresses(plan)
    return 0 if all(one.healthy for one in found) else 1


def _logs(places: Places, wanted: str | None, lines: int) -> int:
    plan = read_plan(places)
    if plan is None:
        raise StackProblem("there is no stack; `make stack` starts one")
    names = [program.name for program in programs(places, plan)]
    if wanted is not None and wanted not in names:
        raise StackProblem(f"{wanted} is none of: {', '.join(names)}")
    for name in [wanted] if wanted else ["supervisord", *names]:
        sys.stdout.write(f"==> {places.logs}/{name}.log <==\n{last_lines(places, name, lines)}\n\n")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"stack: {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
