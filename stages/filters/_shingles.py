"""Sets of shingles, and the exact Jaccard similarity of many pairs of them without comparing most.

A document's set is drawn as a bitmap of 1,024 bits, one for each shingle's hash. A bit that is set for A and not for B
stands for at least one shingle of A that B lacks, so |A ∩ B| ≤ min(|A| − |a & ~b|, |B| − |b & ~a|): a bound that needs no
shingles (Sandes, Teodoro, Melo, "Bitmap filter: speeding up exact set similarity joins with bitwise operations",
arXiv 1711.07295). Pairs that it leaves are compared in full.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.filters._near import BLOCK, blocks
from stages.hashing import mixed
from stages.judging import Documents, spread

_BITS = 1024
_HASH = 44  # bits kept of a shingle's hash: the rest of a uint64 numbers the document within its block
_PAIRS = 1 << 15
_BEYOND = np.uint64(0xFFFF_FFFF_FFFF_FFFF)


@dataclass(frozen=True)
class Shingles:
    """Runs of `size` words or characters, of texts in NFKC and lower case in which only letters and digits count.

    A text with fewer is one shingle; a text without any letter or digit has none.
    """

    unit: str
    size: int

    def of(self, texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """The sets of texts large_string (n,), n < 2^20: hashes uint64 (sum of sizes,) ascending in each, sizes int64 (n,)."""
        plain = pc.utf8_lower(pc.utf8_normalize(texts, form="NFKC"))
        plain = pc.utf8_trim_whitespace(pc.replace_substring_regex(plain, r"[^\pL\pM\pN]+", " "))
        units, counts = (_words if self.unit == "word" else _characters)(plain)
        end = np.repeat(np.cumsum(counts), counts)
        starts, owner = spread(np.cumsum(counts) - counts, np.maximum(counts - self.size + 1, counts > 0))
        hashed = np.zeros(len(starts), dtype=np.uint64)
        padded = np.append(units, np.zeros(self.size, dtype=np.uint64))
        for step in range(self.size):
            inside = starts + step < end[starts]
            hashed = mixed(hashed ^ np.where(inside, padded[starts + step], _BEYOND))
        packed = np.sort((owner.astype(np.uint64) << np.uint64(_HASH)) | (hashed >> np.uint64(64 - _HASH)))
        packed = packed[np.diff(packed, prepend=_BEYOND) != 0]
        sizes = np.bincount((packed >> np.uint64(_HASH)).astype(np.int64), minlength=len(counts))
        return packed & np.uint64((1 << _HASH) - 1), sizes


def _characters(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Code points uint64 of all texts, and their number in each."""
    points = np.frombuffer("".join(texts.to_pylist()).encode("utf-32-le"), dtype="<u4").astype(np.uint64)
    return points, pc.utf8_length(texts).to_numpy().astype(np.int64)


def _words(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Hashes uint64 of all words, and their number in each text.

    A word's hash is the mixed sum over its bytes of mixed(byte, place): of the word alone, so that it is the same in any part.
    """
    split = pc.split_pattern(texts, " ")
    words = split.flatten()
    counts = np.where(pc.equal(texts, "").to_numpy(zero_copy_only=False), 0, pc.list_value_length(split).to_numpy())
    words = words.filter(pc.not_equal(words, ""))
    data = np.frombuffer("".join(words.to_pylist()).encode(), dtype=np.uint8).astype(np.uint64)
    lengths = pc.binary_length(words).to_numpy().astype(np.int64)
    first = np.cumsum(lengths) - lengths
    place = (np.arange(len(data)) - np.repeat(first, lengths)).astype(np.uint64)
    summed = np.add.reduceat(mixed((place << np.uint64(8)) | data), first) if len(first) else data
    return mixed(summed), counts.astype(np.int64)


class Bitmaps:
    """Bitmaps and set sizes of a corpus, filled in for the documents that are asked for: 132 bytes a document."""

    def __init__(self, documents: int, shingles: Shingles) -> None:
        self._shingles = shingles
        self.bits = np.zeros((documents, _BITS // 64), dtype=np.uint64)
        self.sizes = np.full(documents, -1, dtype=np.int32)

    def fill(self, corpus: Documents, rows: np.ndarray) -> None:
        """Makes sure of the documents in rows (n,), ascending."""
        wanted = blocks(rows[self.sizes[rows] < 0])
        for block, texts in zip(wanted, corpus.texts(wanted), strict=True):
            hashes, sizes = self._shingles.of(texts)
            drawn = np.zeros((len(block), _BITS), dtype=bool)
            drawn[np.repeat(np.arange(len(block)), sizes), (hashes % np.uint64(_BITS)).astype(np.int64)] = True
            self.bits[block] = np.packbits(drawn, axis=1).view(np.uint64)
            self.sizes[block] = sizes

    def may_reach(self, left: np.ndarray, right: np.ndarray, threshold: float) -> np.ndarray:
        """Whether pairs of documents (p,) may have a Jaccard similarity of `threshold` at least: bool (p,)."""
        a, b = self.sizes[left].astype(np.float64), self.sizes[right].astype(np.float64)
        needed = threshold / (1 + threshold) * (a + b) - 1e-6  # |A ∩ B| where the similarity is just the threshold
        open_: np.ndarray = np.minimum(a, b) >= needed
        for start in range(0, len(left), _PAIRS):
            part = start + np.flatnonzero(open_[start : start + _PAIRS])
            x, y = self.bits[left[part]], self.bits[right[part]]
            only_x = np.bitwise_count(x & ~y).sum(axis=1, dtype=np.int64)
            only_y = np.bitwise_count(y & ~x).sum(axis=1, dtype=np.int64)
            open_[part] = np.minimum(a[part] - only_x, b[part] - only_y) >= needed[part]
        return open_


def jaccard(corpus: Documents, shingles: Shingles, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """|A ∩ B| / |A ∪ B| of pairs of documents (p,), by comparing their sets: float64 (p,). Two empty sets are equal: 1."""
    similarity = np.empty(len(left))
    rows = np.unique(np.concatenate([left, right]))
    kept: list[Any] = list(corpus.texts(blocks(rows)))
    texts = pa.concat_arrays(kept) if kept else pa.array([], pa.large_string())
    for start in range(0, len(left), BLOCK):
        part = slice(start, start + BLOCK)
        own = np.unique(np.concatenate([left[part], right[part]]))
        hashes, sizes = shingles.of(texts.take(pa.array(np.searchsorted(rows, own))))
        similarity[part] = _compare(hashes, sizes, np.searchsorted(own, left[part]), np.searchsorted(own, right[part]))
    return similarity


def _compare(hashes: np.ndarray, sizes: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The Jaccard similarity of pairs of sets (p,): float64 (p,)."""
    first = np.cumsum(sizes) - sizes
    similarity = np.empty(len(left))
    step = max(1, int(4e6 // max(int(sizes.max(initial=1)), 1)))
    for start in range(0, len(left), step):
        a, b = left[start : start + step], right[start : start + step]
        keys = []
        for side in (a, b):
            place, pair = spread(first[side], sizes[side])
            keys.append((mixed(pair.astype(np.uint64)) ^ hashes[place], pair))
        common = np.isin(mixed(keys[0][0]), mixed(keys[1][0]))
        shared = np.bincount(keys[0][1][common], minlength=len(a))
        union = sizes[a] + sizes[b] - shared
        similarity[start : start + step] = np.where(union > 0, shared / np.maximum(union, 1), 1.0)
    return similarity
