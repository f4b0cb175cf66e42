"""supervisord (package supervisor): its configuration, its start, and its interface over a Unix socket."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypedDict

from infra.stack.errors import StackProblem
from infra.stack.places import PROJECT, Places, write_private
from infra.stack.programs import Program

BIN = Path(sys.executable).parent
PATIENCE = 20.0


class State(TypedDict):
    """What the supervisor says of a program (a part of it)."""

    name: str
    statename: str
    pid: int
    description: str


def configuration(places: Places, known: Sequence[Program]) -> str:
    """The file that supervisord reads. No program starts by itself; one that dies is started again."""
    me = pwd.getpwuid(os.geteuid()).pw_name
    parts = [
        f"[unix_http_server]\nfile={places.socket}\nchmod=0700\n",
        "[rpcinterface:supervisor]\n"
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n",
        f"[supervisord]\nuser={me}\nlogfile={places.logs}/supervisord.log\nlogfile_maxbytes=5MB\nlogfile_backups=1\n"
        f"pidfile={places.runtime}/supervisord.pid\nchildlogdir={places.logs}\nnocleanup=true\numask=077\n",
        f"[supervisorctl]\nserverurl=unix://{places.socket}\n",
    ]
    for program in known:
        parts.append(
            f"[program:{program.name}]\ncommand={sys.executable} -m infra.stack.launch {program.name}\n"
            f"directory={PROJECT}\nautostart=false\nautorestart=unexpected\nexitcodes=\nstartsecs=2\nstartretries=2\n"
            f"stopsignal={program.stop_signal}\nstopwaitsecs=20\nstopasgroup=false\nkillasgroup=true\n"
            f"redirect_stderr=true\nstdout_logfile={places.logs}/{program.name}.log\nstdout_logfile_maxbytes=10MB\n"
            "stdout_logfile_backups=1\n"
        )
    return "\n".join(part.replace("%", "%%") for part in parts)


class Supervisor:
    """A running supervisord."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def start(self, known: Sequence[Program]) -> None:
        """Start it, with the programs it is to know and none running. Raises StackProblem."""
        file = self._places.home / "supervisord.conf"
        write_private(file, configuration(self._places, known))
        environment = {**os.environ, "LLAVAFLOW_STACK": str(self._places.home)}
        command = [str(BIN / "supervisord"), "--configuration", str(file)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=PROJECT, check=False)
        deadline = time.monotonic() + PATIENCE
        while done.returncode == 0 and time.monotonic() < deadline:
            if self.running():
                return
            time.sleep(0.1)
        said = " ".join((done.stderr or done.stdout).split())[-300:]
        raise StackProblem(f"supervisord did not start: {said}; see {self._places.logs}/supervisord.log")

    def running(self) -> bool:
        """Whether it answers."""
        if not self._places.socket.exists():
            return False
        try:
            self._asked("getState")
        except (OSError, HTTPException, xmlrpc.client.Error):
            return False
        return True

    def pid(self) -> int:
        """Its own process."""
        return int(self._asked("getPID"))

    def start_program(self, name: str) -> None:
        """Start one, not waiting for it; nothing if it runs."""
        try:
            self._asked("startProcess", name, False)
        except xmlrpc.client.Fault as fault:
            if "ALREADY_STARTED" not in fault.faultString:
                raise StackProblem(f"{name} cannot be started: {fault.faultString}") from fault

    def stop_program(self, name: str) -> None:
        """Stop one and wait for its end; nothing if it does not run."""
        try:
            self._asked("stopProcess", name)
        except xmlrpc.client.Fault as fault:
            if "NOT_RUNNING" not in fault.faultString:
                raise StackProblem(f"{name} cannot be stopped: {fault.faultString}") from fault

    def states(self) -> dict[str, State]:
        """Every program it knows."""
        found: list[State] = self._asked("getAllProcessInfo")
        return {state["name"]: state for state in found}

    def shut_down(self) -> None:
        """Ask it to end."""
        self._asked("shutdown")

    def _asked(self, method: str, *arguments: object) -> Any:
        """Its answer to one call, the connection closed after it."""
        from supervisor.xmlrpc import SupervisorTransport

        transport = SupervisorTransport(None, None, f"unix://{self._places.socket}")
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as proxy:
            return getattr(proxy.supervisor, method)(*arguments)
