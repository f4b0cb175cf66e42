"""The training samples of both stages, each with the file its image lies in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from model.records import IMAGE_TOKEN, AnnotatedImage, Sample, Turn
from tasks.errors import ArtifactError, DataError
from tasks.image_files import ImageFiles

BRIEF_REQUESTS = Path(__file__).parent / "prompts" / "brief.txt"
"""The paper's requests for a brief description (arXiv:2304.08485, appendix); one is drawn for each caption."""


@dataclass(frozen=True)
class Picture:
    """An encoded image: where it lies, for messages, its format ("jpg", "png"), and how to get its bytes."""

    where: str
    format: str
    read: Callable[[], bytes]


@dataclass(frozen=True)
class Item:
    """A sample and its image; text-only samples have none."""

    sample: Sample
    image: Picture | None


def rank(*parts: object) -> str:
    """A number in hex that looks random and depends on the parts alone: what order and choice are drawn with."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()


def pictures_of(annotated: Iterable[AnnotatedImage], files: ImageFiles) -> dict[str, Picture]:
    """The picture of each image id of an ImageSet."""
    return {image.id: Picture(image.part, image.format, partial(files.read, image)) for image in annotated}


def caption_items(
    annotated: Iterable[AnnotatedImage], pictures: dict[str, Picture], captions_per_image: int, seed: int
) -> Iterator[Item]:
    """Align samples: an image, a request for a brief description, and one of its captions as the answer.

    Which captions, where an image has more than `captions_per_image`, is drawn with the seed. The plain template
    discards the request, as the paper's released code does; other templates show it.
    """
    requests = BRIEF_REQUESTS.read_text(encoding="utf-8").splitlines()
    for image in annotated:
        captions = [(number, text.strip()) for number, text in enumerate(image.captions) if text.strip()]
        drawn = sorted(captions, key=lambda caption: rank(seed, image.id, caption[0]))[:captions_per_image]
        for number, text in sorted(drawn):
            name = f"{image.id}-caption-{number}"
            request = requests[int(rank(name), 16) % len(requests)]
            turns = _turns(f"{IMAGE_TOKEN}\n{request}", text)
            yield Item(Sample(id=name, image=image.id, kind="caption", conversations=turns), pictures[image.id])


def conversation_items(conversations: Iterable[Sample], pictures: dict[str, Picture]) -> Iterator[Item]:
    """Instruct samples from the teacher's conversations. Raises DataError for one whose image is not in the set."""
    for sample in conversations:
        if sample.image is not None and sample.image not in pictures:
            raise DataError(f"sample {sample.id} names image {sample.image}, which the image set does not hold")
        yield Item(sample, None if sample.image is None else pictures[sample.image])


def question_sample(name: str, image: str | None, prompt: str, answer: str) -> Sample:
    """An instruct sample out of a question and its answer."""
    return Sample(id=name, image=image, kind="question", conversations=_turns(prompt, answer))


def read_conversations(conversations: Path) -> list[Sample]:
    """The samples of a ConversationSet. Raises ArtifactError when they cannot be read."""
    path = conversations / "conversations.jsonl"
    try:
        with path.open(encoding="utf-8") as lines:
            return [Sample.model_validate_json(line) for line in lines]
    except (OSError, ValidationError) as error:
        raise ArtifactError(f"{path} cannot be read; run again to rebuild it") from error


def _turns(human: str, gpt: str) -> tuple[Turn, Turn]:
    return Turn(role="human", text=human), Turn(role="gpt", text=gpt)


