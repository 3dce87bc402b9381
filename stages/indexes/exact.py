"""Every query against every document, proven exact: a cheap product finds candidates, float64 settles them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Literal

import numpy as np

from stages.errors import ArtefactError, ResourceError
from stages.indexes._join import Join
from stages.registry import Member
from stages.settings import speed


class Exact(Member):
    """An exact join. The file holds the float32 vectors (NumPy's .npy) and is mapped, not read: 4 bytes a value on disk.

    The candidates come from 8-bit, bfloat16 or float32 products, whichever is sound and fastest here (see _choose).
    """

    kernel: Literal["auto", "int8", "bf16", "fp32"] = speed(
        "auto", "type of the products; auto measures once, and the result is the same with each"
    )
    device: Literal["auto", "cpu", "cuda"] = speed("auto", "where the products are made; auto is a GPU if there is one")
    memory: int = speed(512, "MiB for the working blocks of a search; below 128 it gets slower", ge=16)

    @property
    def exact(self) -> bool:
        """The k best are always found."""
        return True

    def build(self, vectors: Iterable[np.ndarray], rows: int, dimensions: int) -> Join:
        """A join over blocks of float32 (n, d), which go to a temporary file."""
        with tempfile.NamedTemporaryFile(suffix=".npy") as file:
            _write(vectors, file, rows, dimensions)
            file.flush()
            return self._open(Path(file.name), rows, dimensions)

    def save(self, built: Join, path: Path) -> None:
        """Writes what `build` gave."""
        with path.open("wb") as file:
            _write(
                (built.vectors[a : a + 8192] for a in range(0, len(built.vectors), 8192)), file, *built.vectors.shape
            )

    def load(self, path: Path, rows: int, dimensions: int) -> Join:
        """Maps what `save` wrote. Raises ArtefactError when it is missing, cut short or of another shape."""
        if not path.is_file():
            raise ArtefactError("the index is not there", where=str(path), try_="run the index stage")
        return self._open(path, rows, dimensions)

    def _open(self, path: Path, rows: int, dimensions: int) -> Join:
        try:
            vectors = np.load(path, mmap_mode="c", allow_pickle=False)
            whole = path.stat().st_size == vectors.offset + vectors.nbytes
        except (ValueError, EOFError, OSError, AttributeError) as error:
            raise _damaged(path, str(error).splitlines()[0]) from None
        if vectors.shape != (rows, dimensions):
            raise ArtefactError(
                "the index does not belong to these vectors",
                where=str(path),
                got=f"shape {vectors.shape}, expected {rows} vectors of {dimensions} values",
                try_="run the index stage again",
            )
        if vectors.dtype != np.dtype("<f4") or not vectors.flags.c_contiguous or not whole:
            raise _damaged(path, f"type {vectors.dtype}, {path.stat().st_size} bytes")
        return Join(np.asarray(vectors), self.kernel, self._place(), self.memory)

    def _place(self) -> str:
        import torch

        if self.device == "cuda" and not torch.cuda.is_available():
            raise ResourceError("there is no CUDA device", where="index.kind.device", try_='device = "auto"')
        return "cuda" if self.device != "cpu" and torch.cuda.is_available() else "cpu"


def _damaged(path: Path, got: str) -> ArtefactError:
    return ArtefactError("the index cannot be read", where=str(path), got=got, try_="run the index stage again")


def _write(blocks: Iterable[np.ndarray], file: IO[bytes], rows: int, dimensions: int) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, dimensions)}
    np.lib.format.write_array_header_1_0(file, header)
    for block in blocks:
        file.write(np.ascontiguousarray(block, dtype="<f4").data)
