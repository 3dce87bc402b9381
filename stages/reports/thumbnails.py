"""Small pictures inside the page, as data and not as files."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable

import numpy as np

from stages.imaging import rgb
from stages.pictures import images
from stages.spec import Source

BYTES = 2_500_000
"""The most that all of them may take. Pictures beyond are not shown, and their number is told."""


def thumbnails(pictures: Source, rows: Iterable[int], side: int, room: int) -> tuple[dict[int, str], int]:
    """Data URIs of pictures by their rows, each within a square of `side` pixels, and how many did not fit into `room` bytes.

    A row that is named twice stands on the page twice, and counts so.
    """
    found: dict[int, str] = {}
    wanted, times = np.unique(np.fromiter(rows, dtype=np.int64), return_counts=True)
    often = dict(zip(wanted.tolist(), times.tolist(), strict=True))
    for some, contents in images(pictures, wanted):
        for row, content in zip(some.tolist(), contents, strict=True):
            uri = _uri(content, side)
            if len(uri) * often[row] > room:
                return found, len(wanted) - len(found)
            found[row] = uri
            room -= len(uri) * often[row]
    return found, 0


def _uri(content: bytes, side: int) -> str:
    image = rgb(content)
    image.thumbnail((side, side))
    packed = io.BytesIO()
    image.save(packed, "WEBP", quality=70)  # a third of what a JPEG of this size takes
    return f"data:image/webp;base64,{base64.b64encode(packed.getvalue()).decode()}"
