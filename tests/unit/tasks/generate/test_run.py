"""The stage generate, with the scripted teacher and with endpoints that misbehave."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from configs.schema import ChecksConfig, GenerateConfig, Inputs, Mix, OpenAIEndpoint, ScriptedEndpoint
from model.records import IMAGE_TOKEN, AnnotatedImage, Sample
from tasks.chat.client import make_client
from tasks.errors import BudgetExhausted, DataError, EndpointError
from tasks.generate.run import build_conversations
from tasks.ledger.ledger import Budget, Ledger, LedgerAsker
from tasks.ledger.rows import Rows
from tasks.origins import Origin
from tasks.progress import Silent
from tasks.stages import Built
from tasks.world.captions import captions
from tasks.world.scene import make_scene
from tasks.world.testsets import boxes_of
from tests.fakes.openai_server import FakeServer, Messages, fine, status

SCRIPTED = ScriptedEndpoint(kind="scripted")
GOOD = "Question:\nWhat is it?\n===\nAnswer:\nIt is a circle."


def annotated(number: int) -> AnnotatedImage:
    scene = make_scene(1, "train", number, "training")
    return AnnotatedImage(
        id=scene.id, part="images/part-00000.tar", span=(0, 0), format="jpg", width=96, height=96, sha256="",
        captions=captions(scene), boxes=tuple(boxes_of(scene)),
    )


def write_images(folder: Path, images: list[AnnotatedImage]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "annotations.jsonl").write_text("".join(f"{image.model_dump_json()}\n" for image in images), "utf-8")
    return folder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images", [annotated(number) for number in range(30)])


class Bench:
    """A folder to build in, as often as wanted, on one ledger."""

    def __init__(self, root: Path, images: Path) -> None:
        self.root, self.images, self.number = root, images, 0
        self.url = f"sqlite:///{root}/ledger.sqlite"
        self.folder = root

    def build(
        self, teacher: OpenAIEndpoint | ScriptedEndpoint = SCRIPTED, budget: float | None = None, seed: int = 0,
        **knobs: Any,
    ) -> Built:
        self.number += 1
        self.folder = self.root / f"built-{self.number}"
        self.folder.mkdir()
        config = GenerateConfig(**{"teacher": teacher, "samples": 40, **knobs})
        limit = None if budget is None else Budget(budget, "generate.budget_usd")
        with closing(Ledger(self.url)) as ledger, closing(make_client(teacher, "key", "teacher")) as client:
            asker = LedgerAsker(ledger, client, "teacher", limit)
            return build_conversations(self.folder, self.images, config, seed, asker, Silent())

    def samples(self) -> list[Sample]:
        lines = (self.folder / "conversations.jsonl").read_text("utf-8").split("\n")[:-1]
        return [Sample.model_validate_json(line) for line in lines]

    def rejected(self) -> list[dict[str, Any]]:
        lines = (self.folder / "rejected.jsonl").read_text("utf-8").split("\n")[:-1]
        return [json.loads(line) for line in lines]

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(self.folder.iterdir())}


@pytest.fixture
def bench(tmp_path: Path, images: Path) -> Bench:
    return Bench(tmp_path, images)


@contextmanager
def serving(answer: Callable[[Messages], str], **knobs: Any) -> Iterator[tuple[FakeServer, OpenAIEndpoint]]:
    server_knobs = {name: knobs.pop(name) for name in ("faults", "latency") if name in knobs}
    with FakeServer(answer, **server_knobs) as server:
        knobs = {"max_retries": 0, **knobs}
        yield server, OpenAIEndpoint(kind="openai", base_url=server.base_url, model="fake", **knobs)


def proper(messages: Messages) -> str:
    """What a good teacher would say to each kind."""
    return "It is a circle." if "in detail" in messages[0]["content"] else GOOD


def test_the_scripted_teacher_fills_the_mix_without_a_rejection(bench: Bench) -> None:
    built = bench.build(samples=79)
    samples = bench.samples()
    kinds = [sample.kind for sample in samples]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"conversation": 29, "detail": 12, "complex": 38}
    assert [built.counts[name] for name in ("samples", "conversation", "detail", "complex")] == [79, 29, 12, 38]
    assert built.counts["rejected"] == 0
    assert built.counts["turns"] == sum(len(sample.conversations) for sample in samples)
    assert built.facts["teacher"] == "scripted-teacher"
    assert bench.rejected() == []


def test_samples_are_sorted_and_begin_with_their_image(bench: Bench) -> None:
    bench.build()
    samples = bench.samples()
    assert [sample.id for sample in samples] == sorted({sample.id for sample in samples})
    known = {annotated(number).id for number in range(30)}
    for sample in samples:
        assert sample.image in known
        assert sample.id.startswith(f"{sample.image}-{sample.kind}")
        assert sample.conversations[0].text.startswith(f"{IMAGE_TOKEN}\n")


def test_equal_input_gives_equal_files_with_and_without_a_ledger(bench: Bench, tmp_path: Path, images: Path) -> None:
    bench.build()
    first = bench.files()
    again = bench.build()
    assert again.counts["asked"] == 0 and again.counts["from_ledger"] == 40
    assert bench.files() == first
    (tmp_path / "fresh").mkdir()
    fresh = Bench(tmp_path / "fresh", images)
    assert fresh.build().counts["asked"] == 40
    assert fresh.files() == first


def test_the_order_in_which_answers_arrive_does_not_show(bench: Bench, tmp_path: Path, images: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Bench(tmp_path / "other", images)
    with serving(proper, concurrency=1) as (_, alone):
        bench.build(alone)

    def at_odd_times(messages: Messages) -> str:
        time.sleep(len(messages[-1]["content"]) % 5 / 200)
        return proper(messages)

    with serving(at_odd_times) as (_, together):
        other.build(together.model_copy(update={"concurrency": 8}))
    # Two servers are two teachers to the ledger: the keys differ, and nothing else.
    assert unkeyed(other.files()) == unkeyed(bench.files())


def unkeyed(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: re.sub(rb"[0-9a-f]{64}", b"", data) for name, data in files.items()}


def test_every_sample_names_its_image_and_the_answer_it_was_made_of(bench: Bench) -> None:
    bench.build(samples=12)
    lines = (bench.folder / "origins.jsonl").read_text("utf-8").splitlines()
    origins = [Origin.model_validate_json(line) for line in lines]
    assert [(origin.id, origin.image) for origin in origins] == [(one.id, one.image) for one in bench.samples()]
    rows = Rows(bench.url)
    kept = rows.answers([origin.answers[-1] for origin in origins])
    rows.close()
    for origin, sample in zip(origins, bench.samples(), strict=True):
        assert sample.conversations[-1].text in kept[origin.answers[-1]].reply.text


def test_another_seed_asks_about_other_images(bench: Bench) -> None:
    bench.build(samples=10)
    first = bench.files()
    bench.build(samples=10, seed=1)
    assert bench.files() != first


def test_a_nonsense_teacher_fails_with_the_reasons_counted_and_is_left_early(bench: Bench, tmp_path: Path) -> None:
    write_images(bench.images, [annotated(number) for number in range(300)])
    with serving(lambda messages: "blah", concurrency=8) as (server, teacher), pytest.raises(DataError) as caught:
        bench.build(teacher, samples=550, max_attempts=1, max_rejected_share=0.4, mix=Mix(detail=0))
    assert "form 221" in str(caught.value) and "max_rejected_share=0.4" in str(caught.value)
    assert 221 <= server.asked < 550


def test_nonsense_for_some_is_rejected_and_counted_after_all_attempts(bench: Bench) -> None:
    def partly(messages: Messages) -> str:
        return "blah" if "reasoning" in messages[0]["content"] else proper(messages)

    with serving(partly) as (server, teacher):
        built = bench.build(teacher, samples=40, max_attempts=3, max_rejected_share=0.6)
    number = built.counts["rejected"]
    assert number == 19 and built.counts["complex"] == 0 and built.counts["samples"] == 21
    assert built.facts["rejected_by_reason"] == {"form": 19}
    assert server.asked == built.counts["asked"] == 21 + 3 * 19
    rows = bench.rejected()
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    assert rows[0].keys() == {"id", "image", "kind", "question", "reason", "reply", "attempts", "reasons"}
    assert (rows[0]["kind"], rows[0]["reply"], rows[0]["attempts"]) == ("complex", "blah", 3)
    assert rows[0]["reason"].startswith("form: ")


def test_a_reply_that_fails_is_asked_again_with_the_reason_and_can_be_mended(bench: Bench) -> None:
    def mended(messages: Messages) -> str:
        complained = messages[-1]["content"].startswith("That reply cannot be used")
        return proper(messages) if complained else "The caption says: a circle."

    with serving(mended) as (server, teacher):
        built = bench.build(teacher, samples=6)
    assert (built.counts["samples"], built.counts["rejected"], server.asked) == (6, 0, 12)
    told = server.seen.requests[-1]["messages"][-2:]
    assert told[0] == {"role": "assistant", "content": "The caption says: a circle."}
    assert "caption" in told[1]["content"].lower()


def test_no_key_is_asked_twice_over_two_runs(bench: Bench) -> None:
    with serving(proper) as (server, teacher):
        bench.build(teacher, samples=20)
        more = bench.build(teacher, samples=20, max_attempts=2)
    assert server.asked == 20
    assert (more.counts["asked"], more.counts["from_ledger"]) == (0, 20)


def test_what_the_ledger_saved_is_told_apart_from_what_was_spent(bench: Bench) -> None:
    with serving(proper, usd_per_million_output=1e6) as (_, teacher):
        first = bench.build(teacher, samples=10)
        second = bench.build(teacher, samples=10)
    spent = first.facts["usd_spent"]
    assert isinstance(spent, float) and spent > 0
    assert (first.facts["usd_saved"], second.facts["usd_spent"], second.facts["usd_saved"]) == (0, 0, spent)
    assert second.counts["output_tokens"] == first.counts["output_tokens"] > 0


def test_the_budget_stops_the_stage_and_more_of_it_asks_only_for_the_rest(bench: Bench) -> None:
    with serving(proper, usd_per_million_output=1e5, max_tokens=10, concurrency=2) as (server, teacher):
        with pytest.raises(BudgetExhausted, match=r"generate\.budget_usd"):
            bench.build(teacher, budget=6.0, samples=20)
        paid = server.asked
        assert 0 < paid < 20
        built = bench.build(teacher, budget=100.0, samples=20)
    assert built.counts["from_ledger"] == paid
    assert server.asked == 20


def test_an_endpoint_that_refuses_single_requests_costs_only_those(bench: Bench) -> None:
    with serving(proper, faults=[status(400)] * 2, concurrency=1) as (_, teacher):
        built = bench.build(teacher, samples=10, max_attempts=1)
    assert (built.counts["samples"], built.counts["rejected"]) == (8, 2)
    assert built.facts["rejected_by_reason"] == {"endpoint": 2}


def test_an_endpoint_that_goes_away_ends_the_stage_and_what_was_answered_is_kept(bench: Bench) -> None:
    with serving(proper, concurrency=1) as (server, teacher):
        server.faults = [fine()] * 7 + [status(500)] * 1000
        with pytest.raises(EndpointError, match="in a row"):
            bench.build(teacher, samples=30)
        server.faults = []
        before = server.asked
        built = bench.build(teacher, samples=30)
    assert built.counts["from_ledger"] == 7
    assert server.asked - before == 23


def test_kill_9_in_the_middle_and_the_next_run_asks_only_for_the_rest(bench: Bench, tmp_path: Path) -> None:
    with serving(proper, latency=0.02, concurrency=2) as (server, teacher):
        code = f"""
