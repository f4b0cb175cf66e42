"""How a model is opened: with our running batch, or with vLLM."""

from __future__ import annotations

from pathlib import Path

from configs.serve import ServeConfig
from tasks.serve import vllm_server
from tasks.serve.asked import Engine
from tasks.serve.following import Canary, Open
from tasks.serve.process import ProcessEngine
from tasks.serve.upstream import UpstreamEngine
from tasks.serve.worker import Model


def opener(config: ServeConfig) -> Open:
    """What opens a model folder."""
    seconds, limits = config.following.start_seconds, config.limits

    async def batched(folder: Path) -> Engine:
        model = Model(folder, config.precision, config.threads, limits.concurrency)
        return await ProcessEngine.start(model, seconds)

    async def vllm(folder: Path) -> Engine:
        return await vllm_server.start(folder, limits.images, seconds)

    if config.engine == "vllm" or (config.engine == "auto" and vllm_server.available()):
        return vllm
    return batched


class FolderSource:
    """A model that is a folder; it never changes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def pointed(self) -> str | None:
        """See `Source`."""
        return "folder"

    def folder(self, version: str) -> Path:
        """See `Source`."""
        return self._folder

    def canary(self, version: str) -> Canary:
        """See `Source`."""
        return Canary()


class ServerSource(FolderSource):
    """A server that is there already; `opener_of` opens it."""

    def __init__(self) -> None:
        super().__init__(Path())

    def pointed(self) -> str | None:
        """See `Source`."""
        return "server"


def server_opener(base_url: str, model: str, api_key: str) -> Open:
    """What opens a server that is there already."""

    async def upstream(folder: Path) -> Engine:
        return UpstreamEngine(base_url, model, api_key)

    return upstream
