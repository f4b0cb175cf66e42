"""The jobs of a cluster in memory: each runs a function in a thread when it is submitted."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from tasks.train.submission import Job

Work = Callable[["FakeJobs", str], str]
"""What a job does: gets the jobs and its id, returns the status it ends with."""


@dataclass
class FakeJobs:
    """See `tasks.train.submission.Jobs`."""

    work: Work
    jobs: dict[str, Job] = field(default_factory=dict)
    commands: dict[str, str] = field(default_factory=dict)
    environments: dict[str, dict[str, str]] = field(default_factory=dict)
    said: dict[str, list[str]] = field(default_factory=dict)
    stopped: list[str] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def all(self) -> list[Job]:
        return [*self.jobs.values()]

    def submit(self, id: str, command: str, environment: Mapping[str, str], metadata: Mapping[str, str]) -> None:
        self.jobs[id] = Job(id, "RUNNING", metadata)
        self.commands[id], self.environments[id] = command, dict(environment)
        threading.Thread(target=self.run, args=(id,)).start()

    def run(self, id: str) -> None:
        """The job's work, in the caller's thread."""
        status = self.work(self, id)
        self.jobs[id] = replace(self.jobs[id], status=status)

    def stop(self, id: str) -> None:
        self.stopped.append(id)
        self.stopping.set()

    def follow(self, id: str, receive: Callable[[str], None]) -> None:
        for line in self.said.get(id, []):
            receive(line)

    def told(self, id: str) -> dict[str, str]:
        """What the command of a job says: its place."""
        place: dict[str, str] = json.loads(self.commands[id].split("'")[1])
        return place
