"""The training samples of both stages, each with the file its image lies in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from model.records import IMAGE_TOKEN, AnnotatedImage, Record, Sample, Turn
from tasks.errors import ArtifactError, DataError

RecordType = TypeVar("RecordType", bound=Record)
BRIEF_REQUESTS = Path(__file__).parent / "prompts" / "brief.txt"
"""The paper's requests for a brief description (arXiv:2304.08485, appendix); one is drawn for each caption."""


@dataclass(frozen=True)
class Item:
    """A sample and the file of its image; text-only samples have none."""

    sample: Sample
    image: Path | None


def rank(*parts: object) -> str:
    """A number in hex that looks random and depends on the parts alone: what order and choice are drawn with."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()


def image_files(images: Path, annotated: Iterable[AnnotatedImage]) -> dict[str, Path]:
    """The file of each image id of an ImageSet."""
    return {image.id: images / image.file for image in annotated}


def caption_items(
    annotated: Iterable[AnnotatedImage], files: dict[str, Path], captions_per_image: int, seed: int
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
            yield Item(Sample(id=name, image=image.id, kind="caption", conversations=turns), files[image.id])


def conversation_items(conversations: Iterable[Sample], files: dict[str, Path]) -> Iterator[Item]:
    """Instruct samples from the teacher's conversations. Raises DataError for one whose image is not in the set."""
    for sample in conversations:
        if sample.image is not None and sample.image not in files:
            raise DataError(f"sample {sample.id} names image {sample.image}, which the image set does not hold")
        yield Item(sample, None if sample.image is None else files[sample.image])


def question_sample(name: str, image: str | None, prompt: str, answer: str) -> Sample:
    """An instruct sample out of a question and its answer."""
    return Sample(id=name, image=image, kind="question", conversations=_turns(prompt, answer))


def read_annotations(images: Path) -> list[AnnotatedImage]:
    """The images of an ImageSet, in the order of their ids. Raises ArtifactError when they cannot be read."""
    return _records(images / "annotations.jsonl", AnnotatedImage)


def read_conversations(conversations: Path) -> list[Sample]:
    """The samples of a ConversationSet. Raises ArtifactError when they cannot be read."""
    return _records(conversations / "conversations.jsonl", Sample)


def _turns(human: str, gpt: str) -> tuple[Turn, Turn]:
    return Turn(role="human", text=human), Turn(role="gpt", text=gpt)


def _records(path: Path, kind: type[RecordType]) -> list[RecordType]:
    try:
        with path.open(encoding="utf-8") as lines:
            return [kind.model_validate_json(line) for line in lines]
    except (OSError, ValidationError) as error:
        raise ArtifactError(f"{path} cannot be read; run again to rebuild it") from error
