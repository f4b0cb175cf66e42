"""What files of other stages have in common, as the report reads them: documented fields alone, others passed over."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class File(BaseModel):
    """A part of another stage's file."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Score(File):
    """A figure with its interval and baselines."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    random: float | None = None
    blind: float | None = None
