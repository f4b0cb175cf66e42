"""Generate over a finished ledger: how long it takes to find that nothing has to be asked, and the memory it takes.

    python -m tests.benchmarks.conversations [WISHES]

The replies are as long as a real teacher's and differ from one another. Run by itself, the stage is measured without
the ledger (answers are there at once); then with it, on SQLite.
"""

from __future__ import annotations

import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from configs.schema import ChecksConfig, GenerateConfig, ScriptedEndpoint
from model.records import AnnotatedImage, Box
from tasks.chat.client import ScriptedClient
from tasks.chat.records import Message, Reply
from tasks.generate.run import build_conversations
from tasks.ledger.ledger import Answer, Asker, Ledger, LedgerAsker, Request, Tally
from tasks.progress import Silent

NOUNS = ["dog", "cat", "horse", "bench", "bicycle", "kite", "boat", "train", "cup", "bowl", "chair", "laptop", "clock"]
VERBS = ["stands", "lies", "waits", "rests", "leans", "hangs", "shines", "moves", "stays", "appears"]
PLACES = ["on the left", "on the right", "near the middle", "in front of a wall", "under a tree", "by the water"]


def sentence(rng: random.Random) -> str:
    """Something that might be said of a picture."""
    number = rng.choice(("a small", "a large", "an old", "a red", "a green", "one more"))
    return f"There is {number} {rng.choice(NOUNS)} that {rng.choice(VERBS)} {rng.choice(PLACES)}."


def reply(messages: Sequence[Message]) -> str:
    """What a teacher would say; the same to the same prompt."""
    rng = random.Random(messages[-1].content)
    if "in detail" in messages[0].content:
        return " ".join(sentence(rng) for _ in range(8))
    pairs = 1 if "reasoning" in messages[0].content else 4
    return "\n===\n".join(
        f"Question:\nWhat is {rng.choice(PLACES)}?\n===\nAnswer:\n{sentence(rng)} {sentence(rng)}" for _ in range(pairs)
    )


class Known:
    """An asker that has every answer at once."""

    model = "known"

    def __init__(self) -> None:
        self.tally = Tally()

    @property
    def wave(self) -> int:
        return 250

    def ask(self, requests: Iterable[Request]) -> Iterator[tuple[int, Answer]]:
        """Answers in the order of the requests."""
        for position, request in enumerate(requests):
            text = reply(request.messages)
            answer = Answer(Reply(text, 700, 150), from_ledger=True)
            self.tally = self.tally.plus(answer)
            yield position, answer


def write_annotations(folder: Path, number: int) -> Path:
    """Images with five captions and six boxes each."""
    folder.mkdir()
    rng = random.Random(0)
    with (folder / "annotations.jsonl").open("w", encoding="utf-8") as lines:
        for place in range(number):
            boxes = [
                Box(category=rng.choice(NOUNS), box=(0.1, 0.2, 0.3 + rng.random() / 2, 0.9)) for _ in range(6)
            ]
            image = AnnotatedImage(
                id=f"{place:012d}", part="images/part-00000.tar", span=(0, 0), format="jpg", width=640, height=480,
                sha256="0" * 64, captions=tuple(sentence(rng) for _ in range(5)), boxes=tuple(boxes),
            )
            lines.write(image.model_dump_json() + "\n")
    return folder


def measured(folder: Path, images: Path, config: GenerateConfig, asker: Asker) -> str:
    """How long a build takes, and what comes of it."""
    folder.mkdir()
    start, used = time.perf_counter(), time.process_time()
    built = build_conversations(folder, images, config, 0, asker, Silent())
    seconds, used = time.perf_counter() - start, time.process_time() - used
    counts = f"{built.counts['samples']:,} samples, {built.counts['asked']:,} asked"
    return f"{seconds:.1f} s, {used:.1f} s of CPU, {peak()} MiB; {counts}"


def peak() -> int:
    """Highest memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main(wishes: int) -> None:
    """Print one row a measurement."""
    show = sys.stdout.write
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        images = write_annotations(root / "images", wishes // 2)
        config = GenerateConfig(teacher=ScriptedEndpoint(kind="scripted"), samples=wishes)
        plain = config.model_copy(update={"checks": ChecksConfig(near_duplicates=None)})
        cases: dict[str, Callable[[], str]] = {
            "stage alone": lambda: measured(root / "a", images, config, Known()),
            "stage alone, near duplicates kept": lambda: measured(root / "b", images, plain, Known()),
        }
        for case, run in cases.items():
            show(f"| generate, {wishes:,} wishes, {case} | {run()} |\n")
        with closing(Ledger(f"sqlite:///{root}/ledger.db")) as ledger:
            for case in ("first", "rerun"):
                asker = LedgerAsker(ledger, ScriptedClient("teacher", reply), "teacher")
                told = measured(root / case, images, config, asker)
                show(f"| generate, {wishes:,} wishes, ledger, {case} | {told} |\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
