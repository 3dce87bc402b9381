"""Tiny pictures that tests make themselves, whole ones and all kinds of broken ones."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

WHITE, RED = (255, 255, 255), (200, 30, 40)


def noise(number: int, width: int = 12, height: int = 8) -> Image.Image:
    """A picture that differs from that of any other number."""
    values = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def blob(colour: tuple[int, int, int], place: int = 0, size: int = 24) -> Image.Image:
    """A square of one colour on white, at one of nine places: what tiny models can learn."""
    values = np.full((size, size, 3), 255, dtype=np.uint8)
    step = size // 4
    y, x = (place // 3) * step + 1, (place % 3) * step + 1
    values[y : y + 2 * step - 2, x : x + 2 * step - 2] = colour
    return Image.fromarray(values)


def packed(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    """The encoded bytes."""
    held = io.BytesIO()
    image.save(held, form, **options)
    return held.getvalue()


def png(number: int, **size: int) -> bytes:
    """The bytes of `noise`."""
    return packed(noise(number, **size))


def bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """A PNG of a few hundred bytes whose header promises billions of pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 5_000))
        + chunk(b"IEND", b"")
    )


def flipped(data: bytes, place: int) -> bytes:
    """The bytes with one bit changed."""
    return data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]


JPEG = packed(noise(1, 64, 48), "JPEG")
PNG = packed(noise(1, 64, 48))
BROKEN: Mapping[str, tuple[bytes, str]] = {
    "half a JPEG": (JPEG[: len(JPEG) // 2], "cut off"),
    "half a PNG": (PNG[: len(PNG) // 2], "cut off"),
    "a JPEG's header alone": (JPEG[:300], "cut off"),
    "a changed bit in a PNG": (flipped(PNG, len(PNG) // 2), "damaged"),
    "a bomb": (bomb(), "too many pixels"),
    "a bomb beneath Pillow's limit": (bomb(12_000, 10_000), "12,000 × 10,000 pixels; the limit is"),
    "no bytes": (b"", "no bytes"),
    "a text": (b"this is no picture at all", "not a picture of PNG"),
    "a PDF": (b"%PDF-1.7 and so on", "not a picture of PNG"),
    "an SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not a picture of PNG"),
    "fractions": (packed(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "fractions"),
}
"""Bytes that are no picture, and what is said of them."""
