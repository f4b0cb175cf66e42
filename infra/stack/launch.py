"""Become one program of the stack: `python -m infra.stack.launch NAME`, which the supervisor runs.

So the supervisor's configuration holds no secrets, and each program gets those it needs and no others.
"""

from __future__ import annotations

import os
import pwd
import sys

from infra.stack.errors import StackProblem
from infra.stack.places import Places
from infra.stack.plan import read_plan
from infra.stack.programs import environment_of, programs


def main(name: str) -> None:
    """Never returns. Raises StackProblem if the stack has no such program."""
    places = Places.usual()
    plan = read_plan(places)
    program = None if plan is None else next((one for one in programs(places, plan) if one.name == name), None)
    if program is None:
        raise StackProblem(f"the stack under {places.home} has no program {name}")
    environment = environment_of(program, places, os.environ)
    os.chdir(program.folder)
    if program.user is not None:
        entry = pwd.getpwnam(program.user)
        os.initgroups(entry.pw_name, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    os.execve(program.command[0], list(program.command), environment)


if __name__ == "__main__":
    main(sys.argv[1])
