"""Pairs of a picture and its caption, for formats of pictures: which pairs there are, and their files."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.errors import ArtefactError
from stages.exporters._common import BATCH, Row, Texts, id_fields, whole_groups
from stages.imaging import LARGEST, Proved, png, prove
from stages.pictures import Album
from stages.spec import Source

IDS = id_fields(
    "query_id", "positive_id", "negative_ids", "query_row", "positive_row", "negative_rows",
    "positive_score", "negative_scores", "ranks",
    many=("negative_ids", "negative_rows", "negative_scores", "ranks"),
)  # fmt: skip
SUFFIX = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}
"""What the trainers of these formats look for; other pictures are written as PNG of the same pixels."""
ATTRIBUTION = "ATTRIBUTION.txt"


class Pair(NamedTuple):
    """A query and one of its positives."""

    picture: int  # row in pictures
    caption: str  # of the text among the two; beside two pictures, what is known of them, which may be nothing
    ids: dict[str, Any]  # its row of `ids.parquet`


def pairs(triplets: Source, texts: Texts, left_out: Counter[str], two_pictures: bool) -> Iterator[list[Pair]]:
    """The pairs of the triplets in their order, in batches. One of two pictures is left out and counted, unless it is asked for."""
    for table, bounds in whole_groups(triplets, ("query_row", "positive_row")):
        firsts = table.take(bounds[:-1])
        query, positive = (firsts.column(f"{kind}_row").to_numpy() for kind in ("query", "positive"))
        asked, found = texts.query_pictures.take(pa.array(query)), texts.doc_pictures.take(pa.array(positive))
        captions = [
            (texts.queries if picture is not None else texts.docs)[int(row)].as_py()
            for picture, row in zip(found.to_pylist(), np.where(found.is_valid(), query, positive), strict=True)
        ]
        names = texts.query_ids.take(pa.array(query)).to_pylist(), texts.doc_ids.take(pa.array(positive)).to_pylist()
        negatives = table.column("negative_row").to_numpy()
        negative_ids = texts.doc_ids.take(pa.array(negatives)).to_pylist()
        scores, ranks = table.column("negative_score").to_pylist(), table.column("rank").to_pylist()
        kept = []
        for i, (start, stop) in enumerate(pairwise(bounds)):
            one, other = asked[i].as_py(), found[i].as_py()
            if (one is None) == (other is None) and not (two_pictures and one is not None):
                left_out["pairs_of_two_texts" if one is None else "pairs_of_two_pictures"] += 1
                left_out["negatives_of_pairs_left_out"] += int(stop - start)
                continue
            ids = {
                "query_id": names[0][i], "positive_id": names[1][i], "negative_ids": negative_ids[start:stop],
                "query_row": int(query[i]), "positive_row": int(positive[i]),
                "negative_rows": negatives[start:stop].tolist(),
                "positive_score": firsts.column("positive_score")[i].as_py(),
                "negative_scores": scores[start:stop], "ranks": ranks[start:stop],
            }  # fmt: skip
            kept.append(Pair(one if one is not None else other, captions[i], ids))
        yield kept


def picture_rows(triplets: Source, texts: Texts) -> np.ndarray:
    """Rows of the pictures of all queries and positives, ascending: int64 (n,)."""
    seen = [np.empty(0, np.int64)]
    for batch in triplets.batches(["query_row", "positive_row"]):
        for name, column in (("query_row", texts.query_pictures), ("positive_row", texts.doc_pictures)):
            seen.append(column.take(batch.column(name)).drop_null().to_numpy().astype(np.int64))
        seen = [np.unique(np.concatenate(seen))]
    return seen[0]


@contextmanager
def album(texts: Texts, rows: np.ndarray) -> Iterator[Album]:
    """These pictures at random, from a temporary file that is as large as they are."""
    with tempfile.TemporaryDirectory() as folder:
        yield Album.store(texts.more["pictures"], rows, Path(folder) / "pictures.arrow")


def as_file(data: bytes, escaped: Counter[str]) -> tuple[bytes, str]:
    """The bytes that a trainer reads, and their suffix."""
    suffix = _suffix(data)
    if suffix is None:
        escaped["pictures_written_as_png"] += 1
        return png(data), "png"
    return data, suffix


def _suffix(data: bytes) -> str | None:
    for start, form in ((b"\x89PNG", "PNG"), (b"\xff\xd8", "JPEG"), (b"RIFF", "WEBP")):
        if data.startswith(start):
            return SUFFIX[form]
    return None


def attributed(texts: Texts, folder: Path) -> tuple[str, ...]:
    """Writes whose pictures these are, where their licence asks for it."""
    if not texts.attribution:
        return ()
    (folder / ATTRIBUTION).write_text(texts.attribution + "\n", encoding="utf-8")
    return (ATTRIBUTION,)


def seen(caption: str, data: bytes) -> Row:
    """A pair as it was read back: its caption, and the hash of the picture's pixels. Raises ArtefactError."""
    found = prove(data, LARGEST)
    if not isinstance(found, Proved):
        raise ArtefactError("a picture of an export cannot be decoded", got=found.reason, try_="hardrock export again")
    return Row(caption, (str(found.pixels),))


def wanted(texts: Texts, folder: Path, caption: Any) -> Iterator[Row]:
    """What `ids.parquet` calls for, as `seen` gives it; `caption` makes a text into what the format holds."""
    hashes = pixels_of(texts)
    for batch in pq.ParquetFile(folder / "ids.parquet").iter_batches(BATCH):
        for row in batch.to_pylist():
            one, other = texts.query_pictures[row["query_row"]].as_py(), texts.doc_pictures[row["positive_row"]].as_py()
            text = texts.docs[row["positive_row"]] if other is None else texts.queries[row["query_row"]]
            yield Row(caption(text.as_py()), (str(hashes[one if one is not None else other].as_py()),))


def pixels_of(texts: Texts) -> pa.Array:
    """The hash of the pixels of every picture, by its row."""
    return texts.more["pictures"].read(["pixels"]).column("pixels").combine_chunks()


def described(ids: Mapping[str, Any]) -> dict[str, Any]:
    """What stands beside a pair: its ids, and those of its negatives."""
    return {name: ids[name] for name in ("query_id", "positive_id", "negative_ids")}
