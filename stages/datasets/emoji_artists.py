"""Emoji by four artists: 7,074 drawings by Noto, Fluent, Twemoji and OpenMoji, with names and tags, from packages of npm

    npm pack @iconify-json/noto@1.2.9 @iconify-json/fluent-emoji-flat@1.2.6 @iconify-json/twemoji@1.2.5 \
        @iconify-json/openmoji@1.2.29 emojibase-data@17.0.0

in a folder; `path` is that folder. Nothing of the packages is run: icons.json, chars.json and data.json are read as data. The
drawings are Apache-2.0 (Noto), MIT (Fluent), CC BY 4.0 (Twemoji) and CC BY-SA 4.0 (OpenMoji), the names MIT.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from stages.datasets._captioned import Captioned, Shown
from stages.datasets._drawings import check_renderer, drawing
from stages.datasets._emoji import concept, plain
from stages.datasets._guess import Guess
from stages.datasets._npm import Package, packages
from stages.errors import HardrockError, InputError, ResourceError
from stages.records import Fault, Note, shown
from stages.settings import speed

Artist = Literal["noto", "fluent-emoji-flat", "twemoji", "openmoji"]
ARTISTS: tuple[Artist, ...] = ("noto", "fluent-emoji-flat", "twemoji", "openmoji")
_ICONS, _NAMES = ("icons.json", "chars.json"), ("en/data.json", "en/messages.json")


class _Known(NamedTuple):
    version: str
    sha256: str  # of the files that are read, one after the other


KNOWN = {
    "@iconify-json/noto": _Known("1.2.9", "959d40ff719c6361473b3621946689cd78c51d8a47ba4d1a45dd1ae6ebb9c0e8"),
    "@iconify-json/fluent-emoji-flat": _Known(
        "1.2.6", "07f8ede1e3405afb445f44bb39689990dc62dcf4ce9df54bfd62ea5ed2ba4ad2"
    ),
    "@iconify-json/twemoji": _Known("1.2.5", "06cbf33a3c8355e281e2cb1ef7f919e7246a3504eaae440365df6d28f66ae38f"),
    "@iconify-json/openmoji": _Known("1.2.29", "18d48f4b8c35d02ab6bb3b797b8fd161e9c16e839594e9c0b9addc91d933a407"),
    "emojibase-data": _Known("17.0.0", "e2512450d918e98c0d9623f98591b575178ddb3858807d8bab8fcd17adcf8f0c"),
}
"""Versions that this was made with. Of another one a note is made; the same one with other bytes is refused."""

_LICENCES: dict[Artist, str] = {
    "noto": "Noto Emoji by Google, https://github.com/googlefonts/noto-emoji, Apache License 2.0",
    "fluent-emoji-flat": "Fluent Emoji by Microsoft, https://github.com/microsoft/fluentui-emoji, MIT License",
    "twemoji": "Twemoji by Twitter and contributors, https://github.com/jdecked/twemoji, CC BY 4.0, "
    "https://creativecommons.org/licenses/by/4.0/",
    "openmoji": "All emojis designed by OpenMoji - the open-source emoji and icon project, https://openmoji.org. License: CC BY-SA "
    "4.0, https://creativecommons.org/licenses/by-sa/4.0/",
}


class Emoji(NamedTuple):
    """An emoji of Unicode: its code points without variation selectors, and what is said of it."""

    code: str
    name: str
    tags: tuple[str, ...]
    label: str | None


class EmojiArtists(Captioned):
    """The same emoji by several artists. A picture's id is artist/code points, such as noto/1F6B4-200D-2642; its caption is its name.

    A caption's positives are the drawings of all artists. A picture's group is its concept: variants of skin tone, gender and
    direction are one concept, whoever drew them, and so are in one split.
    """

    path: str = speed(
        ..., "Folder of the packages, as npm packs or installs them. Their content is part of a result's identity."
    )
    artists: tuple[Artist, ...] = Field(ARTISTS, min_length=1, description="Whose drawings are read, in this order.")
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
        return "; ".join(_LICENCES[one] for one in dict.fromkeys(self.artists)) + ". Rendered as pictures on white."

    def fingerprint(self) -> str:
        """A sha256 over the files that are read, by package, and the version of the renderer."""
        check_renderer()
        from importlib.metadata import version

        prints = (f"{one.name} {one.sha256(_files(one.name))}" for one in self._packages)
        return " ".join((*prints, "resvg", version("resvg-py")))

    def locate(self, file: str) -> str:
        return str(Path(self.path) / file)

    def shown(self) -> Iterator[Shown | Fault | Note]:
        check_renderer()
        for package in self._packages:
            known = KNOWN[package.name]
            if package.version != known.version:
                yield Note(f"{package.name} is {shown(package.version)}, and this was made with {known.version}")
            elif package.sha256(_files(package.name)) != known.sha256:
                raise InputError(
                    f"{package.name} {package.version} is not what npm has", where=str(package.place),
                    try_="npm pack it again",
                )  # fmt: skip
        for artist, package in zip(dict.fromkeys(self.artists), self._packages, strict=False):
            yield from self._by(artist, package)

    def _by(self, artist: Artist, package: Package) -> Iterator[Shown]:
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
            icons, codes = (package.json(name) for name in _ICONS)
            if not isinstance(icons, dict) or not isinstance(codes, dict):
                raise _odd(package, "icons.json and chars.json are not objects")
            found: dict[str, str] = {}
            for code, name in sorted(codes.items()):
                key = plain(code.upper())
                if key in self._emoji and key not in found:
                    found[key] = svg(icons, name, package)
            self._read[package.name] = found
        return self._read[package.name]

    @cached_property
    def _read(self) -> dict[str, dict[str, str]]:
        return {}

    @cached_property
    def _packages(self) -> list[Package]:
        """Those of the artists in their order, then the names."""
        there = packages(Path(self.path))
        wanted = [f"@iconify-json/{one}" for one in dict.fromkeys(self.artists)] + ["emojibase-data"]
        if missing := [name for name in wanted if name not in there]:
            raise ResourceError(
                f"{len(missing)} npm packages are missing", where=self.path, got=", ".join(missing),
                try_="there: npm pack " + " ".join(f"{name}@{KNOWN[name].version}" for name in missing),
            )  # fmt: skip
        return [there[name] for name in wanted]

    @cached_property
    def _emoji(self) -> dict[str, Emoji]:
        """The emoji that are asked for, by code points. Components, such as a skin tone alone, are none."""
        package = self._packages[-1]
        rows: Any
        messages: Any
        rows, messages = (package.json(name) for name in _NAMES)  # of any shape: what does not fit is said below
        try:
            key, kind = ("message", "group") if self.classes == "group" else ("key", "subgroup")
            labels: dict[Any, str] = {one["order"]: one[key] for one in messages[f"{kind}s"]}
            return {
                plain(one["hexcode"]): Emoji(
                    plain(one["hexcode"]), one["label"], tuple(row.get("tags", ())), labels.get(row[kind])
                )
                for row in rows
                if row.get("group") is not None
                for one in (row, *(row.get("skins", ()) if self.tones else ()))
            }
        except (KeyError, TypeError, AttributeError) as error:
            raise _odd(package, f"{type(error).__name__}: {error}") from None


def svg(icons: Mapping[str, Any], name: Any, package: Package) -> str:
    """An icon as a drawing. One that is an alias is its parent, turned as the alias says; padded to a square.

    Raises InputError where there is none of that name.
    """
    aliases, across, down, turns = icons.get("aliases", {}), 1, 1, 0
    for _ in range(6):  # as deep as the format allows
        if name in icons["icons"] or name not in aliases:
            break
        alias = aliases[name]
        across, down = (-one if alias.get(key) else one for one, key in ((across, "hFlip"), (down, "vFlip")))
        turns += int(alias.get("rotate", 0))
        name = alias["parent"]
    icon = icons["icons"].get(name)
    if icon is None:
        raise _odd(package, f"no icon {shown(name)}")
    width, height = (float(icon.get(key, icons.get(key, 16))) for key in ("width", "height"))
    side, x, y = max(width, height), float(icon.get("left", 0)) + width / 2, float(icon.get("top", 0)) + height / 2
    body = icon["body"]
    if (across, down, turns % 4) != (1, 1, 0):  # flipped and then turned, about the middle
        change = f"translate({x} {y}) rotate({turns % 4 * 90}) scale({across} {down}) translate({-x} {-y})"
        body = f'<g transform="{change}">{body}</g>'
    box = f"{x - side / 2} {y - side / 2} {side} {side}"
    return f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{box}">{body}</svg>'


def _files(name: str) -> tuple[str, ...]:
    return _NAMES if name == "emojibase-data" else _ICONS


def _odd(package: Package, got: str) -> InputError:
    return InputError(
        f"{package.name} {shown(package.version)} is not laid out as expected", where=str(package.place), got=shown(got),
        try_=f"npm pack {package.name}@{KNOWN[package.name].version}",
    )  # fmt: skip


def recognise(place: str) -> Guess | None:
    """A folder of at least one artist's package."""
    try:
        there = packages(Path(place))
    except (HardrockError, OSError):
        return None
    found = [one for one in ARTISTS if f"@iconify-json/{one}" in there]
    if not found:
        return None
    return Guess(90, {"path": place, **({} if len(found) == len(ARTISTS) else {"artists": found})},
                 (f"npm packages of {', '.join(found)}",))  # fmt: skip
