"""The components of the page, in the words of one language."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from tasks.chat_page.desk import Desk
from tasks.chat_page.words import REASONS, Words

CHAT_HEIGHT = "max(280px, calc(100vh - 400px))"
STORAGE_KEY = "llavaflow-chat"
POLL_SECONDS = 5.0


@dataclass(frozen=True)
class Parts:
    """Every component that an event reads or changes."""

    talk: gr.State
    rated: gr.State
    asking: gr.State
    ready: gr.State
    kept: gr.BrowserState
    mode: gr.Radio
    model: gr.Dropdown
    new: gr.Button
    chats: tuple[gr.Chatbot, gr.Chatbot]
    other_column: gr.Column
    votes: gr.Group
    vote_note: gr.Markdown
    vote_buttons: tuple[gr.Button, ...]
    status: gr.Markdown
    box: gr.MultimodalTextbox
    consent: gr.Checkbox
    you: gr.Markdown
    temperature: gr.Slider
    length: gr.Slider
    panel: gr.Group
    panel_note: gr.Markdown
    reasons: gr.CheckboxGroup
    words: gr.Textbox
    correction: gr.Textbox
    send: gr.Button
    close: gr.Button
    timer: gr.Timer


VOTES = ("a", "both", "neither", "b")


def lay_out(words: Words, desk: Desk, secret: str) -> Parts:
    """Create the components, inside a `gr.Blocks`."""
    state: dict[str, Any] = {
        "talk": gr.State(None), "rated": gr.State(None), "asking": gr.State(False), "ready": gr.State(None),
        "kept": gr.BrowserState({}, storage_key=STORAGE_KEY, secret=secret),
    }
    parts = state | _top(words) | _middle(words, desk) | _votes(words) | _bottom(words) | _panel(words)
    return Parts(**parts, timer=gr.Timer(POLL_SECONDS))


def _top(words: Words) -> dict[str, Any]:
    gr.HTML(
        f'<div id="bar"><div id="title"><h1>{words("title")}</h1><p>{words("subtitle")}</p></div><div id="corner">'
        f'<a id="language" class="corner" href="../{words.other}/" lang="{words.other}">{words("language")}</a>'
        f'<button id="theme" class="corner" type="button">{words("theme")}</button></div></div>',
        elem_id="top", padding=False,
    )
    with gr.Row(elem_id="choices", equal_height=True):
        choices = [(words("chat"), "chat"), (words("compare"), "compare")]
        mode = gr.Radio(choices, value="chat", label=words("mode"), show_label=False, container=False, elem_id="mode",
                        scale=3, min_width=300)  # fmt: skip
        model = gr.Dropdown([], label=words("model"), show_label=False, container=False, elem_id="model", scale=2,
                            min_width=180, filterable=False)  # fmt: skip
        new = gr.Button(words("new"), size="sm", elem_id="new", min_width=150, scale=1)
    return {"mode": mode, "model": model, "new": new}


def _middle(words: Words, desk: Desk) -> dict[str, Any]:
    examples: list[Any] = [
        {"text": example.question, "display_text": example.question, "files": [str(example.image)],
         "icon": str(example.image)}
        for example in desk.examples
    ]

    def chat(label: str, number: int, placeholder: str, given: list[Any], **options: Any) -> gr.Chatbot:
        return gr.Chatbot(
            label=label, show_label=True, elem_id=f"chat-{number}", height=CHAT_HEIGHT, layout="bubble",
            placeholder=placeholder, examples=given or None, buttons=["copy", "copy_all"],
            # An answer is text: what looks like markup in it, and above all an image's address, stays text.
            render_markdown=False, allow_tags=False, latex_delimiters=[], group_consecutive_messages=False, **options,
        )

    with gr.Row(elem_id="sides"):
        with gr.Column(min_width=320):
            first = chat(words("answer"), 0, words("empty"), examples, editable="user")
        with gr.Column(min_width=320, visible=False) as other:
            second = chat(words("side_b"), 1, words("empty_side"), [], feedback_options=None)
    return {"chats": (first, second), "other_column": other}


def _votes(words: Words) -> dict[str, Any]:
    with gr.Group(visible=False, elem_id="votes") as votes:
        note = gr.Markdown(words("vote_ask"), elem_id="vote-note")
        with gr.Row():
            buttons = tuple(
                gr.Button(words(f"vote_{name}"), elem_id=f"vote-{name}", interactive=False, min_width=130)
                for name in VOTES
            )
    return {"votes": votes, "vote_note": note, "vote_buttons": buttons}


def _bottom(words: Words) -> dict[str, Any]:
    status = gr.Markdown("", elem_id="status")
    box = gr.MultimodalTextbox(
        placeholder=words("ask"), show_label=False, label=words("ask"), file_types=["image"], file_count="multiple",
        sources=["upload"], elem_id="box", autofocus=True, max_plain_text_length=100_000, lines=1, max_lines=8,
    )
    return {"status": status, "box": box}


def _panel(words: Words) -> dict[str, Any]:
    with gr.Group(visible=False, elem_id="panel") as panel:
        note = gr.Markdown("", elem_id="panel-note")
        reasons = gr.CheckboxGroup(
            [(words(reason), reason.removeprefix("reason_")) for reason in REASONS], label=words("reasons"),
            elem_id="reasons",
        )
        said = gr.Textbox(label=words("reason_else"), lines=1, max_lines=4, elem_id="reason-words")
        correction = gr.Textbox(
            label=words("correction"), info=words("correction_info"), lines=2, max_lines=12, elem_id="correction"
        )
        with gr.Row():
            send = gr.Button(words("send"), variant="primary", elem_id="send")
            close = gr.Button(words("close"), elem_id="close")
    consent = gr.Checkbox(
        False, label=words("consent"), info=words("consent_info"), elem_id="consent", container=False
    )
    with gr.Accordion(words("settings"), open=False, elem_id="settings"):
        with gr.Row():
            temperature = gr.Slider(
                0.0, 2.0, 0.2, step=0.1, label=words("temperature"), info=words("temperature_info"),
                elem_id="temperature", min_width=220,
            )
            length = gr.Slider(16, 2048, 512, step=16, label=words("length"), elem_id="length", min_width=220)
        you = gr.Markdown("", elem_id="you")
    return {
        "panel": panel, "panel_note": note, "reasons": reasons, "words": said, "correction": correction,
        "send": send, "close": close, "consent": consent, "temperature": temperature, "length": length, "you": you,
    }
