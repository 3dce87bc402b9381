"""open_clip, as its CsvDataset reads it: `data/train.tsv` with the columns `filepath` and `title`, and the pictures in `images/`

Start it in the target's folder: paths are relative to it. The format has no column of negatives: they are in `ids.parquet`.
Its loader reads with pandas, which takes `NA` and `null` for missing and `0001` for 1: a pair with such a caption is left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from stages.exporters._common import Row, Summary, Texts, export
from stages.exporters._parquet import id_rows
from stages.exporters._pictured import IDS, Pair, as_file, attributed, pairs, picture_rows, seen, wanted
from stages.exporters._tsv import escape, shown
from stages.pictures import images
from stages.registry import Member
from stages.spec import Source

CHECKED = {"open_clip_torch": "3.3.0"}
LOADER = "pandas"
FILE = "data/train.tsv"
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}|True|False", re.ASCII)  # what pandas shows again as it was
_TYPED = re.compile(
    r"|#?N/?A|#N/A N/A|<NA>|NULL|null|None|n/a|-?(nan|NaN)|-?1\.#(IND|QNAN)"  # missing
    r"|(?i:true|false|[+-]?inf(inity)?|[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]*)?)",  # truth values and numbers
    re.ASCII,
)


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
            with (folder / FILE).open("wb") as file, id_rows(folder, IDS) as sidecar:
                file.write(b"filepath\ttitle\n")
                for batch in pairs(triplets, texts, left_out, two_pictures=False):
                    kept = [pair for pair in batch if _kept(pair, left_out)]
                    for pair in kept:
                        file.write(_line(pair, names, escaped))
                    sidecar.write(pa.Table.from_pylist([pair.ids for pair in kept], schema=IDS))
                    rows += len(kept)
            return rows, (FILE, *names.values(), *attributed(texts, folder))

        return export(self, CHECKED, folder, triplets, write, escaped)

    def load(self, folder: Path) -> Iterator[Row]:
        """Every line as its data set makes it with pandas, with its picture decoded."""
        import pandas as pd

        table = pd.read_csv(folder / FILE, sep="\t")
        for path, title in zip(table["filepath"].tolist(), table["title"].tolist(), strict=True):
            yield seen(str(title), (folder / path).read_bytes())

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


def _kept(pair: Pair, left_out: Counter[str]) -> bool:
    """Whether its loader keeps the caption as it is."""
    caption = _shown(pair.caption)
    if not _TYPED.fullmatch(caption) or _WHOLE.fullmatch(caption):
        return True
    left_out["pairs_with_a_caption_that_pandas_changes"] += 1
    left_out["negatives_of_pairs_left_out"] += len(pair.ids["negative_rows"])
    return False


def _line(pair: Pair, names: dict[int, str], escaped: Counter[str]) -> bytes:
    escaped["quotes_in_texts"] += pair.caption.count('"')
    return f"{names[pair.picture]}\t{escape(pair.caption, escaped).replace(chr(34), chr(39))}\n".encode()


def _shown(caption: str) -> str:
    """A caption as the loader sees it: pandas takes quotes for its own, so they are single ones."""
    return shown(caption).replace('"', "'")
