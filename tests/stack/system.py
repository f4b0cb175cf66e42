"""The running system as tests of the whole see it: Prefect's API, Ray's API, and cut-down runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.fakes.stack import Stack, wait_for

SMALL = (
    "data.source.train_scenes=32", "data.source.scienceqa_train=32", "data.source.scienceqa_test=12",
    "data.source.bench_images=2", "generate.samples=32",
    "base.vision.scenes=32", "base.vision.steps=2", "base.vision.batch=16",
    "base.language.documents=200", "base.language.steps=2", "train.workers=2",
    "train.stages.align.steps=2", "train.stages.align.batch=16",
    "train.stages.instruct.steps=12", "train.stages.instruct.batch=16", "train.stages.instruct.checkpoint_every=2",
    "evaluate.scienceqa.max_new_tokens=8", "evaluate.llava_bench.max_new_tokens=8", "evaluate.bootstrap=200",
    "gate.floors={}", "gate.max_unparsed=1.0", "gate.max_judge_failures=1.0",
    "gate.margin=100", "gate.category_margin=100",
)  # fmt: skip
"""`shapes`, cut down to what shows that everything works; its models know nothing."""
RUN_SECONDS = 1500.0
"""How long a cut-down run may take on a machine that is shared."""
OVER = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}

Run = dict[str, Any]


class System:
    """See the module."""

    def __init__(self, stack: Stack, model: str) -> None:
        self.stack, self.model = stack, model
        user, password = stack.plan.prefect_login.split(":")
        self.prefect = httpx.Client(
            base_url=f"{stack.plan.url('prefect')}/api/", auth=(user, password), timeout=60, trust_env=False
        )
        self.ray = httpx.Client(
            base_url=stack.plan.url("ray_dashboard"), timeout=60, trust_env=False,
            headers={"Authorization": f"Bearer {stack.plan.passwords['ray']}"},
        )

    def close(self) -> None:
        self.prefect.close()
        self.ray.close()

    # ------------------------------------------------------------------------------------------------ Prefect

    def overrides(self, *more: str) -> list[str]:
        return [*SMALL, f"registry.model_name={self.model}", *more]

    def deployment(self, name: str = "pipeline/retrain") -> str:
        return str(self._asked("GET", f"deployments/name/{name}")["id"])

    def schedule(self, at: str, parameters: Run) -> str:
        """One run at that time: an interval of a year, as a schedule has no other end."""
        told = {"schedule": {"interval": 365 * 86400, "anchor_date": at}, "active": True, "parameters": parameters}
        return str(self._asked("POST", f"deployments/{self.deployment()}/schedules", [told])[0]["id"])

    def unschedule(self, schedule: str) -> None:
        self.prefect.delete(f"deployments/{self.deployment()}/schedules/{schedule}").raise_for_status()

    def start(self, tag: str, *more: str) -> Run:
        parameters = {"experiment": "shapes", "overrides": self.overrides(*more), "tag": tag}
        return self._run("POST", f"deployments/{self.deployment()}/create_flow_run", {"parameters": parameters})

    def run(self, run: Run) -> Run:
        return self._run("GET", f"flow_runs/{run['id']}")

    def tagged(self, tag: str) -> Run | None:
        """The newest run that has such a parameter and is not of the future."""
        found: Sequence[Run] = self._asked("POST", "flow_runs/filter", {"sort": "EXPECTED_START_TIME_DESC"})
        return next((run for run in found if run["parameters"].get("tag") == tag), None)

    def wait(self, run: Run, *types: str) -> Run:
        """Until it is of one of these types, or over."""
        wait_for(lambda: self.run(run)["state_type"] in {*types, *OVER}, RUN_SECONDS, 1.0)
        return self.run(run)

    def cancel(self, run: Run) -> None:
        self._asked("POST", f"flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLING"}})

    def _run(self, method: str, path: str, body: object = None) -> Run:
        found: Run = self._asked(method, path, body)
        return found

    def _asked(self, method: str, path: str, body: object = None) -> Any:
        reply = self.prefect.request(method, path, json=body)
        assert reply.is_success, reply.text
        return reply.json()

    # ------------------------------------------------------------------------------------------------ Ray

    def actors(self, name: str, state: str | None = "ALIVE") -> list[Run]:
        reply = self.ray.get("/api/v0/actors", params={"detail": "1", "limit": "1000"}).raise_for_status().json()
        found: list[Run] = reply["data"]["result"]["result"]
        return [one for one in found if one["class_name"] == name and state in {None, one["state"]}]

    def jobs(self) -> list[Run]:
        """Jobs that are not over."""
        found: list[Run] = self.ray.get("/api/jobs/").raise_for_status().json()
        return [job for job in found if job["status"] in {"PENDING", "RUNNING"}]

    def trainers(self) -> list[psutil.Process]:
        """Processes of training workers on this machine."""
        return [process for process in psutil.process_iter(["name", "cmdline"]) if _trains(process)]

    # ------------------------------------------------------------------------------------------------ files

    def folder(self, tag: str) -> Path | None:
        """Folder of the newest run with a tag."""
        for file in sorted(self.stack.root.glob("shapes-*/events.jsonl"), reverse=True):
            if f'"{tag}"' in file.read_text():
                return file.parent
        return None

    def events(self, tag: str) -> Iterator[Run]:
        folder = self.folder(tag)
        for line in (folder / "events.jsonl").read_text().splitlines() if folder else ():
            if line.endswith("}"):
                yield json.loads(line)


def _trains(process: psutil.Process) -> bool:
    try:
        return "RayTrainWorker" in " ".join(process.cmdline())
    except psutil.Error:
        return False
