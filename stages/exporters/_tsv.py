"""Text in tab-separated files that know no quoting: what would end a field or a line becomes a blank, and is counted."""

from __future__ import annotations

import re
from collections import Counter

BREAKS = re.compile(r"[\t\r\n]")


def shown(text: str) -> str:
    """The text as a loader sees it: breaks are blanks, and there is no white space at its ends, where loaders strip it."""
    return BREAKS.sub(" ", text).strip()


def escape(text: str, escaped: Counter[str]) -> str:
    """`shown`, with the characters that it replaces and those that it takes off counted in `escaped`."""
    replaced = BREAKS.sub(" ", text)
    stripped = replaced.strip()
    escaped["tabs_and_line_ends_in_texts"] += len(BREAKS.findall(text))
    escaped["blanks_at_the_ends_of_texts"] += len(replaced) - len(stripped)
    return stripped
