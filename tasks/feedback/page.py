"""The page of a review: each item with its images, what was said, and what the screening found."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence

from jinja2 import Environment

from tasks.feedback.records import Message, Stored
from tasks.feedback.store import Picture

MIME = {"jpg": "image/jpeg", "png": "image/png"}
TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Feedback</title><style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
article { border: 1px solid #8888; border-radius: 8px; padding: 1rem; margin: 1rem 0; }
img { max-width: 14rem; max-height: 14rem; display: block; margin: .3rem 0; }
.user { font-weight: 600; } p { white-space: pre-wrap; margin: .3rem 0; } .found { color: #b00020; }
.sides { display: grid; grid-template-columns: repeat(auto-fit, minmax(16rem, 1fr)); gap: 1rem; }
@media (prefers-color-scheme: dark) { body { background: #161616; color: #eee; } .found { color: #ff8a80; } }
</style></head><body><h1>Feedback: {{ items|length }} items</h1>
{% for one in items %}<article id="{{ one.item.id }}">
<h2><code>{{ one.item.id[:8] }}</code> {{ one.review.state }}: {{ one.item.kind }} {{ one.item.verdict }}</h2>
<p>{{ one.item.user }}, {{ one.item.created }}, {{ one.item.models|join(" and ") }},
{{ "with consent" if one.item.consent else "without consent" }}</p>
{% if one.review.findings %}<p class="found">found: {{ one.review.findings|join(", ") }}</p>{% endif %}
<div class="sides">{% for side in (one.item.messages, one.item.other) if side %}<div>
{% for message in side %}{% for image in shown(message) %}<img src="{{ image }}" alt="image of the conversation">
{% endfor %}<p class="{{ message.role }}">{{ message.text }}</p>{% endfor %}</div>{% endfor %}</div>
{% if one.item.correction %}<p><b>Should be:</b> {{ one.item.correction }}</p>{% endif %}
{% if one.item.reason %}<p><b>Why:</b> {{ one.item.reason }}</p>{% endif %}
{% if one.review.who %}<p>{{ one.review.state }} by {{ one.review.who }}: {{ one.review.why }}</p>{% endif %}
</article>{% endfor %}</body></html>
"""


def page(items: Sequence[Stored], picture: Callable[[str], Picture | None]) -> str:
    """One HTML page that needs no other file. Texts are shown as they are, never as markup."""

    def shown(message: Message) -> list[str]:
        found = [one for image in message.images if (one := picture(image)) is not None]
        return [f"data:{MIME[one.suffix]};base64,{base64.b64encode(one.data).decode('ascii')}" for one in found]

    return Environment(autoescape=True).from_string(TEMPLATE).render(items=items, shown=shown)
