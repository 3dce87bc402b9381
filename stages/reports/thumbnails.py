"""Small pictures inside the page, as data and not as files."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable

import numpy as np

from stages.imaging import rgb
from stages.pictures import images
from stages.spec import Source

BYTES = 3_000_000
"""The most that all of them may take. Pictures beyond are not shown, and their number is told."""


def thumbnails(pictures: Source, rows: Iterable[int], side: int) -> tuple[dict[int, str], int]:
    """Data URIs of pictures by their rows, each within a square of `side` pixels, and how many did not fit into BYTES."""
    found: dict[int, str] = {}
    size = beyond = 0
    wanted = np.unique(np.fromiter(rows, dtype=np.int64))
    for some, contents in images(pictures, wanted):
        for row, content in zip(some.tolist(), contents, strict=True):
            uri = _uri(content, side) if size < BYTES else ""
            if not uri or size + len(uri) > BYTES:
                beyond += 1
                continue
            found[row] = uri
            size += len(uri)
    return found, beyond


def _uri(content: bytes, side: int) -> str:
    image = rgb(content)
    image.thumbnail((side, side))
    packed = io.BytesIO()
    image.save(packed, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(packed.getvalue()).decode()}"
