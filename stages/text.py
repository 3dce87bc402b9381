"""When two texts count as the same."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np


def normalise(text: str) -> str:
    """NFKC, case folded, every run of white space one blank, none at the ends."""
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).split())


def text_hash(text: str) -> int:
    """A 64-bit hash of the normalised text, the same on every machine. Equal texts in the sense of `normalise` are equal."""
    return int.from_bytes(blake2b(normalise(text).encode(), digest_size=8).digest(), "little", signed=True)


def text_hashes(texts: Iterable[str]) -> np.ndarray:
    """`text_hash` of each text: int64 (n,)."""
    return np.fromiter((text_hash(text) for text in texts), dtype=np.int64)


def join_title(title: str | None, text: str) -> str:
    """What is encoded of a document: the title, where there is one, a blank and the text."""
    return f"{title} {text}" if title and title.strip() else text
