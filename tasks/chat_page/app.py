"""The page as a web application: /en/ and /zh/, nothing of it fetched from anywhere else."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

import gradio as gr
from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from tasks.chat_page.desk import Desk
from tasks.chat_page.wiring import build
from tasks.chat_page.words import LANGUAGES, Words, preferred

HERE = Path(__file__).parent
SANS = ("system-ui", "-apple-system", "Segoe UI", "Noto Sans", "Noto Sans CJK SC", "Microsoft YaHei", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; "
    "style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; connect-src 'self'; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
"""Content Security Policy (W3C, level 3): not even an answer that holds an address makes a browser fetch it."""
HEADERS = {
    "Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
}


def application(desk: Desk, secret: str, auth: tuple[str, str] | None = None) -> FastAPI:
    """The application. `secret` encrypts what browsers keep; `auth` is a name and a password, if any are wanted."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    @app.middleware("http")
    async def guarded(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await answer(request)
        for name, value in HEADERS.items():
            response.headers[name] = value
        return response

    @app.get("/")
    async def start(request: Request) -> RedirectResponse:
        return RedirectResponse(f"/{preferred(request.headers.get('accept-language', ''))}/", status_code=302)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    for language in LANGUAGES:
        gr.mount_gradio_app(
            app, build(Words(language), desk, secret), f"/{language}", footer_links=[], auth=auth,
            allowed_paths=[str(desk.uploads.folder), *(str(example.image) for example in desk.examples)],
            show_error=True, max_file_size=f"{desk.limits.megabytes}mb", ssr_mode=False, enable_monitoring=False,
            pwa=False, mcp_server=False, run_history=False, theme=_theme(), head=_head(language),
        )
    return app


def secret_at(path: Path) -> str:
    """The secret of a file that only its owner can read; made once."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_name(f".{path.name}")
        half.touch(mode=0o600)
        half.write_text(secrets.token_hex(16), encoding="ascii")
        half.replace(path)
    return path.read_text(encoding="ascii")


def _theme() -> gr.themes.Base:
    return gr.themes.Default(primary_hue="blue", font=SANS, font_mono=MONO)


def _head(language: str) -> str:
    """The page's script and style. Gradio's own words follow the browser's language: here they follow the page's.

    The style is not given as Gradio's `css`, which rewrites selectors so that those of the page's frame miss it.
    """
    script, style = ((HERE / name).read_text(encoding="utf-8") for name in ("page.js", "style.css"))
    told = f"Object.defineProperty(navigator,'language',{{get:()=>'{'zh-CN' if language == 'zh' else 'en'}'}});"
    spoken = f"document.documentElement.lang='{language}';"
    return f"<style>{style}</style><script>{told}{spoken}</script><script>{script}</script>"
