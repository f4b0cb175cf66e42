"""What a plan says of the teacher's requests, tokens, money and time."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from configs.load import load_experiment
from configs.schema import Experiment, OpenAIEndpoint
from flows.generation_estimate import generation_of, seconds_for, tokens_of
from model.records import AnnotatedImage, Box
from tasks.chat.client import ScriptedClient
from tasks.generate.prompt import load_prompts, messages_for
from tasks.ledger.ledger import Ledger, Request
from tasks.ledger.tables import REQUESTS

MODEL = "scripted-teacher"
TEACHER = (
    f"generate.teacher={{kind: openai, model: {MODEL}, concurrency: 2, usd_per_million_input: 2, "
    "usd_per_million_output: 8}"
)
DETAIL = "generate.mix={conversation: 0, detail: 1, complex: 0}"


def experiment(*overrides: str, samples: int = 100) -> Experiment:
    return load_experiment("shapes", [TEACHER, DETAIL, f"generate.samples={samples}", *overrides])


def image(number: int, words: int = 10) -> AnnotatedImage:
    return AnnotatedImage(
        id=str(number), part="", span=(0, 0), format="jpg", width=1, height=1, sha256="",
        captions=(f"{number} " + "word " * words,), boxes=(Box(category="dog", box=(0, 0, 1, 1)),),
    )


def image_set(folder: Path, words: int) -> Path:
    folder.mkdir()
    lines = [image(number, words).model_dump_json() + "\n" for number in range(5)]
    (folder / "annotations.jsonl").write_text("".join(lines), "utf-8")
    return folder


def answered(root: Path, replies: list[str]) -> str:
    """A ledger in which a teacher answered so; each request took 3 s, 700 tokens, and 50 for the reply."""
    url = f"sqlite:///{root}/ledger.db"
    left, prompts = iter(replies), load_prompts("default")
    client = ScriptedClient("teacher", lambda messages: next(left))
    with closing(Ledger(url)) as ledger:
        requests = [Request(messages_for(prompts, "detail", image(number))) for number in range(len(replies))]
        assert len(list(ledger.ask(client, requests, "teacher"))) == len(replies)
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        known = {"created": 1000.0, "answered": 1003.0, "input_tokens": 700, "output_tokens": 50}
        connection.execute(sa.update(REQUESTS).values(**known))
    engine.dispose()
    return url


def test_without_a_ledger_and_images_the_examples_are_the_measure() -> None:
    work = generation_of(experiment())
    assert work["estimated from"] == "the prompts' examples"
    assert (work["requests"], work["requests at most"]) == (100, 300)
    assert "seconds" not in work


def test_the_images_that_are_there_are_measured(tmp_path: Path) -> None:
    short = generation_of(experiment(), image_set(tmp_path / "short", 10))
    long = generation_of(experiment(), image_set(tmp_path / "long", 410))
    assert short["estimated from"] == "prompts of these images"
    asked = [work["tokens asked"] for work in (short, long)]
    assert isinstance(asked[0], int) and isinstance(asked[1], int)
    assert asked[1] - asked[0] == pytest.approx(100 * 400 * 5 / 4)


def test_earlier_answers_tell_tokens_time_and_how_many_are_refused(tmp_path: Path) -> None:
    url = answered(tmp_path, ["A dog runs."] * 15 + ["I'm sorry."] * 5)
    work = generation_of(experiment(), ledger=url)
    assert work["estimated from"] == "earlier answers"
    # A quarter is refused: 100 + 25 + 6.25 requests, those asked again with the refused reply in them.
    assert work["requests"] == round(131.25)
    assert work["tokens asked"] == round(131.25 * 700 + 31.25 * 50)
    assert work["tokens answered"] == round(131.25 * 50)
    assert work["usd"] == round((2 * (131.25 * 700 + 31.25 * 50) + 8 * 131.25 * 50) / 1e6, 2)
    assert work["seconds"] == round(131.25 * 3 / 2)


def test_answers_of_another_model_or_to_other_prompts_tell_nothing(tmp_path: Path) -> None:
    url = answered(tmp_path, ["A dog runs."] * 20)
    other = generation_of(experiment("generate.teacher.model=other"), ledger=url)
    assert other["estimated from"] == "the prompts' examples"
    assert generation_of(experiment("generate.language=zh"), ledger=url)["estimated from"] == "the prompts' examples"


def test_no_ledger_is_made_by_looking_for_one(tmp_path: Path) -> None:
    generation_of(experiment(), ledger=f"sqlite:///{tmp_path}/ledger.db")
    (tmp_path / "broken.db").write_text("no database")
    generation_of(experiment(), ledger=f"sqlite:///{tmp_path}/broken.db")
    assert [path.name for path in tmp_path.iterdir()] == ["broken.db"]


def test_the_slowest_limit_says_how_long_it_takes() -> None:
    endpoint = OpenAIEndpoint(kind="openai", model="m", concurrency=10)
    assert seconds_for(endpoint, 600, 60_000, None) is None
    assert seconds_for(endpoint, 600, 60_000, 2.0) == 120
    limited = endpoint.model_copy(update={"requests_per_minute": 60, "tokens_per_minute": 3_000})
    assert seconds_for(limited, 600, 60_000, 2.0) == 1200
    assert seconds_for(limited, 600, 600, None) == 600


def test_nobody_to_ask_costs_nothing() -> None:
    assert generation_of(experiment("generate.teacher=null", samples=0)) == {}


def test_chinese_has_more_tokens_a_character() -> None:
    assert tokens_of("abcd" * 10) == 10
    assert tokens_of("\u72d7" * 10) == 10
