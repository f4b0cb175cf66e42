"""The chat page put together: an endpoint, the feedback's database, examples, and a web server."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from configs.settings import Settings
from flows.chat_endpoint import endpoint_of
from flows.environment import prepare_environment
from flows.feedback.places import store_of_feedback, traces_of, uploads_of
from tasks.errors import ConfigError, EnvironmentProblem

if TYPE_CHECKING:
    from tasks.chat_page.desk import Desk, Example

PASSWORD = "LLAVAFLOW_CHAT_PASSWORD"
UPLOAD_DAYS = 7
"""Images that nobody gave feedback on are kept so long."""
QUESTIONS = ("What shapes are there?", "Describe this image in detail.", "What colour is the largest shape?")
EXAMPLE_SEED = 20260
EXAMPLE_PIXELS = 288
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class Opening:
    """The words of the command line."""

    endpoint: str
    model: str
    compared: tuple[str, str] | None
    host: str
    port: int
    login: str
    examples: Path | None
    api_key_env: str


def open_page(opening: Opening, told: Callable[[str], None]) -> None:
    """Serve the page until it is interrupted. Raises ConfigError and EnvironmentProblem for what is not right."""
    settings = Settings()
    prepare_environment(settings)
    auth = _auth(opening.login)
    chat = settings.home() / "chat"
    chat.mkdir(parents=True, exist_ok=True)
    with (
        # One of its own: Gradio empties it at the end, and would empty that of another page, too.
        tempfile.TemporaryDirectory(prefix="gradio-", dir=chat) as scratch,
        _listening(opening.host, opening.port) as listening,
        endpoint_of(opening.endpoint, opening.model, settings) as base_url,
    ):
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": scratch}
        _serve(opening, settings, base_url, auth, listening, told)


def desk_of(opening: Opening, settings: Settings, base_url: str) -> Desk:
    """What the page works with."""
    from tasks.chat_page.desk import Desk
    from tasks.chat_page.endpoint import Endpoint
    from tasks.chat_page.pictures import Uploads

    uploads = Uploads(uploads_of(settings))
    uploads.remove_before(time.time() - UPLOAD_DAYS * 86400)
    return Desk(
        Endpoint(base_url, os.environ.get(opening.api_key_env) or "none"), uploads, store_of_feedback(settings),
        traces_of(settings), examples_of(opening.examples, settings.home() / "chat" / "examples"), opening.compared,
    )


def examples_of(given: Path | None, rendered: Path) -> tuple[Example, ...]:
    """Images to click on: those of a folder, else shapes that no training set of the project holds."""
    from tasks.chat_page.desk import Example

    if given is not None:
        files = sorted(path for path in given.absolute().glob("*") if path.suffix.lower() in SUFFIXES)
        if not files:
            raise ConfigError(f"--examples {given} holds no image; name a folder of JPEG, PNG or WebP files")
        return tuple(Example(file, "Describe this image in detail.") for file in files[:4])
    from tasks.world.render import png
    from tasks.world.scene import make_scene

    rendered.mkdir(parents=True, exist_ok=True)
    made = []
    for number, question in enumerate(QUESTIONS):
        path = rendered / f"shapes-{number}.png"
        path.write_bytes(png(make_scene(EXAMPLE_SEED, "chat", number, "training"), EXAMPLE_PIXELS))
        made.append(Example(path, question))
    return tuple(made)


def _serve(
    opening: Opening, settings: Settings, base_url: str, auth: tuple[str, str] | None, listening: socket.socket,
    told: Callable[[str], None],
) -> None:
    import uvicorn

    from tasks.chat_page.app import application, secret_at

    desk = desk_of(opening, settings, base_url)
    app = application(desk, secret_at(settings.home() / "chat" / "secret"), auth)
    told(f"http://{opening.host}:{listening.getsockname()[1]}/")
    uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2)).run(sockets=[listening])


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=128)
    except OSError as error:
        raise EnvironmentProblem(
            f"{host}:{port} cannot be listened on ({error.strerror}); another --port may be free"
        ) from error


def _auth(login: str) -> tuple[str, str] | None:
    if not login:
        return None
    password = os.environ.get(PASSWORD)
    if not password:
        raise ConfigError(f"--login {login} needs a password: set {PASSWORD}")
    return login, password
