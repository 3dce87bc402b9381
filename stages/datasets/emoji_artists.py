"""Emoji by four artists: 7,074 drawings by Noto, Fluent, Twemoji and OpenMoji, with names and tags, from packages of npm

    npm pack @iconify-json/noto@1.2.9 @iconify-json/fluent-emoji-flat@1.2.6 @iconify-json/twemoji@1.2.5 \
        @iconify-json/openmoji@1.2.29 emojibase-data@17.0.0

in a folder; `path` is that folder. Nothing of the packages is run: icons.json, chars.json and data.json are read as data. The
drawings are Apache-2.0 (Noto), MIT (Fluent), CC BY 4.0 (Twemoji) and CC BY-SA 4.0 (OpenMoji), the names MIT.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field

from stages.datasets import _emoji_packages as sets
from stages.datasets._captioned import Captioned, Shown
from stages.datasets._drawings import check_renderer, drawing
from stages.datasets._emoji import concept
from stages.datasets._guess import Guess
from stages.datasets._npm import Package, packages
from stages.errors import HardrockError, ResourceError
from stages.records import Fault, Note
from stages.settings import speed


class EmojiArtists(Captioned):
    """The same emoji by several artists. A picture's id is artist/code points, such as noto/1F6B4-200D-2642; its caption is its name.

    A caption's positives are the drawings of all artists. A picture's group is its concept: variants of skin tone, gender and
    direction are one concept, whoever drew them, and so are in one split.
    """

    path: str = speed(
        ..., "Folder of the packages, as npm packs or installs them. Their content is part of a result's identity."
    )
    artists: tuple[sets.Artist, ...] = Field(
        sets.ARTISTS, min_length=1, description="Whose drawings are read, in this order."
    )
    tones: bool = Field(False, description="Whether skin tones are pictures of their own: nearly twice as many.")
    tags: bool = Field(
        False, description="Whether a picture has a second caption: its name and then its tags, five to ten words."
    )
    size: int = Field(64, ge=16, le=1024, description="Side of a rendered picture, in pixels.")
    classes: Literal["group", "subgroup"] = Field(
        "subgroup",
        description="What a picture's class is: its group of ten, or its subgroup of a hundred, such as person-sport.",
    )

    @property
    def attribution(self) -> str:
        """Whose drawings these are, as their licences ask to say it."""
        return "; ".join(sets.LICENCES[one] for one in dict.fromkeys(self.artists)) + ". Rendered as pictures on white."

    def fingerprint(self) -> str:
        """A sha256 over the files that are read, by package, and the version of the renderer."""
        check_renderer()
        from importlib.metadata import version

        prints = (f"{one.name} {one.sha256(sets.files(one.name))}" for one in self._packages)
        return " ".join((*prints, "resvg", version("resvg-py")))

    def locate(self, file: str) -> str:
        return str(Path(self.path) / file)

    def shown(self) -> Iterator[Shown | Fault | Note]:
        check_renderer()
        for package in self._packages:
            if note := sets.check(package):
                yield note
        for artist, package in zip(dict.fromkeys(self.artists), self._packages, strict=False):
            yield from self._by(artist, package)

    def _by(self, artist: sets.Artist, package: Package) -> Iterator[Shown]:
        """The drawings of one artist, by code points."""
        for number, (code, svg) in enumerate(self._drawn(package).items(), 1):
            emoji = self._emoji[code]
            captions = (
                (emoji.name, f"{emoji.name}: {', '.join(emoji.tags)}") if self.tags and emoji.tags else (emoji.name,)
            )
            picture = drawing(svg, self.size, f"{artist}/{code}.svg")
            yield Shown(package.place.name, number, f"{artist}/{code}", picture, captions, concept(code), emoji.label)

    def _drawn(self, package: Package) -> dict[str, str]:
        """SVG by code points, of those emoji that are asked for."""
        if package.name not in self._read:
            self._read[package.name] = sets.drawn(package, self._emoji)
        return self._read[package.name]

    @cached_property
    def _read(self) -> dict[str, dict[str, str]]:
        return {}

    @cached_property
    def _packages(self) -> list[Package]:
        """Those of the artists in their order, then the names."""
        there = packages(Path(self.path))
        wanted = [f"@iconify-json/{one}" for one in dict.fromkeys(self.artists)] + [sets.NAMES_PACKAGE]
        if missing := [name for name in wanted if name not in there]:
            raise ResourceError(
                f"{len(missing)} npm packages are missing", where=self.path, got=", ".join(missing),
                try_="there: npm pack " + " ".join(f"{name}@{sets.KNOWN[name].version}" for name in missing),
            )  # fmt: skip
        return [there[name] for name in wanted]

    @cached_property
    def _emoji(self) -> dict[str, sets.Emoji]:
        return sets.emoji(self._packages[-1], self.classes, self.tones)


def recognise(place: str) -> Guess | None:
    """A folder of at least one artist's package."""
    try:
        there = packages(Path(place))
    except (HardrockError, OSError):
        return None
    found = [one for one in sets.ARTISTS if f"@iconify-json/{one}" in there]
    if not found:
        return None
    return Guess(90, {"path": place, **({} if len(found) == len(sets.ARTISTS) else {"artists": found})},
                 (f"npm packages of {', '.join(found)}",))  # fmt: skip
