"""Images that a request names by URL: only from hosts on a list, never from a private network.

The name is resolved here, every address is checked, and the connection is made to an address that was checked, so that
a name which resolves otherwise a moment later changes nothing. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from urllib.parse import SplitResult, urlsplit

import httpx

from configs.serve import Fetching, Limits
from tasks.serve.failures import bad

PORTS = {"http": 80, "https": 443}
Resolve = Callable[[str, int], Awaitable[list[str]]]


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Fetcher:
    """Fetches images. `transport` is what sends; by default the network."""

    def __init__(
        self, config: Fetching, limits: Limits, resolver: Resolve = resolve,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._config, self._limits, self._resolve = config, limits, resolver
        self._hosts = frozenset(host.lower().rstrip(".") for host in config.hosts)
        self._transport = transport

    async def fetch(self, url: str, where: str) -> tuple[bytes, str]:
        """The bytes of an image and the type its server names. Raises Refusal."""
        parts = self._allowed(url, where)
        host = str(parts.hostname).lower().rstrip(".")
        try:
            async with asyncio.timeout(self._config.seconds):
                address = await self._checked(host, parts.port or PORTS[parts.scheme], where)
                return await self._get(parts, host, address, where)
        except (TimeoutError, httpx.HTTPError, OSError) as error:
            raise bad("image_not_fetched", f"the image could not be fetched from {host}", where) from error

    def _allowed(self, url: str, where: str) -> SplitResult:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise bad("invalid_image_url", "the image's URL is none", where) from error
        if parts.scheme not in PORTS or not parts.hostname:
            raise bad("invalid_image_url", "an image is a data URI, or an http(s) URL on a host that is allowed", where)
        host = parts.hostname.lower().rstrip(".")
        if host not in self._hosts or port not in (None, PORTS[parts.scheme]) or parts.username or parts.password:
            raise bad(
                "image_host_not_allowed", "images are not fetched from there; send them as data URIs (base64)", where
            )
        return parts

    async def _checked(self, host: str, port: int, where: str) -> str:
        """An address of the host. All of them have to be public: one that is not tells that the name is not to be
        trusted."""
        addresses = await self._resolve(host, port)
        if not addresses or not all(is_public(address) for address in addresses):
            raise bad("image_host_not_allowed", f"{host} is not on the public network", where)
        return addresses[0]

    async def _get(self, parts: SplitResult, host: str, address: str, where: str) -> tuple[bytes, str]:
        literal = f"[{address}]" if ":" in address else address
        target = parts._replace(netloc=literal, fragment="").geturl()
        async with (
            httpx.AsyncClient(trust_env=False, follow_redirects=False, transport=self._transport) as client,
            client.stream(
                "GET", target, headers={"Host": host, "Accept": "image/*", "Accept-Encoding": "identity"},
                extensions={"sni_hostname": host},
            ) as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                raise bad("image_not_fetched", f"{host} answered {answer.status_code}", where)
            return await self._body(answer, where), answer.headers.get("content-type", "").partition(";")[0].lower()

    async def _body(self, answer: httpx.Response, where: str) -> bytes:
        octets = bytearray()
        async for chunk in answer.aiter_raw():
            octets += chunk
            if len(octets) > self._limits.image_bytes:
                raise bad("image_too_large", f"the image is larger than {self._limits.image_bytes:,} bytes", where)
        return bytes(octets)


def is_public(address: str) -> bool:
    """An address of the public network: not private, loopback, link-local, shared, reserved, or one in disguise."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if inner is not None:
            return is_public(str(inner))
        if found in NAT64:
            return is_public(str(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)))
    return found.is_global and not found.is_multicast


NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


