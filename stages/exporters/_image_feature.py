"""Parquet columns that `datasets` and the Hugging Face Hub take for pictures: the feature Image, said in the schema's metadata."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from stages.exporters._common import Texts
from stages.exporters._pictured import as_file
from stages.pictures import Album

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def features(**columns: str) -> pa.Schema:
    """A schema of columns that are each an Image or a string."""
    fields = [(name, IMAGE if kind == "Image" else pa.string()) for name, kind in columns.items()]
    said = {
        name: {"_type": "Image"} if kind == "Image" else {"dtype": kind, "_type": "Value"}
        for name, kind in columns.items()
    }
    return pa.schema(fields, {"huggingface": json.dumps({"info": {"features": said}})})


def cell(data: bytes, escaped: Counter[str]) -> dict[str, Any]:
    """A picture as a cell of such a column."""
    return {"bytes": as_file(data, escaped)[0], "path": None}


def corpus(held: Album, texts: Texts, schema: pa.Schema, rows: int, escaped: Counter[str]) -> Iterator[pa.Table]:
    """Every document by its id, a picture or a text, in tables of at most `rows`."""
    for start in range(0, len(texts.docs), rows):
        taken = pa.array(np.arange(start, min(start + rows, len(texts.docs))))
        columns = (column.take(taken).to_pylist() for column in (texts.doc_ids, texts.doc_pictures, texts.docs))
        found = [
            {"_id": name, "image": None if picture is None else cell(held[picture], escaped), "text": text}
            for name, picture, text in zip(*columns, strict=True)
        ]
        yield pa.Table.from_pylist(found, schema=schema)
