"""What a text can mention and claim of a scene, as values."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.world.scene import BackgroundKind, Colour, Quadrant, Shape, Size
from tasks.world.words import with_article


@dataclass(frozen=True)
class Mention:
    """An object as a text describes it; None is what the text leaves open."""

    colour: Colour | None = None
    shape: Shape | None = None
    size: Size | None = None
    quadrant: Quadrant | None = None

    def kind(self) -> Mention:
        """Colour and shape alone."""
        return Mention(self.colour, self.shape)

    def __str__(self) -> str:
        words = " ".join(word for word in (self.size, self.colour, self.shape or "object") if word)
        return f"{words} in the {self.quadrant}" if self.quadrant else words


@dataclass(frozen=True)
class ThingClaim:
    """There is such a thing, or (`present=False`) there is none. Of `about`, only colour and shape are set."""

    about: Mention
    present: bool = True

    def __str__(self) -> str:
        return f"there is {with_article(str(self.about)) if self.present else f'no {self.about}'}"


@dataclass(frozen=True)
class SizeClaim:
    """A thing has a size."""

    about: Mention
    size: Size

    def __str__(self) -> str:
        return f"the {self.about} is {self.size}"


@dataclass(frozen=True)
class PlaceClaim:
    """A thing lies in a quadrant."""

    about: Mention
    quadrant: Quadrant

    def __str__(self) -> str:
        return f"the {self.about} is in the {self.quadrant}"


@dataclass(frozen=True)
class RelationClaim:
    """`first` is left of, right of, above or below `second`."""

    first: Mention
    relation: str
    second: Mention

    def __str__(self) -> str:
        return f"the {self.first} is {self.relation} the {self.second}"


@dataclass(frozen=True)
class CountClaim:
    """There are so many objects (`about` is None), or so many of a kind."""

    number: int
    about: Mention | None = None

    def __str__(self) -> str:
        return f"the number of {self.about or 'object'}s is {self.number}"


@dataclass(frozen=True)
class BackgroundClaim:
    """The background is of a kind."""

    kind: BackgroundKind

    def __str__(self) -> str:
        return f"the background is {self.kind}"


Claim = ThingClaim | SizeClaim | PlaceClaim | RelationClaim | CountClaim | BackgroundClaim
