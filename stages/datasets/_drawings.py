"""Drawings of vectors (SVG) as pictures."""

from __future__ import annotations

import io
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from stages.errors import ResourceError
from stages.imaging import square
from stages.records import Picture

_INSTALL = "pip install resvg-py==0.5.0"
_SVG_BYTES = 4 << 20


def drawing(source: Path | str, size: int, name: str) -> Picture:
    """A picture that is rendered when it is asked for, by whichever process: a square of `size` pixels, on white.

    The source is a file or SVG itself.
    """
    return Picture(partial(_rendered, source, size), name)


def check_renderer() -> None:
    """Raises ResourceError where drawings cannot be rendered."""
    if find_spec("resvg_py") is None:
        raise ResourceError("the package resvg-py is not installed, which renders SVG", try_=_INSTALL)


def _rendered(source: Path | str, size: int, most: int) -> bytes:
    from PIL import Image
    from resvg_py import svg_to_bytes

    if (len(source) if isinstance(source, str) else source.stat().st_size) > _SVG_BYTES:
        raise OSError(f"more than {_SVG_BYTES:,} bytes of SVG")
    try:
        text = source if isinstance(source, str) else source.read_text(encoding="utf-8")
        found = svg_to_bytes(svg_string=text, width=size, background="#ffffff", skip_system_fonts=True)
        with Image.open(io.BytesIO(found)) as image:
            if image.height > size:  # a high one is scaled by its height
                found = svg_to_bytes(svg_string=text, height=size, background="#ffffff", skip_system_fonts=True)
    except ValueError as error:
        raise OSError(f"SVG that cannot be rendered: {error}") from None
    packed = io.BytesIO()
    with Image.open(io.BytesIO(found)) as image:
        square(image.convert("RGB"), size).save(packed, "PNG")
    return packed.getvalue()
