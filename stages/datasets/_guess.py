"""What a format says of a path or a hub id that it is asked about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Guess(NamedTuple):
    """That a path may be in a format.

    `score`: 1 it could be opened as such, 40 its columns fit, 60 its keys are those of the format, 80 its layout is; the
    highest wins. `fields` are the member's table in the configuration. `why` and `unsure` are told to the person.
    """

    score: int
    fields: Mapping[str, Any]
    why: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()
