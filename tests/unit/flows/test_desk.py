"""What machines share is what their promotions are locked by."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.settings import Settings
from flows.desk import desk_of
from tasks.register.audit import JsonlAudit
from tasks.register.database import DatabaseAudit
from tasks.register.objects import ObjectAudit
from tests.fakes.registries import Registry, Steps


@pytest.mark.parametrize(
    ("settings", "audit"),
    [
        ({}, JsonlAudit), ({"store": "/shared/folder"}, JsonlAudit), ({"store": "s3://bucket/prefix"}, ObjectAudit),
        ({"ledger_url": "sqlite:///nowhere.db", "store": "s3://bucket/prefix"}, DatabaseAudit),
    ],
)  # fmt: skip
def test_the_trail_lies_where_every_machine_sees_it(
    settings: dict[str, str], audit: type[object], tmp_path: Path
) -> None:
    desk = desk_of(Settings.model_validate({"root": tmp_path, **settings}), Registry(Steps()))
    assert type(desk.audit) is audit


def test_on_one_machine_the_lock_is_a_file_under_the_root(tmp_path: Path) -> None:
    desk = desk_of(Settings(root=tmp_path), Registry(Steps()))
    with desk.lock() as hold, hold.fenced():
        assert (tmp_path / "registry-audit.lock").exists()
