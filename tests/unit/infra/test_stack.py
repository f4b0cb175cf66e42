"""What the stack's programs are told: ports and secrets that stay, and each secret only where it is needed."""

from __future__ import annotations

import json
import re
import shlex
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from infra.stack.client import client_environment, env_file
from infra.stack.errors import StackProblem
from infra.stack.places import Places, write_private
from infra.stack.plan import HOST, PORTS, Plan, make_plan, read_plan
from infra.stack.postgres import has_trigrams
from infra.stack.programs import MARK, environment_of, programs
from infra.stack.starter import conditions, stop
from infra.stack.supervisor import configuration

OUTSIDE = "postgresql://owner:outside-secret@db.example:5433?sslmode=require"


@pytest.fixture
def places(tmp_path: Path) -> Places:
    found = Places(tmp_path / "stack")
    found.home.mkdir()
    return found


@pytest.fixture
def plan(places: Places) -> Plan:
    return make_plan(places)


def test_ports_and_secrets_stay_and_a_taken_port_alone_is_chosen_anew(places: Places, plan: Plan) -> None:
    assert make_plan(places) == plan and len(set(plan.ports.values())) == len(PORTS)
    with socket.create_server((HOST, plan.ports["mlflow"])):
        again = make_plan(places)
    assert again.passwords == plan.passwords
    assert {name for name in PORTS if again.ports[name] != plan.ports[name]} == {"mlflow"}


def test_the_plan_is_the_owners_alone_from_its_first_moment(places: Places, plan: Plan) -> None:
    assert stat.S_IMODE(places.plan.stat().st_mode) == 0o600
    write_private(places.home / "other", "x")
    assert stat.S_IMODE((places.home / "other").stat().st_mode) == 0o600


def test_a_folder_that_is_a_link_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "stack").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StackProblem, match="is a link or belongs to somebody else"):
        Places(tmp_path / "stack").make()


def test_a_plan_that_was_damaged_is_told_in_a_line(places: Places) -> None:
    places.plan.write_text("{")
    with pytest.raises(StackProblem, match="cannot be read"):
        read_plan(places)


def test_no_secret_is_in_a_command_or_in_the_supervisor_s_file(places: Places, plan: Plan) -> None:
    known = programs(places, plan)
    text = configuration(places, known) + " ".join(word for program in known for word in program.command)
    assert [secret for secret in plan.secrets() if secret in text] == []


def test_each_program_gets_the_secrets_it_needs_and_no_others(places: Places, plan: Plan) -> None:
    surroundings = {"PATH": "/bin", "OPENAI_API_KEY": "theirs"}
    given = {one.name: environment_of(one, places, surroundings) for one in programs(places, plan)}
    held = {
        name: {known for known, secret in plan.passwords.items() if any(secret in value for value in told.values())}
        for name, told in given.items()
    }
    assert held["postgres"] == set() and held["s3"] == {"s3_access", "s3_secret"}
    assert held["prefect"] <= {"postgres", "prefect"}
    # Workers read shards and write checkpoints themselves.
    assert held["ray-node-1"] == {"ray", "s3_access", "s3_secret"}
    assert not {"prefect", "ray"} & held["mlflow"]
    assert {name for name, told in given.items() if "OPENAI_API_KEY" in told} == {"worker"}
    assert all(told[MARK] == places.id for told in given.values())


def test_who_uses_the_stack_does_not_carry_the_mark_by_which_its_processes_are_ended(
    places: Places, plan: Plan
) -> None:
    assert MARK not in client_environment(places, plan) and MARK not in env_file(places, plan)


def test_each_program_comes_after_what_it_needs(places: Places, plan: Plan) -> None:
    known = [program.name for program in programs(places, plan)]
    for program in programs(places, plan):
        assert all(known.index(need) < known.index(program.name) for need in program.needs)


def test_an_existing_postgres_is_used_by_its_url(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAVAFLOW_STACK_POSTGRES", OUTSIDE)
    plan = make_plan(places)
    assert "postgres" not in {program.name for program in programs(places, plan)}
    assert plan.database("ledger", "psycopg") == (
        "postgresql+psycopg://owner:outside-secret@db.example:5433/ledger?sslmode=require"
    )
    assert "outside-secret" in plan.secrets()


def test_a_shell_reads_the_env_file_as_it_was_meant(places: Places, plan: Plan) -> None:
    write_private(places.env, env_file(places, plan))
    command = f". {shlex.quote(str(places.env))}; python3 -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    read = json.loads(subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout)
    told = client_environment(places, plan)
    assert {name: read[name] for name in told} == told


def test_what_is_not_up_is_said_so_and_stopping_it_is_no_error(places: Places, plan: Plan) -> None:
    said: list[str] = []
    assert conditions(places) == []
    stop(places, said.append, wipe=True)
    assert said[0] == "it was not up" and not places.home.exists()
    stop(places, said.append)
    assert said[-1] == "there is no stack"


def test_a_postgres_is_known_to_have_trigrams_by_its_files(tmp_path: Path) -> None:
    programs_folder = tmp_path / "install" / "bin"
    programs_folder.mkdir(parents=True)
    assert not has_trigrams(programs_folder)
    extension = tmp_path / "install" / "share" / "postgresql" / "extension"
    extension.mkdir(parents=True)
    (extension / "pg_trgm.control").touch()
    assert has_trigrams(programs_folder)


def test_the_code_never_imports_infra(project: Path) -> None:
    naming = re.compile(r"^\s*(from|import) infra\b", re.MULTILINE)
    files = [path for package in ("flows", "tasks", "model", "configs") for path in (project / package).rglob("*.py")]
    assert [str(path) for path in files if naming.search(path.read_text(encoding="utf-8"))] == []
