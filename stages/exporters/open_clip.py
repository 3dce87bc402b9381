"""open_clip, as its CsvDataset reads it: `data/train.tsv` with the columns `filepath` and `title`, and the pictures in `images/`

Start it in the target's folder: paths are relative to it. The format has no column of negatives: they are in `ids.parquet`.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from stages.exporters._common import Row, RowGroups, Summary, Texts, export
from stages.exporters._pictured import IDS, Pair, as_file, attributed, pairs, picture_rows, seen, wanted
from stages.exporters._tsv import escape, shown
from stages.pictures import images
from stages.registry import Member
from stages.spec import Source

CHECKED = {"open_clip_torch": "3.3.0"}
LOADER = "csv"
FILE = "data/train.tsv"


class OpenClip(Member):
    """Lines of a picture's file and its caption, one for each query and positive, of which one is a picture and one a text."""

    takes: ClassVar[str] = "pictures with captions"

    def write(self, triplets: Source, texts: Texts, folder: Path) -> Summary:
        """Writes the target into the new `folder`. Raises InputError for a text that no trainer takes, YieldError for no rows."""
        escaped: Counter[str] = Counter()

        def write(left_out: Counter[str]) -> tuple[int, tuple[str, ...]]:
            (folder / "data").mkdir()
            names = _pictures(triplets, texts, folder, escaped)
            rows = 0
            with (folder / FILE).open("wb") as file, RowGroups(folder / "ids.parquet", IDS) as sidecar:
                file.write(b"filepath\ttitle\n")
                for batch in pairs(triplets, texts, left_out, two_pictures=False):
                    for pair in batch:
                        file.write(_line(pair, names, escaped))
                    sidecar.write(pa.Table.from_pylist([pair.ids for pair in batch], schema=IDS))
                    rows += len(batch)
            return rows, (FILE, *names.values(), *attributed(texts, folder))

        return export(self, CHECKED, folder, triplets, write, escaped)

    def load(self, folder: Path) -> Iterator[Row]:
        """Every line, with its picture decoded."""
        with (folder / FILE).open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                yield seen(row["title"], (folder / row["filepath"]).read_bytes())

    def wanted(self, texts: Texts, folder: Path) -> Iterator[Row]:
        """The lines that `ids.parquet` calls for."""
        return wanted(texts, folder, _shown)


def _pictures(triplets: Source, texts: Texts, folder: Path, escaped: Counter[str]) -> dict[int, str]:
    """Writes every picture once; their names by row."""
    names: dict[int, str] = {}
    for rows, contents in images(texts.more["pictures"], picture_rows(triplets, texts)):
        for row, content in zip(rows.tolist(), contents, strict=True):
            data, suffix = as_file(content, escaped)
            names[row] = f"images/{row // 1000:05d}/{row:08d}.{suffix}"
            path = folder / names[row]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return names


def _line(pair: Pair, names: dict[int, str], escaped: Counter[str]) -> bytes:
    escaped["quotes_in_texts"] += pair.caption.count('"')
    return f"{names[pair.picture]}\t{escape(pair.caption, escaped).replace(chr(34), chr(39))}\n".encode()


def _shown(caption: str) -> str:
    """A caption as the loader sees it: pandas takes quotes for its own, so they are single ones."""
    return shown(caption).replace('"', "'")