from pathlib import Path
from configs.schema import GenerateConfig, OpenAIEndpoint
from tasks.chat.client import make_client
from tasks.generate.run import build_conversations
from tasks.ledger.ledger import Ledger, LedgerAsker
from tasks.ledger.rows import Rows
from tasks.origins import Origin
from tasks.progress import Silent
teacher = OpenAIEndpoint.model_validate_json({teacher.model_dump_json()!r})
asker = LedgerAsker(Ledger({bench.url!r}), make_client(teacher, "key", "teacher"), "teacher")
config = GenerateConfig(teacher=teacher, samples=70)
build_conversations(Path({str(tmp_path)!r}), Path({str(bench.images)!r}), config, 0, asker, Silent())
"""
        worker = subprocess.Popen([sys.executable, "-c", code])
        while server.asked < 20 and worker.poll() is None:
            time.sleep(0.01)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        with closing(Ledger(bench.url)) as ledger:
            under_way = len(ledger.open_requests())
        server.latency = 0.0
        built = bench.build(teacher, samples=70)
    assert 0 < under_way <= 2
    assert built.counts["samples"] == 70
    assert built.counts["from_ledger"] >= 18
    assert server.asked <= 70 + under_way


def test_images_without_captions_are_left_out_and_counted(bench: Bench) -> None:
    silent = annotated(99).model_copy(update={"captions": (" ",)})
    write_images(bench.images, [annotated(0), silent])
    built = bench.build(samples=5)
    assert built.counts["images_without_captions"] == 1
    assert {sample.image for sample in bench.samples()} == {annotated(0).id}


def test_no_caption_at_all_is_an_error_that_says_so(bench: Bench) -> None:
    write_images(bench.images, [annotated(0).model_copy(update={"captions": ()})])
    with pytest.raises(DataError, match="no image has a caption"):
        bench.build()


def test_captions_of_another_world_are_no_crash(bench: Bench) -> None:
    strange = AnnotatedImage.model_validate({
        "id": "000000012748", "part": "x", "span": [0, 0], "format": "jpg", "width": 640, "height": 480, "sha256": "",
        "captions": ["A man and a horse\u2028outside.", "the horse: [eats", "A red circle sign?"],
        "boxes": [
            {"category": "person", "box": [0.1, 0.1, 0.2, 0.9]}, {"category": "horse", "box": [0.5, 0.1, 0.9, 0.9]},
        ],
    })
    write_images(bench.images, [strange])
    built = bench.build(samples=9, max_rejected_share=1.0)
    assert built.counts["samples"] + built.counts["rejected"] == 9
    assert built.counts["samples"] > 0


TALK = (
    "It is a quiet scene with one thing in it that everybody would notice at once, because it is much larger than what "
    "lies around it and has the only bright colour there is in the whole picture."
)


def test_without_samples_nobody_is_asked_and_the_set_is_empty(tmp_path: Path, images: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    built = build_conversations(folder, images, GenerateConfig(samples=0), 0, None, Silent())
    assert (built.counts["samples"], built.counts["asked"]) == (0, 0)
    assert (folder / "conversations.jsonl").read_bytes() == (folder / "rejected.jsonl").read_bytes() == b""
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["conversations.jsonl", "origins.jsonl", "rejected.jsonl", "statistics.json"]


def test_a_rejection_keeps_the_reason_of_every_attempt_and_what_a_review_needs(bench: Bench) -> None:
    replies = iter(["", "The caption says: a circle.", "I'm sorry."])
    with serving(lambda messages: next(replies), concurrency=1) as (_, teacher):
        bench.build(teacher, samples=1, mix=Mix(conversation=0, detail=1, complex=0), max_rejected_share=1.0)
    (row,) = bench.rejected()
    assert [reason.partition(":")[0] for reason in row["reasons"]] == ["empty", "leak", "refusal"]
    assert (row["reason"], row["reply"], row["attempts"]) == (row["reasons"][-1], "I'm sorry.", 3)
    assert row["image"] in row["id"] and row["question"].endswith(("?", "."))


def test_chinese_is_asked_for_and_english_is_not_taken(bench: Bench) -> None:
    def chinese(messages: Messages) -> str:
        if messages[-1]["content"].startswith("\u8fd9\u4e2a\u56de\u7b54\u4e0d\u80fd\u7528"):
            return "\u56fe\u7247\u91cc\u6709\u4e00\u4e2a\u7ea2\u8272\u7684\u5706\u5f62\u3002"
        return "There is a red circle."

    with serving(chinese) as (server, teacher):
        built = bench.build(teacher, samples=5, language="zh", mix=Mix(conversation=0, detail=1, complex=0))
    assert (built.counts["samples"], built.counts["mended"], server.asked) == (5, 5, 10)
    assert built.facts["faults_by_reason"] == {"language": 5}
    assert built.facts["language"] == "zh"
    assert "\u7528\u4e2d\u6587\u5199" in server.seen.requests[0]["messages"][0]["content"]
    assert all("\u56fe\u7247" in sample.conversations[1].text for sample in bench.samples())


def test_unsupported_objects_are_reported_as_a_rate(bench: Bench) -> None:
    def imagining(messages: Messages) -> str:
        return "There is a giraffe." if "in detail" in messages[0]["content"] else GOOD

    with serving(imagining) as (_, teacher):
        built = bench.build(teacher, samples=20, mix=Mix(conversation=1, detail=1, complex=0))
    assert built.facts["unsupported_objects"] == {
        "conversation": {"share": 0.0, "mean": 0.0, "top": {}},
        "detail": {"share": 1.0, "mean": 1.0, "top": {"giraffe": 10}},
    }
    assert built.counts["samples"] == 20


def test_unsupported_objects_are_rejected_where_the_config_says_so(bench: Bench) -> None:
    def imagining(messages: Messages) -> str:
        return "It is a circle." if messages[-1]["content"].startswith("That reply") else "There is a giraffe."

    reject = ChecksConfig(unsupported_objects="reject")
    with serving(imagining) as (server, teacher):
        built = bench.build(teacher, samples=4, mix=Mix(conversation=0, detail=1, complex=0), checks=reject)
    assert (built.counts["samples"], server.asked) == (4, 8)
    assert "giraffe" in server.seen.requests[-1]["messages"][-1]["content"]
    assert built.facts["faults_by_reason"] == {"unsupported objects": 4}


def test_near_duplicates_are_dropped_listed_and_not_asked_again(bench: Bench) -> None:
    with serving(lambda messages: TALK) as (server, teacher):
        config: dict[str, Any] = {"mix": Mix(conversation=0, detail=1, complex=0), "max_rejected_share": 1.0}
        built = bench.build(teacher, samples=5, **config)
        kept = bench.build(teacher, samples=5, checks=ChecksConfig(near_duplicates=None), **config)
    assert (built.counts["samples"], built.counts["rejected"], server.asked) == (1, 4, 5)
    assert built.facts["rejected_by_reason"] == {"near duplicate": 4}
    assert kept.counts["samples"] == 5
    first, *_ = bench.samples()
    bench.folder = bench.root / "built-1"
    assert [sample.id for sample in bench.samples()] == [first.id]
    assert all(row["reason"].endswith(first.id) and row["reply"] == TALK for row in bench.rejected())


def test_each_kind_is_told_what_the_config_says(bench: Bench) -> None:
    with serving(proper, concurrency=1) as (server, teacher):
        bench.build(teacher, samples=6, mix=Mix(conversation=1, detail=1, complex=1), inputs=Inputs(
            conversation="captions_and_boxes", detail="captions", complex="captions"
        ))
    for request in server.seen.requests:
        boxes = "the next question" in request["messages"][0]["content"]
        assert (": [0." in request["messages"][-1]["content"]) == boxes
        assert ("rectangle" in request["messages"][0]["content"]) == boxes


def test_a_set_that_grew_asks_only_about_what_is_new(bench: Bench) -> None:
    talks = Mix(conversation=1, detail=0, complex=0)
    with serving(proper) as (server, teacher):
        bench.build(teacher, samples=30, mix=talks)
        old = {sample.id: sample for sample in bench.samples()}
        write_images(bench.images, [annotated(number) for number in range(45)])
        grown = bench.build(teacher, samples=45, mix=talks)
    assert (grown.counts["asked"], grown.counts["from_ledger"], server.asked) == (15, 30, 45)
    new = {sample.id: sample for sample in bench.samples()}
    assert len(new) == 45 and old.items() <= new.items()


def test_a_sample_s_price_counts_what_earlier_runs_paid(bench: Bench) -> None:
    with serving(proper, usd_per_million_output=1e6) as (_, teacher):
        first = bench.build(teacher, samples=10)
        second = bench.build(teacher, samples=10)
    spent = first.facts["usd_spent"]
    assert isinstance(spent, float)
    assert first.facts["usd_per_accepted"] == second.facts["usd_per_accepted"] == pytest.approx(spent / 10)


def test_statistics_are_those_of_the_samples(bench: Bench) -> None:
    bench.build(samples=30)
    told = json.loads((bench.folder / "statistics.json").read_text("utf-8"))
    samples = bench.samples()
    for kind, counts in told["kinds"].items():
        mine = [sample for sample in samples if sample.kind == kind]
        assert counts["samples"] == len(mine)
        assert sum(counts["answer_words"]) == sum(counts["question_types"].values()) == sum(
            len(sample.conversations) // 2 for sample in mine
        )
