"""Take up what readers yield: check what can be told without opening an image, and put it on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from configs.schema import (
    CocoSource,
    FileSource,
    ImageLimits,
    JsonlSource,
    LlavaBenchSource,
    LlavaJsonSource,
)
from tasks.ingest.bench_reader import read_bench
from tasks.ingest.coco import read_coco
from tasks.ingest.files import ImageFiles
from tasks.ingest.given import Given
from tasks.ingest.jsonl_reader import read_jsonl
from tasks.ingest.llava_json import read_llava_json
from tasks.ingest.places import Place
from tasks.ingest.quarantine import Quarantine
from tasks.ingest.records import GivenQuestion, GivenSample, Quarantined, RawImage, Reason, id_of, is_inside
from tasks.ingest.scienceqa_reader import read_scienceqa
from tasks.ingest.staging import Staging
from tasks.ingest.text import too_long
from tasks.progress import Progress

Record = RawImage | GivenSample | GivenQuestion | Quarantined
SHOWN_EVERY = 10_000


class Intake:
    """Takes up the sources, one after the other."""

    def __init__(
        self, staging: Staging, quarantine: Quarantine, limits: ImageLimits, progress: Progress
    ) -> None:
        self._staging, self._quarantine, self._limits, self._progress = staging, quarantine, limits, progress
        self.given = Given(staging)
        self.counts: Counter[str] = Counter()

    def take(self, number: int, source: FileSource, place: Place) -> ImageFiles:
        """Take up a source. Returns where its images are. Raises DataError if it cannot be read at all."""
        files = ImageFiles(number, place, source.images, self._staging, self._quarantine)
        read: Iterable[Record]
        match source:
            case CocoSource():
                read = read_coco(source, place, self._staging)
            case JsonlSource():
                read = read_jsonl(source, place)
            case LlavaBenchSource():
                read = read_bench(source, place)
            case LlavaJsonSource():
                read = read_llava_json(source, place, self._limits.max_turn)
            case _:
                read = read_scienceqa(source, place, self._staging)
        taken = 0
        for taken, record in enumerate(read, 1):
            if taken % SHOWN_EVERY == 0:
                self._progress.update(0, 0, read=taken)
            self._take(number, record, files)
        self._compare(source, taken)
        return files

    def _take(self, number: int, record: Record, files: ImageFiles) -> None:
        match record:
            case Quarantined():
                self._quarantine.add(record)
            case RawImage():
                self._image(number, record)
            case GivenSample():
                self._sample(number, record)
            case GivenQuestion():
                self._question(number, record, files)

    def _image(self, number: int, raw: RawImage) -> None:
        """An image that stands for itself, by what is said of it."""
        if not is_inside(raw.name):
            self._leave_out(raw.id, "file name outside the data folder", ascii(raw.name)[:200])
            return
        captions = tuple(text for text in raw.captions if not too_long((text,), self._limits.max_caption))
        if detail := too_long(raw.captions, self._limits.max_caption):
            self._leave_out(raw.id, "text too long", f"caption of {detail}")
        if not captions:
            self._leave_out(raw.id, "no captions", raw.name)
        elif (before := self._staging.name_of(number, raw.id)) is not None:
            self._leave_out(raw.id, "id already taken", f"{raw.name} after {before}")
        else:
            self._staging.add(number, RawImage(raw.id, raw.name, captions, raw.boxes, raw.size), given=False)

    def _sample(self, number: int, sample: GivenSample) -> None:
        outside = next((image for image in sample.images if not is_inside(image)), None)
        if outside is not None:
            self._leave_out(sample.id, "file name outside the data folder", ascii(outside)[:200])
            return
        for image in sample.images:
            self._staging.add(number, RawImage(id_of(image), image), given=True)
        renamed = self.given.add_sample(number, sample)
        self.counts["given_moved_tokens"] += sample.moved
        self.counts["given_renamed"] += renamed

    def _question(self, number: int, question: GivenQuestion, files: ImageFiles) -> None:
        name: str | None = None
        if question.images:
            inside = [image for image in question.images if is_inside(image)]
            if not inside:
                self._leave_out(question.pid, "file name outside the data folder", ascii(question.images[0])[:200])
                return
            name = next((image for image in inside if files.find(image)), inside[0])
            self._staging.add(number, RawImage(id_of(name), name), given=True)
        if not self.given.add_question(number, question, name):
            self._leave_out(question.pid, "id already taken", "another source has a question of this id")

    def _leave_out(self, name: str, reason: Reason, detail: str) -> None:
        self._quarantine.add(Quarantined(name, reason, detail))

    def _compare(self, source: FileSource, taken: int) -> None:
        """Say so where a file holds another number of records than the experiment expects."""
        if isinstance(source, CocoSource | JsonlSource | LlavaBenchSource) or source.expected is None:
            return
        limit = source.limit if isinstance(source, LlavaJsonSource) else None
        expected = min(source.expected, limit) if limit else source.expected
        if taken != expected:
            name = source.file if isinstance(source, LlavaJsonSource) else source.problems
            self._progress.note(f"{name} holds {taken} records, not the {expected} that the experiment expects")
