"""No image is fetched but from hosts on the list, and never from a private network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from configs.serve import Fetching, Limits
from tasks.serve.failures import Refusal
from tasks.serve.remote import Fetcher, is_public
from tests.fakes.serving import picture

PUBLIC = "93.184.215.14"


class Octets(httpx.AsyncByteStream):
    """A body that comes in pieces."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for at in range(0, len(self._octets), 100):
            yield self._octets[at : at + 100]


class Web(httpx.AsyncBaseTransport):
    """Answers every request, and remembers them."""

    def __init__(self, answer: httpx.Response | None = None) -> None:
        self.requests: list[httpx.Request] = []
        self._answer = answer or httpx.Response(
            200, stream=Octets(picture()), headers={"content-type": "image/png; x=y"}
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self._answer


def fetched(url: str, web: Web, *addresses: str, limits: Limits | None = None) -> tuple[bytes, str]:
    async def resolve(host: str, port: int) -> list[str]:
        return list(addresses)

    fetcher = Fetcher(Fetching(hosts=("images.example.org",)), limits or Limits(), resolve, web)
    return asyncio.run(fetcher.fetch(url, "x"))


def refused(url: str, *addresses: str, web: Web | None = None, limits: Limits | None = None) -> str:
    with pytest.raises(Refusal) as found:
        fetched(url, web or Web(), *addresses, limits=limits)
    return found.value.code


def test_an_image_of_a_host_on_the_list_is_fetched_from_the_address_that_was_checked() -> None:
    web = Web()
    assert fetched("https://images.example.org/a.png?b=c#d", web, PUBLIC) == (picture(), "image/png")
    sent = web.requests[0]
    assert (sent.url.host, sent.url.raw_path, sent.headers["host"]) == (PUBLIC, b"/a.png?b=c", "images.example.org")
    assert sent.extensions["sni_hostname"] == "images.example.org", "the certificate is that of the name"
    assert "authorization" not in sent.headers


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/a.png", "https://images.example.org.evil.org/a.png", "https://127.0.0.1/a.png",
        "https://user:word@images.example.org/a.png", "https://images.example.org@evil.org/a.png",
        "https://images.example.org:8080/a.png", "https://[::1]/a.png",
    ],
)  # fmt: skip
def test_other_hosts_are_not_asked(url: str) -> None:
    web = Web()
    assert refused(url, PUBLIC, web=web) == "image_host_not_allowed"
    assert web.requests == []


@pytest.mark.parametrize("url", ["ftp://images.example.org/a", "gopher://x", "/etc/passwd", "https://[", "https://x:99999/"])
def test_what_is_no_url_of_the_web_is_refused(url: str) -> None:
    assert refused(url, PUBLIC) == "invalid_image_url"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "::1", "fe80::1", "fc00::1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
    ],
)  # fmt: skip
def test_a_name_on_the_list_that_resolves_into_a_private_network_is_refused(address: str) -> None:
    web = Web()
    assert not is_public(address)
    assert refused("http://images.example.org/", address, web=web) == "image_host_not_allowed"
    assert refused("http://images.example.org/", PUBLIC, address, web=web) == "image_host_not_allowed"
    assert web.requests == []


def test_a_redirect_is_not_followed() -> None:
    web = Web(httpx.Response(302, headers={"location": "http://169.254.169.254/"}))
    assert refused("http://images.example.org/", PUBLIC, web=web) == "image_not_fetched"
    assert len(web.requests) == 1


def test_a_body_is_cut_off_at_the_limit() -> None:
    web = Web(httpx.Response(200, stream=Octets(bytes(5000))))
    assert refused("http://images.example.org/", PUBLIC, web=web, limits=Limits(image_bytes=1000)) == "image_too_large"


def test_public_addresses_are_public() -> None:
    assert is_public(PUBLIC) and is_public("2606:2800:21f:cb07:6820:80da:af6b:8b2c")
