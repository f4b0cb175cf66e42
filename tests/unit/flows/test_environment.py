from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from configs.settings import Settings
from flows.environment import PRIVACY, folders, prepare_environment


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that nobody has prepared."""
    for name in {*PRIVACY, *folders(Path("/")), "RAY_AUTH_TOKEN", "PREFECT_API_URL", "NO_PROXY"}:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("bare")
def test_libraries_write_under_the_root_and_tell_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", os.environ.copy())
    prepare_environment(Settings(root=tmp_path))
    homes = {name: os.environ[name] for name in folders(tmp_path) if name != "TORCH_EXTENSIONS_DIR"}
    assert all(path.startswith(str(tmp_path)) for path in homes.values())
    assert all(os.environ[name] == value for name, value in PRIVACY.items())
    assert "127.0.0.1" in os.environ["NO_PROXY"].split(",")


@pytest.mark.usefixtures("bare")
def test_rays_token_is_made_once_and_for_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", os.environ.copy())
    prepare_environment(Settings(root=tmp_path))
    token = tmp_path / "ray-token"
    first = token.read_text()
    prepare_environment(Settings(root=tmp_path))
    assert token.read_text() == first
    assert len(first) >= 32
    assert stat.S_IMODE(token.stat().st_mode) == 0o600


@pytest.mark.usefixtures("bare")
def test_what_the_caller_has_set_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ, "PREFECT_HOME": "/mine", "NO_PROXY": "intranet"})
    prepare_environment(Settings(root=tmp_path, prefect_api_url="http://server/api"))
    assert os.environ["PREFECT_HOME"] == "/mine"
    assert os.environ["PREFECT_API_URL"] == "http://server/api"
    assert "intranet" in os.environ["NO_PROXY"].split(",")
