"""What a picture is: encoded bytes that decode to RGB pixels, and what is said of those that do not.

A picture is decoded whole once before it is stored, because its header says little: half a JPEG has a whole one. One that
programs decode to different pixels (transparent, rotated by its EXIF, CMYK, of 16 bits, animated) is stored as a PNG of the
pixels meant here, so that every stage and every program that an export goes to sees the same.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from stages.records import Wrong, shown

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""What is read. Others stay unread: some start programs, and each is a parser more that faces foreign bytes."""
SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".gif": "GIF", ".bmp": "BMP",
            ".tif": "TIFF", ".tiff": "TIFF"}  # fmt: skip
MOST_PIXELS = 178_000_000  # Pillow refuses what is larger
_ORIENTATION = 0x0112
_TRUNCATED = ("truncated", "not enough image data", "unexpected end")

Content = bytes | Callable[[int], bytes]
"""Encoded bytes, or what reads at most so many of them; the latter goes to another process."""


class Limits(NamedTuple):
    """What a picture may be, and the colour behind transparent ones: (red, green, blue), 0 to 255."""

    bytes: int
    pixels: int
    background: tuple[int, int, int] = (255, 255, 255)


class Proved(NamedTuple):
    """A picture that decodes: its bytes as they are stored, and what its pixels are."""

    image: bytes
    format: str
    width: int
    height: int
    pixels: int  # 64-bit hash of size and RGB pixels: equal pixels, equal hash
    given: int  # 64-bit hash of the bytes that were given
    changed: str = ""  # why it is stored as PNG: transparent, rotated, cmyk, 16-bit, animated
    name: str = ""  # as the record has it


def prove(content: Content, limits: Limits) -> Proved | Wrong:
    """Decodes a picture whole. What is wrong with it is a Wrong; raises nothing but MemoryError."""
    try:
        data = content if isinstance(content, bytes) else content(limits.bytes + 1)
    except OSError as error:
        return Wrong(f"the picture cannot be read: {error.strerror or error}", "put it there, or take the row out")
    if len(data) > limits.bytes:
        return Wrong(
            f"the picture has more than {limits.bytes:,} bytes", "make it smaller, or raise pictures.max_bytes"
        )
    if not data:
        return Wrong("the picture has no bytes", "fetch it again, or take the row out")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a bomb, which has a limit here, and of odd metadata
            return _proved(data, limits)
    except MemoryError:
        raise
    except Exception as error:  # a parser raises what it stumbles over
        return _broken(data, error)


LARGEST = Limits(bytes=1 << 31, pixels=MOST_PIXELS)
"""No limits but those of Pillow, for what was proved before."""


def png(data: bytes) -> bytes:
    """A picture that was proved as PNG of its RGB pixels."""
    packed = io.BytesIO()
    rgb(data).save(packed, "PNG")
    return packed.getvalue()


def rgb(data: bytes, background: tuple[int, int, int] = (255, 255, 255)) -> Image.Image:
    """The RGB pixels of a picture that was proved: PIL.Image.Image of mode RGB."""
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        return _flat(image, background)[0]


def _proved(data: bytes, limits: Limits) -> Proved | Wrong:
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        width, height = image.size
        if width * height > limits.pixels:
            return _too_large(width, height, limits.pixels)
        form = "JPEG" if image.format == "MPO" else str(image.format)
        if form == "PNG":
            with Image.open(io.BytesIO(data), formats=("PNG",)) as again:
                again.verify()  # checks the sums of the chunks, which decoding does not
        if image.mode in {"I", "F"}:
            kind = "whole numbers of 32 bits" if image.mode == "I" else "fractions"
            return Wrong(f"the picture's pixels are {kind}, whose black and white are not known", "save it with 8 bits")
        flat, changed = _flat(image, limits.background)
        if not changed and image.format != "MPO" and getattr(image, "is_animated", False):
            changed = "animated"
    if changed:
        packed = io.BytesIO()
        flat.save(packed, "PNG")
        stored, form = packed.getvalue(), "PNG"
    else:
        stored = data
    return Proved(stored, form, *flat.size, _hash(_size(flat) + flat.tobytes()), _hash(data), changed)


def _flat(image: Image.Image, background: tuple[int, int, int]) -> tuple[Image.Image, str]:
    """The first frame's RGB pixels, upright and on a background, and why a plain decoding would not give them."""
    from PIL import Image, ImageOps

    image.load()
    changed = ""
    if image.getexif().get(_ORIENTATION, 1) not in {0, 1}:
        image, changed = ImageOps.exif_transpose(image), "rotated"
    if image.mode.startswith("I;16"):
        import numpy as np

        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB"), "16-bit"
    if image.mode in {"CMYK", "LAB", "HSV", "YCbCr"}:
        return image.convert("RGB"), "cmyk" if image.mode == "CMYK" else changed
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        if alpha.tobytes().count(255) < image.width * image.height:
            under = Image.new("RGB", image.size, background)
            under.paste(image, mask=alpha)
            return under, changed or "transparent"
    return image.convert("RGB"), changed


def _too_large(width: int, height: int, limit: int) -> Wrong:
    return Wrong(
        f"the picture has {width:,} × {height:,} pixels; the limit is {limit:,}",
        "make it smaller, or raise pictures.max_pixels",
    )


def _broken(data: bytes, error: Exception) -> Wrong:
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, Image.DecompressionBombError):
        return Wrong(f"the picture has too many pixels: {error}", "make it smaller")
    if isinstance(error, UnidentifiedImageError):
        start = data[:64].lstrip()
        if start.startswith((b"<svg", b"<?xml", b"<!DOCTYPE svg")):
            return Wrong("the picture is a drawing of vectors (SVG)", "render it as PNG")
        return Wrong(
            f"not a picture of {', '.join(FORMATS)}: it begins with {shown(data[:8])}", "save it as PNG or JPEG"
        )
    says = shown(str(error) or type(error).__name__)
    short = data[:4] == b"RIFF" and len(data) < 8 + int.from_bytes(data[4:8], "little")  # WebP says how long it is
    if short or any(word in says.lower() for word in _TRUNCATED):
        return Wrong(f"the picture is cut off: {says}", "fetch it again, or take the row out")
    return Wrong(f"the picture is damaged: {says}", "fetch it again, or take the row out")


def _size(image: Image.Image) -> bytes:
    return struct.pack("<II", *image.size)


def _hash(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little", signed=True)


def squared(data: bytes, size: int) -> np.ndarray:
    """The RGB pixels of a picture that was proved, scaled into a square and centred on white: uint8 (size, size, 3)."""
    import numpy as np

    return np.asarray(square(rgb(data), size))


def square(image: Image.Image, size: int) -> Image.Image:
    """A picture of mode RGB scaled into a square of `size` pixels and centred on white; one that has this size stays."""
    from PIL import Image

    if image.size == (size, size):
        return image
    scale = size / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    under = Image.new("RGB", (size, size), (255, 255, 255))
    scaled = image.resize((width, height), Image.Resampling.BICUBIC)
    under.paste(scaled, ((size - width) // 2, (size - height) // 2))
    return under


def pixels(data: bytes) -> np.ndarray:
    """The RGB pixels of a picture that was proved: uint8 (height, width, 3)."""
    import numpy as np

    return np.asarray(rgb(data))
