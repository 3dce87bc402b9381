"""What an emoji shows, by its code points: which differ in gender, skin tone or direction alone and are one concept."""

from __future__ import annotations

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
    """The code points without variation selectors, which files and tables write in different ways."""
    return "-".join(part for part in code.split("-") if part != _VARIATION)


def toneless(code: str) -> str:
    return "-".join(part for part in plain(code).split("-") if part not in _TONES)
