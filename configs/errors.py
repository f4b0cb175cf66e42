"""The root of the exception tree, and what configuration raises of it. The whole is drawn in tasks/errors.py."""

from __future__ import annotations


class LlavaflowError(Exception):
    """Base of everything raised on purpose; `str()` of it is the line a user reads last."""


class ConfigError(LlavaflowError):
    """The experiment cannot be resolved."""
