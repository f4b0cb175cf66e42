"""vLLM as the engine: a server of its own on loopback, started for a model and ended with it.

Not run by this project's tests, which have neither vLLM nor a GPU; `upstream`, through which it is asked, is.
"""

from __future__ import annotations

import asyncio
import importlib.util
import secrets
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import httpx

from tasks.errors import EnvironmentProblem, ModelError
from tasks.serve.upstream import UpstreamEngine

NAME = "model"
POLL_SECONDS = 0.5
GRACE_SECONDS = 20.0


def available() -> bool:
    """vLLM is installed and there is a GPU that its driver lists."""
    return importlib.util.find_spec("vllm") is not None and shutil.which("nvidia-smi") is not None


async def start(folder: Path, images: int, seconds: float) -> UpstreamEngine:
    """A vLLM server with a model. Raises EnvironmentProblem without vLLM, ModelError if it does not come up."""
    if importlib.util.find_spec("vllm") is None:
        raise EnvironmentProblem("vLLM is not installed; install it beside this project, or set engine=batched")
    key, port = secrets.token_hex(16), _free_port()
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), "--served-model-name", NAME,
        "--host", "127.0.0.1", "--port", str(port), "--api-key", key, "--limit-mm-per-prompt", f'{{"image": {images}}}',
    ]  # fmt: skip
    process = await asyncio.to_thread(subprocess.Popen, command)

    async def end() -> None:
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()

    base = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(seconds):
            await _up(process, f"{base}/health")
    except (TimeoutError, ModelError) as error:
        await end()
        raise ModelError(f"vLLM did not come up with {folder} within {seconds:.0f} s") from error
    return UpstreamEngine(f"{base}/v1", NAME, key, end, lambda: process.poll() is None)


async def _up(process: subprocess.Popen[bytes], address: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        while process.poll() is None:
            try:
                if (await client.get(address)).status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(POLL_SECONDS)
    raise ModelError("vLLM ended")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
