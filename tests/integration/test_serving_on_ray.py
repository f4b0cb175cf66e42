"""The endpoint as Ray Serve runs it: one replica on a Ray of its own, asked through the `openai` client."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from configs.serve import ServeConfig
from tasks.serve.app import Parts
from tasks.serve.engines import FolderSource, opener
from tasks.serve.keys import Keys
from tests.fakes.serving import asking, data_uri, picture, until
from tests.fakes.tiny_llava import save_tiny_llava

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def parts_of_folder(args: Mapping[str, Any]) -> Parts:
    """What a replica makes its app of."""
    config = ServeConfig.model_validate({"engine": "batched", "limits": {"answer_tokens": 16}})
    folder = Path(str(args["folder"]))
    return Parts("tiny", config, FolderSource(folder), opener(config), Keys(()), lambda event, payload: None)


@pytest.fixture
def base(tmp_path: Path) -> Iterator[str]:
    import ray
    from ray import serve

    from tasks.serve.on_ray import application

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    save_tiny_llava(tmp_path / "model")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        told = {"parts": f"{__name__}:parts_of_folder", "folder": str(tmp_path / "model")}
        serve.run(application(told), name="llavaflow", route_prefix="/")
        yield f"http://127.0.0.1:{port}"
    finally:
        serve.shutdown()
        ray.shutdown()


def test_a_replica_answers_whole_and_streamed(base: str) -> None:
    with httpx.Client(base_url=base, timeout=30) as probe:
        until(lambda: probe.get("/readyz").status_code == httpx.codes.OK)
    body: Any = {**asking("which colour", data_uri(picture())), "model": "tiny", "max_tokens": 8}
    with openai.OpenAI(base_url=f"{base}/v1", api_key="none", timeout=60) as client:
        whole = client.chat.completions.create(**body)
        streamed = client.chat.completions.create(**body, stream=True)
        words = "".join(chunk.choices[0].delta.content or "" for chunk in streamed if chunk.choices)
        assert words == whole.choices[0].message.content and whole.usage is not None
        assert whole.usage.completion_tokens > 1
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(**{**body, "model": "other"})
