from __future__ import annotations

import asyncio

import pytest

from tasks.chat_page.endpoint import Asked, Endpoint, Piece, Trouble
from tests.fakes.openai_faults import Fault, drop, half, status
from tests.fakes.vision_endpoint import VisionEndpoint

ASKED = Asked("champion", [{"role": "user", "content": "Hello there"}], 0.2, 64)


async def said(endpoint: Endpoint, asked: Asked = ASKED) -> list[Piece]:
    try:
        return [piece async for piece in endpoint.stream(asked)]
    finally:
        await endpoint.close()


def test_an_answer_comes_in_pieces_with_version_and_tokens() -> None:
    with VisionEndpoint(versions={"champion": "llavaflow/3"}) as server:
        pieces = asyncio.run(said(Endpoint(server.base_url)))
    assert "".join(piece.text for piece in pieces) == "I see no picture. Turn 1. You asked: Hello there"
    assert {piece.model for piece in pieces} == {"llavaflow/3"} and pieces[-1].tokens == 10


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (status(401), "key"), (status(404), "model"), (status(429), "busy"), (status(503), "busy"),
        (status(400, message="too long"), "refused"), (status(500), "failed"), (drop(), "gone"), (half(), "cut"),
    ],
)  # fmt: skip
def test_each_way_to_fail_has_its_own_words(fault: Fault, kind: str) -> None:
    with VisionEndpoint(faults=(fault,)) as server, pytest.raises(Trouble) as raised:
        asyncio.run(said(Endpoint(server.base_url)))
    assert raised.value.kind == kind
    assert server.asked == 1, "a person decides whether to try again"


def test_where_nothing_listens_the_server_is_gone() -> None:
    with VisionEndpoint() as server:
        pass
    for call in (said, lambda endpoint: endpoint.models()):
        with pytest.raises(Trouble) as raised:
            asyncio.run(call(Endpoint(server.base_url)))
        assert raised.value.kind == "gone"


def test_to_stop_reading_hangs_up() -> None:
    async def first(endpoint: Endpoint) -> None:
        pieces = endpoint.stream(ASKED)
        async for _ in pieces:
            break
        await pieces.aclose()  # type: ignore[attr-defined]
        await endpoint.close()
        for _ in range(100):
            if server.hung_up:
                return
            await asyncio.sleep(0.05)

    with VisionEndpoint(pace=0.05) as server:
        asyncio.run(first(Endpoint(server.base_url)))
        assert (server.hung_up, server.finished) == (1, 0)
