"""A Hugging Face data set of pictures: a folder to upload as it is, with a card, and Parquet whose pictures have the feature Image.

`pairs` is the default, a picture and its caption for each query and positive; `hard_negatives` names in the same order the ids of
both and of the negatives; `corpus` has every document by its id, a picture or a text. Row groups hold a hundred rows, so that
the viewer shows a page without reading much more.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from stages.exporters._card import card, keys
from stages.exporters._common import Row, Summary, Texts, export
from stages.exporters._image_feature import cell, corpus, features
from stages.exporters._parquet import Split, id_rows
from stages.exporters._pictured import IDS, album, attributed, pairs, picture_rows, pixels_of, seen, wanted
from stages.exporters._rows import loaded
from stages.registry import Member
from stages.spec import Source

CHECKED = {"datasets": "5.2.0"}
LOADER = "datasets"
PAIRS = features(image="Image", caption="string")
CORPUS = features(_id="string", image="Image", text="string")
NEGATIVES = pa.schema(
    [("query_id", pa.string()), ("positive_id", pa.string()), ("negative_ids", pa.list_(pa.string()))]
)
GROUP = 100  # rows


class HfPictures(Member):
    """A folder for the Hub; its rows are pairs, of two pictures the query's with what is known of it."""

    takes: ClassVar[str] = "pictures"
    title: str = Field(
        "Pictures with hard negatives", min_length=1, description="heading and `pretty_name` of the card"
    )
    language: str = Field("", description="language code in the card, such as en; empty for none")
    license: str = Field("", description="license identifier in the card, such as cc-by-sa-4.0; empty for none")
    rows_per_file: int = Field(10_000, ge=1, description="rows of one Parquet file")

    def write(self, triplets: Source, texts: Texts, folder: Path) -> Summary:
        """Writes the target into the new `folder`. Raises YieldError for no rows."""
        escaped: Counter[str] = Counter()

        def write(left_out: Counter[str]) -> tuple[int, tuple[str, ...]]:
            data = Split(folder, PAIRS, self.rows_per_file, group=GROUP)
            named = Split(folder, NEGATIVES, 1_000_000, "hard_negatives/train")
            with album(texts, picture_rows(triplets, texts)) as held, id_rows(folder, IDS) as sidecar:
                for batch in pairs(triplets, texts, left_out, two_pictures=True):
                    for start in range(0, len(batch), GROUP):
                        some = batch[start : start + GROUP]
                        rows = [{"image": cell(held[p.picture], escaped), "caption": p.caption} for p in some]
                        data.write(pa.Table.from_pylist(rows, schema=PAIRS))
                    ids = pa.Table.from_pylist([pair.ids for pair in batch], schema=IDS)
                    named.write(ids.select(NEGATIVES.names).cast(NEGATIVES))
                    sidecar.write(ids)
            if not data.rows:
                return 0, ()
            documents = Split(folder, CORPUS, self.rows_per_file, "corpus/corpus", GROUP)
            with album(texts, np.unique(texts.doc_pictures.drop_null())) as held:
                for table in corpus(held, texts, CORPUS, GROUP, escaped):
                    documents.write(table)
            names = (*data.close(), *named.close(), *documents.close(), "README.md", *attributed(texts, folder))
            (folder / "README.md").write_text(self._card(data.rows), "utf-8")
            return data.rows, names

        return export(self, CHECKED, folder, triplets, write, escaped)

    def _card(self, rows: int) -> str:
        configs = {
            "pairs": {"train": "data/train-*.parquet"},
            "hard_negatives": {"train": "hard_negatives/train-*.parquet"},
            "corpus": {"corpus": "corpus/corpus-*.parquet"},
        }
        tasks, tags = ("image-to-text", "zero-shot-image-classification"), ("image-text-retrieval", "hard-negatives")
        load = 'load_dataset("FOLDER", "pairs", split="train")'
        says = f"# {self.title}\n\n{rows:,} pairs with mined hard negatives, made with Hardrock.\n\n    {load}"
        return card(
            configs,
            says,
            "pairs",
            **keys(self.title, rows, language=self.language, license=self.license, tasks=tasks, tags=tags),
        )

    def load(self, folder: Path) -> Iterator[Row]:
        """Every pair, then every document, as `datasets` decodes them."""
        for row in loaded("parquet", *sorted((folder / "data").glob("*.parquet"))):
            yield seen(row["caption"], _png(row["image"]))
        for row in loaded("parquet", *sorted((folder / "corpus").glob("*.parquet"))):
            picture = None if row["image"] is None else seen("", _png(row["image"])).positives[0]
            yield Row(row["_id"], (picture or "",), (row["text"],))

    def wanted(self, texts: Texts, folder: Path) -> Iterator[Row]:
        """The pairs that `ids.parquet` calls for, then the documents."""
        yield from wanted(texts, folder, str)
        hashes = pixels_of(texts)
        for rows in texts.corpus():
            taken = pa.array(rows)
            columns = (column.take(taken).to_pylist() for column in (texts.doc_ids, texts.doc_pictures, texts.docs))
            for name, picture, text in zip(*columns, strict=True):
                yield Row(name, ("" if picture is None else str(hashes[picture].as_py()),), (text,))


def _png(image: Any) -> bytes:
    held = io.BytesIO()
    image.convert("RGB").save(held, "PNG")
    return held.getvalue()
