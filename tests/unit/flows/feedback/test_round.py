"""The whole round: an answer from an endpoint, an opinion on it, review, export, ingest, and lineage back to it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from configs.load import load_experiment
from configs.schema import DataConfig
from configs.settings import Settings
from flows.feedback.announcing import announcement, overrides_with, source_of
from flows.feedback.deletion import Places, delete, lines
from flows.feedback.items import items_of
from flows.lineage.command import Question
from flows.lineage.command import lineage as look
from flows.places import store_of
from tasks.chat_page.answering import Running, Wanted, answers
from tasks.chat_page.desk import Desk
from tasks.chat_page.endpoint import Endpoint
from tasks.chat_page.opinions import explained, keep, rating, vote
from tasks.chat_page.pictures import Limits, Uploads, take_in
from tasks.chat_page.talk import Side, Talk
from tasks.errors import DataError
from tasks.feedback.exporting import Exported, export
from tasks.feedback.reviewing import Reviewer, accept
from tasks.feedback.store import FeedbackStore
from tasks.feedback.tables import Database
from tasks.image_files import read_annotations
from tasks.ingest.places import Place
from tasks.ingest.run import build_image_set
from tasks.progress import Silent
from tasks.withdrawn import WithdrawnImages
from tests.fakes.lineage_store import Chain, MadeRegistry
from tests.fakes.vision_endpoint import VisionEndpoint

BO = Reviewer("bo", "2026-11-22T14:00:00+00:00", "right")


class Round:
    """A root with feedback in it."""

    def __init__(self, home: Path) -> None:
        self.home, self.settings = home, Settings(root=home)
        self.store = FeedbackStore(Database(f"sqlite:///{home}/feedback.db"))
        self.uploads = Uploads(home / "chat" / "images")

    def picture(self, colour: tuple[int, int, int]) -> str:
        path = self.home / "picture.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48), colour).save(path)
        return self.uploads.keep(take_in(path, Limits())).stem

    def asked(self, talk: Talk, endpoint: VisionEndpoint) -> tuple[Desk, Talk]:
        desk = Desk(Endpoint(endpoint.base_url), self.uploads, self.store, new_id=lambda: "c" * 8)

        async def whole(talk: Talk) -> Talk:
            async for step in answers(desk, talk, Wanted(0.2, 64), Running(), "s"):
                talk = talk.with_side(step.number, step.side)
            await desk.endpoint.close()
            return talk

        return desk, asyncio.run(whole(talk))

    def exported(self) -> Exported:
        done = export(self.store, self.home / "feedback")
        assert done is not None
        return done

    def ingested(self, folder: Path, withdrawn: frozenset[str] = frozenset()) -> Path:
        """Ingest a captioned photo, and the export as well."""
        photos = self.home / "photos"
        (photos / "images").mkdir(parents=True)
        Image.new("RGB", (40, 40), (34, 150, 60)).save(photos / "images" / "photo.png")
        row = {"image": "photo.png", "captions": ["A plain green."], "boxes": []}
        (photos / "annotations.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
        source = {"kind": "jsonl", "root": str(photos)}
        config = DataConfig.model_validate({"source": source, "also": [source_of(folder)], "near_duplicates": None})
        made = self.home / "ingested"
        made.mkdir()
        build_image_set(made, config, [Place(str(photos)), Place(str(folder))], Silent(), withdrawn=withdrawn)
        return made

    def places(self) -> Places:
        return Places(
            self.store, store_of(self.settings), self.home / "feedback", self.uploads.folder,
            WithdrawnImages(self.home), None,
        )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "root"


def corrected(round_: Round, user: str = "ann", colour: tuple[int, int, int] = (36, 72, 214)) -> str:
    """Somebody asks about a picture, and corrects the answer. Returns the item's id."""
    image = round_.picture(colour)
    side = Side(model="champion").with_question("What colour?", [image])
    with VisionEndpoint(versions={"champion": "llavaflow/3"}) as endpoint:
        desk, talk = round_.asked(Talk(id=f"talk of {user}", sides=(side,)), endpoint)
    item = explained(
        rating(desk, talk, 1, user, good=False, consent=True), ["wrong"], "", f"It is plain, {user}.", consent=True
    )
    keep(desk, item)
    return item.id


def test_from_an_answer_to_training_data_and_back(home: Path) -> None:
    round_ = Round(home)
    item = corrected(round_)
    accept(round_.store, [item], BO)
    done = round_.exported()
    made = round_.ingested(done.folder)
    (sample,) = [json.loads(line) for line in (made / "given" / "instruct.jsonl").read_text().splitlines()]
    assert sample["id"] == f"feedback-{item}"
    assert [turn["value"] for turn in sample["conversations"]] == ["<image>\nWhat colour?", "It is plain, ann."]
    (stored,) = round_.store.items()
    digests = {annotated.sha256 for annotated in read_annotations(made)}
    assert stored.item.images < digests, "ingest keeps the very bytes that were uploaded"
    chain, registry = Chain(home, "f", ids=[], images=made), MadeRegistry()
    chain.register(registry, "4")
    for word in ("ann", item, item[:8]):
        found = look(Question(feedback=word), registry, round_.settings)
        assert [one.name for one in found.versions] == ["4"]  # type: ignore[union-attr]
        assert found.uses[0].samples == (f"feedback-{item}",)  # type: ignore[union-attr]


