"""Feedback in a database: add, look up, review, delete."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from tasks.errors import DataError
from tasks.feedback.records import Item, Review, State, Stored
from tasks.feedback.screening import findings
from tasks.feedback.tables import EXPORTED, IMAGES, ITEMS, SHOWN, Database


@dataclass(frozen=True)
class Picture:
    """An image as it is kept: JPEG or PNG without metadata."""

    sha256: str
    suffix: str
    """jpg or png."""
    data: bytes


@dataclass(frozen=True)
class Removed:
    """What a deletion took away."""

    items: tuple[str, ...]
    images: tuple[str, ...]
    """sha256 of the images that no other item shows."""
    traces: tuple[str, ...]
    """MLflow's ids of their traces."""


class FeedbackStore:
    """Items of feedback with their images. Every change is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, item: Item, pictures: Iterable[Picture] = ()) -> Stored:
        """Keep an item, or what is said anew of one with the same id: that has to be reviewed again.

        An item that holds personal data starts out as held.
        """
        found = findings(item.texts())
        review = Review(state="held" if found else "new", findings=found)
        row = {
            "id": item.id, "person": item.user, "conversation": item.conversation, "created": item.created,
            "state": review.state, "item": item.model_dump_json(), "review": review.model_dump_json(),
        }
        with self._database.transaction() as connection:
            connection.execute(sa.delete(SHOWN).where(SHOWN.c.item == item.id))
            connection.execute(sa.delete(ITEMS).where(ITEMS.c.id == item.id))
            connection.execute(sa.insert(ITEMS).values(row))
            for picture in pictures:
                _keep(connection, picture)
            for image in sorted(item.images):
                connection.execute(sa.insert(SHOWN).values(item=item.id, sha256=image))
        return Stored(item=item, review=review)

    def traced(self, item: str, trace: str) -> None:
        """Note the MLflow trace of an item. Its review stays as it is."""
        with self._database.transaction() as connection:
            row = connection.execute(sa.select(ITEMS.c.item).where(ITEMS.c.id == item)).scalar_one_or_none()
            if row is not None:
                changed = Item.model_validate_json(row).model_copy(update={"trace": trace})
                connection.execute(sa.update(ITEMS).where(ITEMS.c.id == item).values(item=changed.model_dump_json()))

    def items(self, state: State | None = None, user: str | None = None) -> list[Stored]:
        """Items, oldest first."""
        query = sa.select(ITEMS.c.item, ITEMS.c.review).order_by(ITEMS.c.created, ITEMS.c.id)
        if state is not None:
            query = query.where(ITEMS.c.state == state)
        if user is not None:
            query = query.where(ITEMS.c.person == user)
        with self._database.transaction() as connection:
            rows = connection.execute(query).all()
        return [_stored(item, review) for item, review in rows]

    def named(self, prefix: str) -> Stored:
        """The one item whose id begins so. Raises DataError if there is none, or more than one."""
        with self._database.transaction() as connection:
            query = sa.select(ITEMS.c.item, ITEMS.c.review).where(ITEMS.c.id.startswith(prefix, autoescape=True))
            rows = connection.execute(query.limit(2)).all()
        if len(rows) != 1 or not prefix:
            what = "several items have" if rows else "no item has"
            raise DataError(f"{what} an id that begins with {prefix!r}; see: llavaflow feedback review")
        return _stored(*rows[0])

    def decide(self, decisions: Mapping[str, Review]) -> None:
        """Write reviews of items, by id: all of them or none."""
        with self._database.transaction() as connection:
            for item, review in decisions.items():
                values = {"state": review.state, "review": review.model_dump_json()}
                connection.execute(sa.update(ITEMS).where(ITEMS.c.id == item).values(values))

    def picture(self, sha256: str) -> Picture | None:
        """An image, or None where there is none."""
        with self._database.transaction() as connection:
            row = connection.execute(sa.select(IMAGES).where(IMAGES.c.sha256 == sha256)).one_or_none()
        return None if row is None else Picture(row.sha256, row.suffix, bytes(row.data))

    def delete(self, user: str) -> Removed:
        """Remove a user's items, and the images that no other item shows."""
        with self._database.transaction() as connection:
            rows = connection.execute(sa.select(ITEMS.c.id, ITEMS.c.item).where(ITEMS.c.person == user)).all()
            ids = sorted(row.id for row in rows)
            shown = sorted({image for row in rows for image in Item.model_validate_json(row.item).images})
            connection.execute(sa.delete(SHOWN).where(SHOWN.c.item.in_(ids)))
            connection.execute(sa.delete(ITEMS).where(ITEMS.c.id.in_(ids)))
            others = set(connection.execute(sa.select(SHOWN.c.sha256).where(SHOWN.c.sha256.in_(shown))).scalars())
            gone = [image for image in shown if image not in others]
            connection.execute(sa.delete(IMAGES).where(IMAGES.c.sha256.in_(gone)))
        traces = sorted({trace for row in rows if (trace := Item.model_validate_json(row.item).trace)})
        return Removed(tuple(ids), tuple(gone), tuple(traces))

    def note_export(self, version: str, samples: Mapping[str, str]) -> None:
        """Write down which sample of a version came of which item (item to sample). Twice is the same as once."""
        with self._database.transaction() as connection:
            connection.execute(sa.delete(EXPORTED).where(EXPORTED.c.version == version))
            for item, sample in sorted(samples.items()):
                connection.execute(sa.insert(EXPORTED).values(version=version, item=item, sample=sample))

    def exported(self, items: Sequence[str] | None = None) -> list[tuple[str, str, str]]:
        """(version, item, sample) of all exports, or of those that hold one of the items."""
        query = sa.select(EXPORTED.c.version, EXPORTED.c.item, EXPORTED.c.sample)
        if items is not None:
            query = query.where(EXPORTED.c.item.in_(items))
        with self._database.transaction() as connection:
            rows = connection.execute(query.order_by(EXPORTED.c.version, EXPORTED.c.item)).all()
        return [(row.version, row.item, row.sample) for row in rows]


def _keep(connection: sa.Connection, picture: Picture) -> None:
    there = sa.select(IMAGES.c.sha256).where(IMAGES.c.sha256 == picture.sha256)
    if connection.execute(there).first() is None:
        values = {"sha256": picture.sha256, "suffix": picture.suffix, "data": picture.data}
        connection.execute(sa.insert(IMAGES).values(values))


def _stored(item: str, review: str) -> Stored:
    return Stored(item=Item.model_validate_json(item), review=Review.model_validate_json(review))
