"""What is missing or off on this machine, each finding with its remedy: `llavaflow doctor`, and quietly every run.

Reads the machine through `flows.machine.Machine`, the environment through Settings, and what an experiment asks for.
Servers are asked only where one is configured, so that without any it takes well under a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version
from rich.table import Table
from rich.text import Text

from configs.schema import Experiment, OpenAIEndpoint
from configs.settings import Settings
from flows.machine import LOOPBACK, Machine, ThisMachine

PROJECT = Path(__file__).resolve().parent.parent
GIB = 1 << 30
LEAST_PYTHON = (3, 11)
CPU_OPERATION = "deepspeed_shm_comm"
SERVERLESS = ("sqlite:", "file:", "/", ".", "auto", "local")
"""Starts of settings that name a file, or leave the choice to a library, in place of a server."""
COMPILERS = ("c++", "g++", "clang++")


class Level(StrEnum):
    """How bad a finding is: `fail` stops a run, `warn` does not."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `remedy` is one line, empty where nothing is to be done."""

    name: str
    level: Level
    what: str
    remedy: str = ""


def check(
    settings: Settings, experiment: Experiment | None = None, *, quiet: bool = False, machine: Machine | None = None
) -> list[Finding]:
    """Everything that was looked at, in a fixed order; only the failures if `quiet`."""
    machine = machine or ThisMachine()
    found = [
        *_python(machine),
        *_packages(machine, PROJECT),
        *_compiler(machine),
        *_memory(machine),
        *_folder(machine, settings.home()),
        *_loopback(machine),
        *_devices(machine, settings, experiment),
        *_servers(machine, settings, experiment),
    ]
    return [finding for finding in found if finding.level is Level.FAIL] if quiet else found


