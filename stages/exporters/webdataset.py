"""WebDataset, as open_clip reads it: tars of a picture, its caption in `.txt` and its ids with those of its negatives in `.json`

`data/00000.tar` and those after it, and `data/sizes.json` with the number of samples in each. Pictures without a caption, as
for SimCLR, have no `.txt`.
"""

from __future__ import annotations

import importlib
import io
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field

from stages.exporters._common import Row, Summary, Texts, dumps, export
from stages.exporters._parquet import id_rows
from stages.exporters._pictured import (
    IDS,
    SUFFIX,
    Pair,
    album,
    as_file,
    attributed,
    described,
    pairs,
    picture_rows,
    seen,
    wanted,
)  # fmt: skip
from stages.registry import Member
from stages.spec import Source

CHECKED = {"webdataset": "1.0.2"}
LOADER = "webdataset"


class Webdataset(Member):
    """Samples of a picture and a caption, one for each query and positive; of two pictures, the query's."""

    takes: ClassVar[str] = "pictures"
    samples_per_tar: int = Field(10_000, ge=1, description="samples of a tar; a reader takes whole tars")

    def write(self, triplets: Source, texts: Texts, folder: Path) -> Summary:
        """Writes the target into the new `folder`. Raises YieldError for no rows."""
        escaped: Counter[str] = Counter()

        def write(left_out: Counter[str]) -> tuple[int, tuple[str, ...]]:
            (folder / "data").mkdir()
            tars = _Tars(folder / "data", self.samples_per_tar)
            with album(texts, picture_rows(triplets, texts)) as held, id_rows(folder, IDS) as sidecar:
                for batch in pairs(triplets, texts, left_out, two_pictures=True):
                    for pair in batch:
                        tars.add(pair, *as_file(held[pair.picture], escaped))
                    sidecar.write(pa.Table.from_pylist([pair.ids for pair in batch], schema=IDS))
            sizes = tars.close()
            (folder / "data/sizes.json").write_text(dumps(sizes, indent=2) + "\n", encoding="utf-8")
            names = [f"data/{name}" for name in (*sizes, "sizes.json")]
            return sum(sizes.values()), (*names, *attributed(texts, folder))

        return export(self, CHECKED, folder, triplets, write, escaped)

    def load(self, folder: Path) -> Iterator[Row]:
        """Every sample as the package reads it, with its picture decoded."""
        package: Any = importlib.import_module(LOADER)
        tars = [str(path) for path in sorted((folder / "data").glob("*.tar"))]
        for sample in package.WebDataset(tars, shardshuffle=False, empty_check=False):
            data = next(sample[suffix] for suffix in SUFFIX.values() if suffix in sample)
            yield seen(sample.get("txt", b"").decode(), data)

    def wanted(self, texts: Texts, folder: Path) -> Iterator[Row]:
        """The samples that `ids.parquet` calls for."""
        return wanted(texts, folder, str)


class _Tars:
    """Tars whose bytes hang on their samples alone."""

    def __init__(self, folder: Path, samples: int) -> None:
        self._folder, self._most = folder, samples
        self._sizes: dict[str, int] = {}
        self._tar: tarfile.TarFile | None = None
        self._count = 0

    def add(self, pair: Pair, data: bytes, suffix: str) -> None:
        """The next sample. Its key has no dot, at which readers would cut it."""
        if self._tar is None or self._count % self._most == 0:
            self._end()
            name = f"{len(self._sizes):05d}.tar"
            self._tar = tarfile.open(self._folder / name, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
            self._sizes[name] = 0
        key = f"{self._count:09d}"
        self._file(f"{key}.{suffix}", data)
        if pair.caption.strip():
            self._file(f"{key}.txt", pair.caption.encode())
        self._file(f"{key}.json", dumps(described(pair.ids)).encode())
        self._count += 1
        self._sizes[next(reversed(self._sizes))] += 1

    def _file(self, name: str, content: bytes) -> None:
        assert self._tar is not None
        info = tarfile.TarInfo(name)
        info.size = len(content)
        self._tar.addfile(info, io.BytesIO(content))

    def close(self) -> dict[str, int]:
        """The samples of each tar, by its name."""
        self._end()
        return self._sizes

    def _end(self) -> None:
        if self._tar is not None:
            self._tar.close()
            self._tar = None