def test_a_vote_is_learned_from_as_well(home: Path) -> None:
    round_ = Round(home)
    image = round_.picture((216, 32, 36))
    sides = tuple(Side(model=name).with_question("And?", [image]) for name in ("champion", "challenger"))
    with VisionEndpoint(manners={"challenger": " Better."}) as endpoint:
        desk, talk = round_.asked(Talk(id="t", sides=sides), endpoint)
    assert talk.can_vote()
    stored = keep(desk, vote(desk, talk, "b", "ann", consent=True))
    accept(round_.store, [stored.item.id], BO)
    rows = json.loads((round_.exported().folder / "conversations.json").read_text(encoding="utf-8"))
    assert rows[0]["conversations"][1]["value"].endswith("Better.")


def test_the_same_feedback_is_the_same_version_to_the_byte(home: Path, tmp_path: Path) -> None:
    round_ = Round(home)
    accept(round_.store, [corrected(round_)], BO)
    first, again = round_.exported(), export(round_.store, tmp_path / "elsewhere", at_least=0)
    assert again is not None and again.version == first.version
    files = [path.relative_to(first.folder) for path in sorted(first.folder.rglob("*")) if path.is_file()]
    assert {file: (first.folder / file).read_bytes() for file in files} == {
        file: (again.folder / file).read_bytes() for file in files
    }
    assert not export(round_.store, home / "feedback", at_least=0).written  # type: ignore[union-attr]


def test_only_so_many_new_items_make_a_version(home: Path) -> None:
    round_ = Round(home)
    accept(round_.store, [corrected(round_)], BO)
    assert export(round_.store, home / "feedback", at_least=2) is None
    assert not (home / "feedback").exists()
    accept(round_.store, [corrected(round_, "bo", (216, 32, 36))], BO)
    done = export(round_.store, home / "feedback", at_least=2)
    assert done is not None and (done.samples, done.fresh) == (2, 2)
    assert export(round_.store, home / "feedback", at_least=1) is None, "nothing is new since"
    again = export(round_.store, home / "feedback")
    assert again is not None and (again.folder, again.written) == (done.folder, False)


def test_a_deleted_user_is_gone_from_everywhere_and_stays_out(home: Path) -> None:
    round_ = Round(home)
    ann, bo = corrected(round_), corrected(round_, "bo", (216, 32, 36))
    accept(round_.store, [ann, bo], BO)
    done = round_.exported()
    (image,) = next(one.item.images for one in round_.store.items(user="ann"))
    made = round_.ingested(done.folder)
    chain, registry = Chain(home, "f", ids=[], images=made), MadeRegistry()
    chain.register(registry, "4")
    deleted = delete("ann", round_.places(), registry, "bo", BO.when)
    assert deleted.learned is not None and [one.name for one in deleted.learned.versions] == ["4"]
    assert "learned from it: version 4" in "\n".join(lines("ann", deleted))
    assert [one.item.id for one in round_.store.items()] == [bo]
    assert round_.uploads.path(image) is None
    everything = b"".join(path.read_bytes() for path in done.folder.rglob("*") if path.is_file())
    assert ann.encode() not in everything and bo.encode() in everything
    assert not list(done.folder.glob(f"images/{image}*")) and len(list(done.folder.glob("images/*"))) == 1
    assert set(WithdrawnImages(home).now()) == {image}
    assert items_of(ann, round_.store) == [ann], "what learned from it can be found by the item's id"
    with pytest.raises(DataError, match="no feedback"):
        delete("ann", round_.places(), registry, "bo", BO.when)


def test_a_withdrawn_image_does_not_come_back_from_a_copy_of_an_export(home: Path, tmp_path: Path) -> None:
    import shutil

    round_ = Round(home)
    accept(round_.store, [corrected(round_)], BO)
    copy = shutil.copytree(round_.exported().folder, tmp_path / "copy")
    delete("ann", round_.places(), MadeRegistry(), "bo", BO.when)
    made = round_.ingested(copy, frozenset(WithdrawnImages(home).now()))
    assert not (made / "given").exists() and [one.id for one in read_annotations(made)] == ["photo"]


def test_an_announcement_is_a_run_that_learns_from_this_version_alone(home: Path) -> None:
    first, second = home / "feedback" / "aaa", home / "feedback" / "bbb"
    other = 'data.also=[{"kind": "jsonl", "root": "photos"}]'
    overrides = overrides_with(first, "shapes", (other, "seed=1"))
    again = overrides_with(second, "shapes", overrides)
    also = load_experiment("shapes", again).data.also
    assert [getattr(source, "root", "") for source in also] == ["photos", str(second)]
    told = announcement(second, "shapes", overrides)
    assert told.payload()["experiment"] == "shapes" and told.payload()["tag"] == "feedback-bbb"
    assert replace(told, version="x").id != told.id
