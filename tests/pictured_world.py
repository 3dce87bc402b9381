"""A small corpus of pictures, captions and triplets for the tests of exports."""

from __future__ import annotations

from typing import Any

from stages.imaging import Limits, Proved, prove
from tests.export_world import triplets
from tests.pictures import noise, packed
from tests.support import Table, source, table

FORMATS = ["PNG", "JPEG", "BMP", "WEBP", "PNG", "GIF", "PNG", "PNG"]
IMAGES = [packed(noise(i), form) for i, form in enumerate(FORMATS)]
CREDIT = {"attribution": "Drawn by somebody, CC BY-SA 4.0"}


def proved(data: bytes) -> Proved:
    found = prove(data, Limits(1 << 20, 10**6))
    assert isinstance(found, Proved)
    return found


def world(documents: str, queries: str, rows: list[tuple[int, int, int]], caption: str = "caption") -> dict[str, Any]:
    """Inputs whose documents and queries are kinds by letter, p for a picture and t for a text."""
    found = [proved(image) for image in IMAGES]
    pictures = [
        {"row": i, "image": p.image, "format": p.format, "width": p.width, "height": p.height, "pixels": p.pixels}
        for i, p in enumerate(found)
    ]
    corpus = [
        {"row": i, "doc_id": f"d{i}", "text": f"{caption} d{i}", "text_hash": i, "picture": i if kind == "p" else None}
        for i, kind in enumerate(documents)
    ]
    asked = [
        {"row": i, "query_id": f"q{i}", "text": f"{caption} q{i}", "text_hash": i, "picture": 7 - i if kind == "p" else None,
         "split": "train", "source": "given"}
        for i, kind in enumerate(queries)
    ]  # fmt: skip
    return {
        "pictures": source(table("pictures", pictures[:3]), table("pictures", pictures[3:])),
        "corpus": Table([table("corpus", corpus)], facts=CREDIT),
        "queries": source(table("queries", asked)),
        "triplets": source(triplets(rows)),
    }


TO_IMAGE = [(0, 0, 1), (0, 0, 2), (1, 1, 3), (1, 2, 5), (2, 5, 0)]


def same(data: bytes, row: int) -> bool:
    return proved(data).pixels == proved(IMAGES[row]).pixels
