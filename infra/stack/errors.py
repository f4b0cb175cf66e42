"""What goes wrong with the stack, each in one line that names the remedy."""

from __future__ import annotations


class StackProblem(Exception):
    """The stack cannot be started, asked or stopped."""
