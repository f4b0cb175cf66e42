"""The kinds of conversation that a teacher is asked for."""

from __future__ import annotations

from typing import Literal, get_args

AskedKind = Literal["conversation", "detail", "complex"]
KINDS: tuple[AskedKind, ...] = get_args(AskedKind)
