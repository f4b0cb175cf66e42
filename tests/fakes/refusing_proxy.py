"""A loopback proxy in front of an S3 server that refuses parts of multipart uploads."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

REFUSAL = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>refused by the test</Message></Error>"
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "expect"}


@dataclass
class Refusing:
    """Refuses the first `times` requests that upload part `part`, with this status and code; counts requests."""

    part: int
    times: int
    status: int = 403
    code: str = "AccessDenied"
    refused: int = 0
    parts: int = 0
    """Parts that went through."""
    aborted: int = 0
    """Multipart uploads that were given up."""
    endpoint: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def refuses(self, method: str, path: str) -> bool:
        """Take note of a request, and say whether it is refused."""
        with self.lock:
            self.aborted += method == "DELETE" and "uploadId=" in path
            if method != "PUT" or "partNumber=" not in path:
                return False
            if f"partNumber={self.part}&" in f"{path}&" and self.refused < self.times:
                self.refused += 1
                return True
            self.parts += 1
            return False


@contextmanager
def refusing_proxy(endpoint: str, refusing: Refusing) -> Iterator[str]:
    """Run the proxy; yields its address."""
    target = urlsplit(endpoint).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if refusing.refuses(self.command, self.path):
                text = REFUSAL.format(code=refusing.code).encode()
                self.answer(refusing.status, [("Content-Type", "application/xml")], text, len(text))
                return
            connection = http.client.HTTPConnection(target, timeout=30)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
            # The signature covers the host that the client believes it speaks to.
            connection.request(self.command, self.path, body or None, headers)
            reply = connection.getresponse()
            told = int(reply.headers.get("Content-Length", 0)) if self.command == "HEAD" else None
            data = reply.read()
            kept = [(name, value) for name, value in reply.getheaders() if name.lower() not in HOP_BY_HOP]
            kept = [(name, value) for name, value in kept if name.lower() != "content-length"]
            connection.close()
            self.answer(reply.status, kept, data, len(data) if told is None else told)

        def answer(self, status: int, headers: list[tuple[str, str]], data: bytes, size: int) -> None:
            self.send_response_only(status)
            for name, value in [*headers, ("Content-Length", str(size))]:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = pass_on

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
