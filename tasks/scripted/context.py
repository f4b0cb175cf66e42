"""Captions and boxes as a prompt gives them: captions one a line, a blank line, `category: [x1, y1, x2, y2]` lines."""

from __future__ import annotations

import re
from dataclasses import dataclass

from model.records import Box
from tasks.world.facts import Facts, facts_of

_NUMBER = r"\s*(-?\d*\.?\d+)\s*"
_BOX = re.compile(rf"^(.+?)\s*:\s*\[{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}\]$")


@dataclass(frozen=True)
class Context:
    """What a prompt says of a picture."""

    captions: tuple[str, ...]
    boxes: tuple[Box, ...]

    def facts(self) -> Facts | None:
        """What is known of a scene of the embedded world; None where the prompt speaks of anything else."""
        facts = facts_of(self.captions, self.boxes)
        boxed = sum(thing.centre is not None for thing in facts.things)
        return facts if facts.things and facts.complete and boxed == len(self.boxes) else None


def read_context(text: str) -> Context:
    """Tell captions and boxes apart, line by line."""
    captions: list[str] = []
    boxes: list[Box] = []
    for line in (line.strip() for line in text.splitlines()):
        if found := _BOX.match(line):
            x1, y1, x2, y2 = (float(found[corner]) for corner in range(2, 6))
            boxes.append(Box(category=found[1], box=(x1, y1, x2, y2)))
        elif line:
            captions.append(line)
    return Context(tuple(captions), tuple(boxes))
