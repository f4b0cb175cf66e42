"""The images of the test sets that an experiment names: none of them may be trained on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from configs.schema import CaptionsConfig, ImageLimits, LlavaBenchConfig, MmeConfig, PopeConfig, ScienceQAConfig
from tasks.errors import DataError
from tasks.ingest.decoding import decode_all
from tasks.ingest.documents import entries, lines, list_items
from tasks.ingest.duplicates import Near, Seen
from tasks.ingest.files import Found
from tasks.ingest.images import Decoded, Facts, Job
from tasks.ingest.known import Known
from tasks.ingest.places import Place
from tasks.ingest.records import Quarantined, is_inside
from tasks.ingest.scienceqa_reader import image_names
from tasks.ingest.staging import Staging
from tasks.progress import Progress

SCIENCEQA, LLAVA_BENCH, CAPTIONS = "scienceqa", "llava_bench", "captions"
POPE_SUBSETS = ("random", "popular", "adversarial")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")

SetConfig = ScienceQAConfig | LlavaBenchConfig | PopeConfig | MmeConfig | CaptionsConfig


@dataclass(frozen=True)
class TestSet:
    """A test set in a local folder, and how its files are called."""

    # Not a class of tests, whatever pytest thinks of its name.
    __test__ = False

    name: str
    root: Path
    config: SetConfig

    def image_names(self) -> Iterator[str]:
        """The files of its images, relative to the root; of those it names, not of all that lie there.

        Raises DataError if a file of the set is missing or broken.
        """
        return (name for name in self._names() if is_inside(name))

    def _names(self) -> Iterator[str]:
        match self.config:
            case ScienceQAConfig():
                return self._scienceqa(self.config)
            case LlavaBenchConfig():
                return self._named_in((self.config.questions,), self.config.images)
            case PopeConfig():
                files = [self.config.annotations.format(subset=subset) for subset in POPE_SUBSETS]
                return self._named_in(files, self.config.images)
            case MmeConfig():
                return self._all_images()
            case CaptionsConfig():
                return self._photos(self.config)

    def _scienceqa(self, config: ScienceQAConfig) -> Iterator[str]:
        place = Place(str(self.root))
        pids = {str(pid) for pid in list_items(place, config.splits, config.split)}
        for pid, row in entries(place, config.problems):
            image = row.get("image") if isinstance(row, dict) else None
            if pid in pids and isinstance(image, str) and image:
                names = image_names(config.images, config.split, pid, image)
                yield next((name for name in names if place.stat(name)), names[0])

    def _named_in(self, files: Iterable[str], images: str) -> Iterator[str]:
        """The images that files of one JSON object a line name."""
        seen = set[str]()
        for file in files:
            for _, row in lines(Place(str(self.root)), file):
                image = row.get("image") if isinstance(row, dict) else None
                if isinstance(image, str) and image and image not in seen:
                    seen.add(image)
                    yield f"{images}/{image}"

    def _photos(self, config: CaptionsConfig) -> Iterator[str]:
        """Photos of a COCO file but for the first `skip`, which are trained on."""
        found = dict[int, str]()
        for row in list_items(Place(str(self.root)), config.instances, "images"):
            number, name = (row.get("id"), row.get("file_name")) if isinstance(row, dict) else (None, None)
            if isinstance(number, int) and isinstance(name, str) and name:
                found[number] = name
        for number in sorted(found)[config.skip :]:
            yield f"{config.images}/{found[number]}"

    def _all_images(self) -> Iterator[str]:
        """MME's images lie in a folder a task, here or there by version: all that are there count."""
        for path in sorted(self.root.rglob("*")):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                yield path.relative_to(self.root).as_posix()


class TestImages:
    """The images of all test sets, to be compared with."""

    __test__ = False

    def __init__(self, staging: Staging, bits: int | None) -> None:
        self._seen = Seen(staging, "tested", bits).create()
        self.counts = {"test_images": 0, "test_images_missing": 0}

    def add(self, test_set: TestSet, limits: ImageLimits, known: Known, progress: Progress) -> None:
        """Take up a test set. What of it is missing or cannot be read is counted: it cannot be looked for."""
        if not test_set.root.is_dir():
            raise DataError(f"there is no folder of test set {test_set.name} at {test_set.root}: name it by evaluate")
        names = list(test_set.image_names())
        place = Place(str(test_set.root))
        for (name, found), outcome in decode_all(_jobs(names, place, known), len(names), limits):
            if found is not None:
                known.learn(found, outcome)
            if isinstance(outcome, Decoded):
                self.counts["test_images"] += 1
                self._seen.add(f"{test_set.name}: {name}", outcome.facts.sha256, outcome.facts.phash)
            else:
                self.counts["test_images_missing"] += 1
                progress.note(f"test set {test_set.name}: {name}: {outcome.reason}; no image is held against it")

    def occurs(self, facts: Facts) -> str:
        """Where an image occurs in a test set, in words; empty if it does not."""
        exact = self._seen.exact(facts.sha256)
        if exact is not None:
            return f"{exact} (same bytes)"
        near: Near | None = self._seen.near(facts.phash)
        return f"{near[0]} (hash differs in {near[1]} bits)" if near else ""


def _jobs(
    names: list[str], place: Place, known: Known
) -> Iterator[tuple[tuple[str, Found | None], Job | Quarantined]]:
    for name in names:
        stat = place.stat(name)
        if stat is None:
            yield (name, None), Quarantined(name, "image file missing", name)
        else:
            found = Found(place.location(name), stat.size, stat.stamp)
            yield (name, found), Job(name, name, found.location, found.size, known.look_up(found))
