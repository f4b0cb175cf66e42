"""Bad requests: each a clear error in OpenAI's form, and the endpoint goes on."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.fakes.serving import Endpoint, Versions, asking, data_uri, encoded, knobs, parts, picture, serving, until

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>alert(1)</script></svg>'


@pytest.fixture(scope="module")
def versions() -> Versions:
    return Versions()


@pytest.fixture(scope="module")
def endpoint(versions: Versions) -> Iterator[Endpoint]:
    limits = {"text_chars": 20_000, "request_bytes": 3_000_000, "image_pixels": 1_000_000, "images": 3}
    with serving(parts(versions, knobs(limits=limits))) as running:
        yield running


def bomb() -> bytes:
    """A PNG of a few hundred bytes whose header promises 40,000 x 40,000 pixels."""

    def chunk(name: bytes, octets: bytes) -> bytes:
        return struct.pack(">I", len(octets)) + name + octets + struct.pack(">I", zlib.crc32(name + octets))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(5000))), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def animated() -> bytes:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "green", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=100)
    return buffer.getvalue()


IMAGES = {
    "truncated base64": (data_uri(picture())[:-7], "invalid_base64"),
    "no base64": ("data:image/png;base64,!!!!", "invalid_base64"),
    "truncated file": (data_uri(picture(kind="JPEG")[:300], "image/jpeg"), "invalid_image"),
    "empty": ("data:image/png;base64,", "invalid_image"),
    "wrong type": (data_uri(picture(kind="JPEG"), "image/png"), "wrong_image_type"),
    "no image type": (data_uri(b"hello", "text/html"), "unsupported_image_type"),
    "SVG": (data_uri(SVG, "image/svg+xml"), "unsupported_image_type"),
    "SVG in disguise": (data_uri(SVG, "image/png"), "invalid_image"),
    "bomb": (data_uri(bomb()), "image_too_large"),
    "many pixels": (data_uri(encoded(Image.new("1", (1001, 1000)))), "image_too_large"),
    "animated": (data_uri(animated(), "image/gif"), "animated_image"),
    "no data URI": ("data:hello", "invalid_image_url"),
    "file URL": ("file:///etc/passwd", "invalid_image_url"),
    "remote URL": ("http://example.org/cat.png", "image_host_not_allowed"),
    "metadata service": ("http://169.254.169.254/latest/meta-data", "image_host_not_allowed"),
}


@pytest.mark.parametrize("name", list(IMAGES))
def test_an_image_that_is_none_is_refused(name: str, endpoint: Endpoint, versions: Versions) -> None:
    url, code = IMAGES[name]
    before = len(versions.engines["1"].asked)
    told = endpoint.post(asking("what is it", url))
    error = told.json()["error"]
    assert (told.status_code, error["code"], error["type"]) == (400, code, "invalid_request_error")
    assert error["param"] == "messages.0.content.0.image_url"
    assert len(versions.engines["1"].asked) == before, "no engine saw it"
    assert "Traceback" not in told.text and "/site-packages" not in told.text



BODIES: dict[str, tuple[Any, int, str]] = {
    "text of 1 MB": (asking("a" * 1_000_000), 400, "text_too_long"),
    "unknown model": ({**asking("hello"), "model": "gpt-4"}, 404, "model_not_found"),
    "no messages": ({"model": "llavaflow", "messages": []}, 400, "invalid_value"),
    "an unknown role": ({"model": "llavaflow", "messages": [{"role": "root", "content": "x"}]}, 400, "invalid_value"),
    "no model": ({"messages": [{"role": "user", "content": "x"}]}, 400, "invalid_value"),
    "a list": ([1, 2], 400, "invalid_request"),
    "two users in a row": (
        {"model": "llavaflow", "messages": [{"role": "user", "content": "x"}] * 2}, 400, "invalid_conversation"
    ),
    "the assistant last": (
        {"model": "llavaflow", "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]},
        400, "invalid_conversation",
    ),
    "many images": (asking("x", *[data_uri(picture())] * 4), 400, "too_many_images"),
    "a temperature below zero": (asking("x", temperature=-1), 400, "invalid_value"),
    "too long an answer": (asking("x", max_tokens=10**9), 400, "max_tokens_too_large"),
    "several answers": (asking("x", n=3), 400, "invalid_value"),
    "tools": (asking("x", tools=[{"type": "function"}]), 400, "invalid_value"),
    "JSON as the answer": (asking("x", response_format={"type": "json_object"}), 400, "invalid_value"),
    "large body": (asking("x", junk="a" * 3_100_000), 413, "request_too_large"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(BODIES))
def test_a_request_that_cannot_be_answered_is_refused_with_its_reason(name: str, endpoint: Endpoint) -> None:
    body, status, code = BODIES[name]
    told = endpoint.post(body)
    assert (told.status_code, told.json()["error"]["code"]) == (status, code)
    assert len(told.content) < 2000, "what was sent is not sent back"


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"model": "\\ud800"}'])
def test_what_is_no_json_is_refused(body: bytes, endpoint: Endpoint) -> None:
    told = httpx.post(f"{endpoint.base}/v1/chat/completions", content=body)
    assert (told.status_code, told.json()["error"]["type"]) == (400, "invalid_request_error")


def test_paths_and_methods_that_are_none(endpoint: Endpoint) -> None:
    assert httpx.get(f"{endpoint.base}/v1/embeddings").json()["error"]["code"] == "unknown_url"
    assert httpx.get(f"{endpoint.base}/v1/chat/completions").status_code == 405


def test_a_body_of_unknown_length_is_cut_off_at_the_limit(endpoint: Endpoint) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 100_000

    told = httpx.post(f"{endpoint.base}/v1/chat/completions", content=endless())
    assert (told.status_code, told.json()["error"]["code"]) == (413, "request_too_large")


@pytest.mark.parametrize("stream", [True, False])
def test_who_hangs_up_frees_the_place(stream: bool) -> None:
    versions = Versions()
    engine = versions.engines["1"]
    engine.held = True
    with serving(parts(versions, knobs(limits={"concurrency": 1, "queue": 0}))) as endpoint:
        host, port = endpoint.base.removeprefix("http://").split(":")
        body = json.dumps(asking("a b c", stream=stream)).encode()
        with socket.create_connection((host, int(port))) as raw:
            raw.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
            )
            if stream:
                assert b"200 OK" in raw.recv(4000)
            until(lambda: engine.under_way == 1)
        until(lambda: engine.under_way == 0 and endpoint.gateway.answering.admission.there == 0)
        assert engine.called_off == 1
        engine.held = False
        assert endpoint.post(asking("still here")).json()["choices"][0]["message"]["content"] == "one still here"
        assert endpoint.figure("llavaflow_errors_total", kind="client_hung_up") == 1


def test_200_connections_at_once_are_all_told_something() -> None:
    versions = Versions()
    limits = {"concurrency": 16, "queue": 84}
    with serving(parts(versions, knobs(limits=limits))) as endpoint:
        versions.engines["1"].held = True

        async def everybody() -> list[httpx.Response]:
            pool = httpx.Limits(max_connections=200)
            async with httpx.AsyncClient(limits=pool, timeout=60) as client:
                url = f"{endpoint.base}/v1/chat/completions"
                tasks = [asyncio.create_task(client.post(url, json=asking(f"number {at}"))) for at in range(200)]
                while endpoint.gateway.answering.admission.there < 100:
                    await asyncio.sleep(0.01)
                while sum(task.done() for task in tasks) < 100:
                    await asyncio.sleep(0.01)
                versions.engines["1"].held = False
                return await asyncio.gather(*tasks)

        told = asyncio.run(everybody())
        assert sorted(one.status_code for one in told) == [200] * 100 + [503] * 100
        for at, one in enumerate(told):
            if one.status_code == 200:
                assert one.json()["choices"][0]["message"]["content"] == f"one number {at}"
        assert versions.engines["1"].most <= 16
        assert endpoint.gateway.answering.admission.there == 0
        assert endpoint.post(asking("after all")).status_code == 200
