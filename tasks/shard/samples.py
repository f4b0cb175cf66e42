"""The training samples of both stages, one by one, out of what the stages before have written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from model.records import IMAGE_TOKEN, AnnotatedImage, Sample, Turn
from tasks.errors import ArtifactError

BRIEF_REQUESTS = Path(__file__).parent / "prompts" / "brief.txt"
"""The paper's requests for a brief description (arXiv:2304.08485, appendix); one is drawn for each caption."""


def rank(*parts: object) -> str:
    """A number in hex that looks random and depends on the parts alone: what order and choice are drawn with."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()


class CaptionSamples:
    """Align samples: an image, a request for a brief description, and one of its captions as the answer.

    Which captions, where an image has more than `captions_per_image`, is drawn with the seed. The plain template
    discards the request, as the paper's released code does; other templates show it.
    """

    def __init__(self, captions_per_image: int, seed: int) -> None:
        self._number, self._seed = captions_per_image, seed
        self._requests = BRIEF_REQUESTS.read_text(encoding="utf-8").splitlines()

    def of(self, image: AnnotatedImage) -> Iterator[Sample]:
        """The samples of one image."""
        captions = [(number, text.strip()) for number, text in enumerate(image.captions) if text.strip()]
        drawn = sorted(captions, key=lambda caption: rank(self._seed, image.id, caption[0]))[: self._number]
        for number, text in sorted(drawn):
            name = f"{image.id}-caption-{number}"
            request = self._requests[int(rank(name), 16) % len(self._requests)]
            turns = _turns(f"{IMAGE_TOKEN}\n{request}", text)
            yield Sample(id=name, image=image.id, kind="caption", conversations=turns)


def question_sample(name: str, image: str | None, prompt: str, answer: str) -> Sample:
    """An instruct sample out of a question and its answer."""
    return Sample(id=name, image=image, kind="question", conversations=_turns(prompt, answer))


def read_samples(path: Path) -> Iterator[Sample]:
    """The samples of a JSONL file, used as they are. Raises ArtifactError when they cannot be read."""
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                yield Sample.model_validate_json(line)
    except (OSError, ValidationError) as error:
        raise ArtifactError(f"{path} cannot be read; run again to rebuild it") from error


def _turns(human: str, gpt: str) -> tuple[Turn, Turn]:
    return Turn(role="human", text=human), Turn(role="gpt", text=gpt)
