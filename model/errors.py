"""What the model side raises. The whole tree is drawn in tasks/errors.py."""

from __future__ import annotations

from configs.errors import LlavaflowError


class ModelError(LlavaflowError):
    """Parts of a model that do not fit each other: tokenizer, template, vision tower, projector, weights."""