def render(findings: Iterable[Finding]) -> Table:
    """The findings as a table for the terminal."""
    colours = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red"}
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("", "what", "found", "remedy"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        level = Text(finding.level.value, style=colours[finding.level])
        # Text, not str: what was found may hold brackets, which rich would take for mark-up.
        table.add_row(level, Text(finding.name), Text(finding.what), Text(finding.remedy))
    return table


def _python(machine: Machine) -> Iterator[Finding]:
    major, minor = machine.python()
    good = (major, minor) >= LEAST_PYTHON
    remedy = "" if good else "make PYTHON=python3.11 setup"
    yield Finding("python", Level.OK if good else Level.FAIL, f"{major}.{minor}", remedy)


def _packages(machine: Machine, project: Path) -> Iterator[Finding]:
    direct = {one.name.lower() for one in _requirements(project / "requirements.in")}
    locked = _requirements(project / "requirements.lock")
    if not locked:
        yield Finding("packages", Level.WARN, "there is no requirements.lock to compare with", "run from a checkout")
        return
    versions = {one.name: (machine.installed(one.name), str(one.specifier).removeprefix("==")) for one in locked}
    missing = [name for name, (found, _) in versions.items() if found is None]
    other = [
        f"{name} {found} (locked: {wanted})"
        for name, (found, wanted) in versions.items()
        if found is not None and Version(found).public != Version(wanted).public
    ]
    if needed := [name for name in missing if name.lower() in direct]:
        yield Finding("packages", Level.FAIL, f"not installed: {_some(needed)}", "make setup")
    elif missing or other:
        said = [f"not installed: {_some(missing)}"] * bool(missing) + [_some(other)] * bool(other)
        yield Finding("packages", Level.WARN, "; ".join(said), "make setup")
    else:
        yield Finding("packages", Level.OK, f"{len(versions)} as locked")


def _compiler(machine: Machine) -> Iterator[Finding]:
    if machine.compiled(CPU_OPERATION):
        yield Finding("compiler", Level.OK, "DeepSpeed's all-reduce for CPUs is compiled")
    elif not any(machine.program(name) for name in COMPILERS):
        yield Finding("compiler", Level.FAIL, "no C++ compiler", "install one (Debian: apt-get install g++)")
    else:
        what = "there is one; DeepSpeed's all-reduce is yet to be compiled, which takes a minute"
        yield Finding("compiler", Level.WARN, what, "rm -rf .venv && make setup")
    if machine.program("ninja") is None:
        yield Finding("ninja", Level.FAIL, "DeepSpeed loads its operations with it, and it is not there", "make setup")


def _memory(machine: Machine) -> Iterator[Finding]:
    yield _room("memory", machine.free_memory(), 3 * GIB, 5 * GIB, "stop other programs, or --set train.workers=1")
    shared = Path("/dev/shm")  # where Ray keeps its objects
    yield _room("shared memory", machine.free_disk(shared), 0, GIB, "a container gets more by --shm-size=2g")


def _folder(machine: Machine, root: Path) -> Iterator[Finding]:
    if problem := machine.writing_problem(root):
        remedy = "name another folder with LLAVAFLOW_ROOT"
        yield Finding("run folder", Level.FAIL, f"{root} cannot be written to: {problem}", remedy)
    else:
        yield Finding("run folder", Level.OK, str(root))
    remedy = f"free some space on the disk of {root}, or set LLAVAFLOW_ROOT"
    yield _room("disk", machine.free_disk(root), GIB, 5 * GIB, remedy)


def _loopback(machine: Machine) -> Iterator[Finding]:
    # Our own servers take whatever port is free; none is fixed.
    if problem := machine.loopback_problem():
        remedy = "allow listening on 127.0.0.1: Ray and Prefect talk to themselves there"
        yield Finding("ports", Level.FAIL, f"no port on 127.0.0.1 can be opened: {problem}", remedy)
    else:
        yield Finding("ports", Level.OK, "free ones on 127.0.0.1 can be opened")


def _devices(machine: Machine, settings: Settings, experiment: Experiment | None) -> Iterator[Finding]:
    cpus, gpus = machine.cpus(), machine.gpus()
    own = experiment is not None and settings.ray_address is None
    wanted_cpus = experiment.train.workers * experiment.train.cpus_per_worker if experiment and own else 0
    wanted_gpus = experiment.train.workers * experiment.train.gpus_per_worker if experiment and own else 0
    few = wanted_cpus > cpus
    what = f"{cpus} cores" + (f", and training wants {wanted_cpus}" if few else "")
    yield Finding("cpu", Level.WARN if few else Level.OK, what, f"--set train.workers={cpus}" if few else "")
    names = ", ".join(sorted({f"{gpus.count(name)} x {name}" for name in gpus})) or "none"
    if wanted_gpus > len(gpus):
        remedy = "--set train.gpus_per_worker=0, or a cluster in LLAVAFLOW_RAY_ADDRESS"
        yield Finding("gpu", Level.FAIL, f"{names}, and training wants {wanted_gpus}", remedy)
    else:
        yield Finding("gpu", Level.OK, names)


@dataclass(frozen=True)
class _Server:
    name: str
    url: str
    level: Level
    """How bad it is if it does not answer."""
    remedy: str


def _servers(machine: Machine, settings: Settings, experiment: Experiment | None) -> Iterator[Finding]:
    servers = [*_configured(settings), *_endpoints(experiment)]
    if servers:
        with ThreadPoolExecutor(len(servers)) as pool:
            problems = list(pool.map(machine.reaching_problem, [server.url for server in servers]))
        for server, problem in zip(servers, problems, strict=True):
            refusal = None if problem is not None else machine.login_problem(server.name, settings)
            yield _answer(server, problem) if refusal is None else _refusal(server, refusal)
    for endpoint in _openai_endpoints(experiment):
        outside = urlsplit(endpoint.base_url).hostname not in LOOPBACK
        if outside and not machine.variable(endpoint.api_key_env):
            what = f"{endpoint.api_key_env}, the key for {endpoint.base_url}, is not set"
            yield Finding("key", Level.WARN, what, f"export {endpoint.api_key_env}=...")


def _configured(settings: Settings) -> Iterator[_Server]:
    """Servers that Settings name. One that is named and does not answer is a failure."""
    named = (
        ("prefect", "prefect_api_url", "/health"),
        ("mlflow", "mlflow_uri", "/health"),
        ("s3", "s3_endpoint", ""),
        ("ray", "ray_address", ""),
        ("ledger", "ledger_url", ""),
    )
    for name, setting, path in named:
        url: str | None = getattr(settings, setting)
        if url and not url.startswith(SERVERLESS):
            remedy = f"start it, or correct or unset LLAVAFLOW_{setting.upper()}"
            yield _Server(name, url.rstrip("/") + path, Level.FAIL, remedy)


def _endpoints(experiment: Experiment | None) -> Iterator[_Server]:
    """Teacher and judge. A warning only: what they said before is kept, and a cached run asks nothing."""
    for url in sorted({endpoint.base_url for endpoint in _openai_endpoints(experiment)}):
        remedy = "start the endpoint (make teacher MODEL=...), or correct base_url in the experiment"
        yield _Server("endpoint", url.rstrip("/") + "/models", Level.WARN, remedy)


def _openai_endpoints(experiment: Experiment | None) -> list[OpenAIEndpoint]:
    if experiment is None:
        return []
    bench = experiment.evaluate.llava_bench
    questions = experiment.evaluate.scienceqa
    ensemble = questions.ensemble if questions else None
    others = [*([bench.judge] if bench else []), *([ensemble.llm] if ensemble else [])]
    endpoints = [experiment.generate.teacher, *others]
    return [endpoint for endpoint in endpoints if isinstance(endpoint, OpenAIEndpoint)]


def _shown(url: str) -> str:
    """Without a password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _refusal(server: _Server, problem: str) -> Finding:
    what, _, remedy = problem.partition("; ")
    return Finding(server.name, Level.FAIL, f"{_shown(server.url)}: {what}", remedy)


def _answer(server: _Server, problem: str | None) -> Finding:
    where = _shown(server.url)
    if problem is None:
        return Finding(server.name, Level.OK, f"{where} answers")
    return Finding(server.name, server.level, f"{where} does not answer: {problem}", server.remedy)


def _room(name: str, free: int, least: int, comfortable: int, remedy: str) -> Finding:
    level = Level.FAIL if free < least else Level.WARN if free < comfortable else Level.OK
    return Finding(name, level, f"{free / GIB:.1f} GiB free", "" if level is Level.OK else remedy)


def _requirements(path: Path) -> list[Requirement]:
    """Requirements of a file that hold on this machine; none where there is no file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        found = [Requirement(line) for line in map(str.strip, lines) if line and not line.startswith("#")]
    except (OSError, InvalidRequirement):
        return []
    return [one for one in found if one.marker is None or one.marker.evaluate()]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
