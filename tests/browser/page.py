"""The chat page on a loopback port with a fake endpoint behind it, and Debian's Chromium in front."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from PIL import Image

from tasks.chat_page.app import application
from tasks.chat_page.desk import Desk, Example
from tasks.chat_page.endpoint import Endpoint
from tasks.chat_page.pictures import Uploads
from tasks.feedback.store import FeedbackStore
from tasks.feedback.tables import Database
from tests.fakes.vision_endpoint import VisionEndpoint


@dataclass
class Served:
    """A page that is served."""

    url: str
    desk: Desk
    store: FeedbackStore


def picture(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (64, 48)) -> Path:
    """An image file of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def desk_at(folder: Path, endpoint: VisionEndpoint) -> Desk:
    """What the page works with: model A of a comparison is always the challenger."""
    examples = [
        Example(picture(folder / "examples" / f"{name}.png", colour), question)
        for name, colour, question in (
            ("red", (216, 32, 36), "What colour is this?"), ("green", (34, 150, 60), "Describe this image in detail."),
        )
    ]
    store = FeedbackStore(Database(f"sqlite:///{folder}/feedback.db"))
    return Desk(
        Endpoint(endpoint.base_url), Uploads(folder / "images"), store, examples=tuple(examples), flip=lambda: True
    )


@contextmanager
def served(folder: Path, endpoint: VisionEndpoint) -> Iterator[Served]:
    """Serve the page until the block ends."""
    desk = desk_at(folder, endpoint)
    config = uvicorn.Config(application(desk, "0" * 32), log_level="error", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        yield Served(f"http://127.0.0.1:{listening.getsockname()[1]}", desk, desk.store)
        server.should_exit = True
        thread.join(timeout=20)
