"""In which order things are asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from configs.schema import ChecksConfig
from model.records import AnnotatedImage
from tasks.chat.records import Message, Reply
from tasks.errors import DataError
from tasks.generate.asking import Asking, Outcome
from tasks.generate.attempt import Attempt, Judge
from tasks.generate.checks.objects import Lexicon
from tasks.generate.languages.english import ENGLISH
from tasks.generate.spool import Spool
from tasks.ledger.ledger import Answer, Request, Tally
from tasks.progress import Silent

IMAGE = AnnotatedImage(
    id="i", part="", span=(0, 0), format="jpg", width=1, height=1, sha256="", captions=("A circle.",)
)


class OneByOne:
    """Draws a request when the last is answered; says what it is told to."""

    model = "fake"
    tally = Tally()

    def __init__(self, says: str) -> None:
        self.says, self.asked, self.closed = says, list[str](), False

    @property
    def wave(self) -> int:
        return 250

    def ask(self, requests: Iterable[Request]) -> Iterator[tuple[int, Answer]]:
        try:
            for position, request in enumerate(requests):
                self.asked.append(f"{request.messages[0].content}/{request.attempt}")
                yield position, Answer(Reply(self.says, 1, 1))
        finally:
            self.closed = True


def wishes(number: int, drawn: list[int] | None = None) -> Iterator[Attempt]:
    for at in range(number):
        if drawn is not None:
            drawn.append(at)
        yield Attempt(at, f"i-{at}", "detail", 0, IMAGE, "What is it?", (Message("user", str(at)),))


def ask(folder: Path, asker: OneByOne, number: int, share: float = 1.0, attempts: int = 2) -> Outcome:
    with Spool(folder, number) as accepted, Spool(folder, number) as rejected:
        outcome = Outcome(number, accepted, rejected)
        judge = Judge(ENGLISH, Lexicon("en"), ChecksConfig())
        Asking(asker, judge, attempts, share, outcome, Silent()).ask(wishes(number))
        assert len(outcome) == number
    return outcome


def test_what_failed_is_asked_again_before_anything_new(tmp_path: Path) -> None:
    asker = OneByOne("I'm sorry.")
    outcome = ask(tmp_path, asker, 3)
    assert asker.asked == ["0/0", "0/1", "1/0", "1/1", "2/0", "2/1"]
    assert (outcome.faults["refusal"], outcome.reasons["refusal"]) == (6, 3)


def test_the_first_too_many_rejections_end_it_and_close_the_asker(tmp_path: Path) -> None:
    asker = OneByOne("I'm sorry.")
    with pytest.raises(DataError, match="3 of the 3 conversations tried so far were rejected"):
        ask(tmp_path, asker, 100, share=0.02)
    assert len(asker.asked) == 6
    assert asker.closed


def test_wishes_are_drawn_as_they_are_asked(tmp_path: Path) -> None:
    drawn: list[int] = []
    seen: list[int] = []

    class Watching(OneByOne):
        def ask(self, requests: Iterable[Request]) -> Iterator[tuple[int, Answer]]:
            for position, answer in super().ask(requests):
                seen.append(len(drawn))
                yield position, answer

    with Spool(tmp_path, 50) as accepted, Spool(tmp_path, 50) as rejected:
        judge = Judge(ENGLISH, Lexicon("en"), ChecksConfig())
        outcome = Outcome(50, accepted, rejected)
        Asking(Watching("It is a circle."), judge, 1, 1.0, outcome, Silent()).ask(wishes(50, drawn))
    assert seen == list(range(1, 51))


def test_a_fault_of_the_last_answer_is_asked_about_in_another_round(tmp_path: Path) -> None:
    class Ahead(OneByOne):
        """Draws all it is given before it answers."""

        def ask(self, requests: Iterable[Request]) -> Iterator[tuple[int, Answer]]:
            return super().ask(list(requests))

    asker = Ahead("I'm sorry.")
    ask(tmp_path, asker, 2)
    assert asker.asked == ["0/0", "1/0", "0/1", "1/1"]
