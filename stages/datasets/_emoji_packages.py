"""The packages of npm that hold emoji by several artists and what they are called: versions, licences, drawings, names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from stages.datasets._emoji import plain
from stages.datasets._npm import Package
from stages.errors import InputError
from stages.records import Note, shown

Artist = Literal["noto", "fluent-emoji-flat", "twemoji", "openmoji"]
ARTISTS: tuple[Artist, ...] = ("noto", "fluent-emoji-flat", "twemoji", "openmoji")
NAMES_PACKAGE = "emojibase-data"
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
    NAMES_PACKAGE: _Known("17.0.0", "e2512450d918e98c0d9623f98591b575178ddb3858807d8bab8fcd17adcf8f0c"),
}
"""Versions that this was made with. Of another one a note is made; the same one with other bytes is refused."""

LICENCES: dict[Artist, str] = {
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


def files(name: str) -> tuple[str, ...]:
    """The files of a package that are read."""
    return _NAMES if name == NAMES_PACKAGE else _ICONS


def check(package: Package) -> Note | None:
    """A note of another version than this was made with. Raises InputError for the same version with other bytes."""
    known = KNOWN[package.name]
    if package.version != known.version:
        return Note(f"{package.name} is {shown(package.version)}, and this was made with {known.version}")
    if package.sha256(files(package.name)) != known.sha256:
        raise InputError(
            f"{package.name} {package.version} is not what npm has", where=str(package.place), try_="npm pack it again"
        )
    return None


def emoji(package: Package, classes: Literal["group", "subgroup"], tones: bool) -> dict[str, Emoji]:
    """The emoji that have a name, by code points. Components, such as a skin tone alone, are none."""
    rows: Any
    messages: Any
    rows, messages = (package.json(name) for name in _NAMES)  # of any shape: what does not fit is said below
    try:
        key, kind = ("message", "group") if classes == "group" else ("key", "subgroup")
        labels: dict[Any, str] = {one["order"]: _text(one[key]) for one in messages[f"{kind}s"]}
        return {
            plain(one["hexcode"]): Emoji(
                plain(one["hexcode"]),
                _text(one["label"]),
                tuple(map(_text, row.get("tags", ()))),
                labels.get(row[kind]),
            )
            for row in rows
            if row.get("group") is not None
            for one in (row, *(row.get("skins", ()) if tones else ()))
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise _odd(package, f"{type(error).__name__}: {error}") from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{shown(str(value))} is no text")
    return value


def drawn(package: Package, wanted: Mapping[str, Emoji]) -> dict[str, str]:
    """SVG by code points, of those emoji that are wanted."""
    icons, codes = (package.json(name) for name in _ICONS)
    if not isinstance(icons, dict) or not isinstance(codes, dict):
        raise _odd(package, "icons.json and chars.json are not objects")
    found: dict[str, str] = {}
    for code, name in sorted(codes.items()):
        key = plain(code.upper())
        if key in wanted and key not in found:
            try:
                found[key] = svg(icons, name, package)
            except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
                raise _odd(package, f"icon {shown(str(name))}: {type(error).__name__}: {error}") from None
    return found


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
    body = _text(icon["body"])
    if (across, down, turns % 4) != (1, 1, 0):  # flipped and then turned, about the middle
        change = f"translate({x} {y}) rotate({turns % 4 * 90}) scale({across} {down}) translate({-x} {-y})"
        body = f'<g transform="{change}">{body}</g>'
    box = f"{x - side / 2} {y - side / 2} {side} {side}"
    return f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{box}">{body}</svg>'


def _odd(package: Package, got: str) -> InputError:
    return InputError(
        f"{package.name} {shown(package.version)} is not laid out as expected", where=str(package.place), got=shown(got),
        try_=f"npm pack {package.name}@{KNOWN[package.name].version}",
    )  # fmt: skip
