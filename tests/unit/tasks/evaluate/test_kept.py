"""Answers are kept as they come: whoever is interrupted asks for the rest alone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from configs.schema import EvaluateConfig, ScienceQAConfig
from model.records import IMAGE_TOKEN
from model.sampling import Sampling
from tasks.errors import ConfigError
from tasks.evaluate.answers import Prompt, answer_all
from tasks.evaluate.kept import KeptAnswers, KeptLikelihood
from tasks.evaluate.run import build_evaluation
from tasks.progress import Silent
from tasks.storage import file_table
from tests.fakes.models import Model
from tests.unit.tasks.evaluate.sets import scienceqa_set, write_image

PROJECT = Path(__file__).resolve().parents[4]
PROMPTS = [Prompt(f"question {number}", None, 8) for number in range(10)]
KILLED_AFTER = 4
KILLED = f"""
import os, signal, sys
from pathlib import Path
from tasks.evaluate.answers import answer_all
from tasks.evaluate.kept import KeptAnswers
from tests.unit.tasks.evaluate.test_kept import PROMPTS, model

def die(done):
    if done == {KILLED_AFTER}:
        os.kill(os.getpid(), signal.SIGKILL)

answer_all(KeptAnswers(model(), {{"model": "m"}}, Path(sys.argv[1])), PROMPTS, 4, die)
"""


def model() -> Model:
    return Model(lambda prompt: f"answer to {prompt.text}\u2028{prompt.begun}")


def kept(path: Path, inner: Model, name: str = "m") -> KeptAnswers:
    return KeptAnswers(inner, {"model": name}, path)


def ask(answerer: KeptAnswers, prompts: Sequence[Prompt] = PROMPTS) -> list[str]:
    return answer_all(answerer, prompts, 4, lambda done: None)


def test_an_evaluation_that_is_killed_goes_on_where_it_stopped(tmp_path: Path) -> None:
    file = tmp_path / "work" / "answers.jsonl"
    died = subprocess.run([sys.executable, "-c", KILLED, str(file)], cwd=PROJECT, check=False, timeout=120)
    assert died.returncode == -signal.SIGKILL
    assert len(file.read_text(encoding="utf-8").split("\n")) == KILLED_AFTER + 1
    second = model()
    assert ask(kept(file, second)) == ask(kept(tmp_path / "other.jsonl", model()))
    assert len(second.asked) == len(PROMPTS) - KILLED_AFTER
    third = model()
    ask(kept(file, third))
    assert third.asked == []


def test_a_line_that_was_cut_off_is_asked_for_again_and_the_file_stays_readable(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    whole = ask(kept(file, model()))
    content = file.read_bytes()
    file.write_bytes(content[:-7])
    again = model()
    assert ask(kept(file, again)) == whole
    assert len(again.asked) == 1
    assert sorted(file.read_bytes().split(b"\n")) == sorted(content.split(b"\n"))


def test_whatever_shapes_an_answer_is_in_its_key(tmp_path: Path) -> None:
    file, image, other = tmp_path / "a.jsonl", write_image(tmp_path / "1.png"), write_image(tmp_path / "2.png", "blue")
    seen = f"{IMAGE_TOKEN}\nwhat?"
    prompts = [
        Prompt("what?", None, 8), Prompt("what?", None, 9), Prompt("what?", None, 8, begun="it"),
        Prompt("what?", None, 8, sampling=Sampling(0.5)), Prompt("what?", None, 8, sampling=Sampling(0.5, seed=1)),
        Prompt(seen, image, 8), Prompt(seen, other, 8),
    ]
    ask(kept(file, model()), prompts)
    same, another = model(), model()
    ask(kept(file, same), prompts)
    ask(kept(file, another, name="another"), prompts)
    assert (len(same.asked), len(another.asked)) == (0, len(prompts))
    write_image(image, "green")
    repainted = model()
    ask(kept(file, repainted), prompts)
    assert [prompt.image for prompt in repainted.asked] == [image]


def test_a_report_from_kept_answers_is_the_same_to_the_byte(tmp_path: Path) -> None:
    scienceqa_set(tmp_path / "sqa")
    config, tables = EvaluateConfig(scienceqa=ScienceQAConfig()), []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        answerer = kept(tmp_path / "answers.jsonl", Model(lambda prompt: "The answer is B."))
        build_evaluation(folder, {"scienceqa": tmp_path / "sqa"}, config, answerer, None, 0, Silent())
        tables.append(file_table(folder))
    assert tables[0] == tables[1]


@dataclass
class Guesser:
    """Says how likely an answer is by its length."""

    scored: list[str] = field(default_factory=list)

    def answer(self, prompts: Sequence[Prompt], batch: int) -> Iterator[tuple[int, str]]:
        yield from ()

    def likelihoods(
        self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]], batch: int
    ) -> Iterator[tuple[int, Sequence[KeptLikelihood]]]:
        for number, given in enumerate(answers):
            self.scored += given
            yield number, [KeptLikelihood(-float(len(answer)), 2) for answer in given]


def test_likelihoods_are_kept_likewise(tmp_path: Path) -> None:
    given = [["a", "bb"], ["ccc"]]
    first, second = Guesser(), Guesser()
    one = dict(KeptAnswers(first, {}, tmp_path / "a").likelihoods(PROMPTS[:2], given, 4))
    two = dict(KeptAnswers(second, {}, tmp_path / "a").likelihoods(PROMPTS[:2], given, 4))
    assert one == two == {0: [KeptLikelihood(-1.0, 2), KeptLikelihood(-2.0, 2)], 1: [KeptLikelihood(-3.0, 2)]}
    assert (first.scored, second.scored) == (["a", "bb", "ccc"], [])
    with pytest.raises(ConfigError, match="answering=generate"):
        list(KeptAnswers(model(), {}, tmp_path / "b").likelihoods(PROMPTS[:2], given, 4))
    line = json.loads((tmp_path / "a").read_text(encoding="utf-8").split("\n")[0])
    assert line["likelihoods"] == [[-1.0, 2], [-2.0, 2]]


def test_equal_prompts_are_asked_once_and_all_of_them_answered(tmp_path: Path) -> None:
    inner = model()
    twice = [*PROMPTS[:3], *PROMPTS[:3], PROMPTS[5]]
    assert ask(kept(tmp_path / "answers.jsonl", inner), twice) == [inner.say(prompt) for prompt in twice]
    assert inner.asked == [*PROMPTS[:3], PROMPTS[5]]
