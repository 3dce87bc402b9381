"""Every query against every document, proven exact: a cheap product finds candidates, float64 settles them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import numpy as np

from stages.errors import ArtefactError, ResourceError
from stages.indexes._join import Join
from stages.registry import Member
from stages.settings import speed


@dataclass
class Built(Join):
    """A join that is not saved yet."""

    nameless: IO[bytes] | None = None
    """The file of its vectors, which has no name, so that nothing is left behind whatever happens; saving gives it one."""


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

    def build(self, vectors: Iterable[np.ndarray], rows: int, dimensions: int) -> Built:
        """A join over blocks of float32 (n, d), which go to a temporary file."""
        file, path = _temporary()
        _write(vectors, file, rows, dimensions)
        file.flush()
        join = self._open(path, rows, dimensions)
        nameless = file if isinstance(file.name, int) else None
        return Built(join.vectors, self.kernel, join.device, self.memory, nameless=nameless)

    def save(self, built: Built, path: Path) -> None:
        """Writes what `build` gave, or names the file it is in already, where that is on the same file system."""
        file, built.nameless = built.nameless, None
        if file is not None:
            with suppress(OSError):
                # The link in /proc is followed only where a descriptor is given, which an absolute path does without.
                os.link(_descriptor(file), path, src_dir_fd=file.fileno(), follow_symlinks=True)
                return
        with path.open("wb") as copy:
            _write(
                (built.vectors[a : a + 8192] for a in range(0, len(built.vectors), 8192)), copy, *built.vectors.shape
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


def _descriptor(file: IO[bytes]) -> Path:
    return Path(f"/proc/self/fd/{file.fileno()}")


def _temporary() -> tuple[IO[bytes], Path]:
    """A file that goes when it is closed, and where it can be read: without a name, and with a number for one, where possible."""
    with suppress(AttributeError, OSError):
        file = os.fdopen(os.open(tempfile.gettempdir(), os.O_TMPFILE | os.O_RDWR, 0o666), "w+b")
        if _descriptor(file).is_file():
            return file, _descriptor(file)
    named = tempfile.NamedTemporaryFile(suffix=".npy")  # noqa: SIM115
    return named, Path(named.name)


def _damaged(path: Path, got: str) -> ArtefactError:
    return ArtefactError("the index cannot be read", where=str(path), got=got, try_="run the index stage again")


def _write(blocks: Iterable[np.ndarray], file: IO[bytes], rows: int, dimensions: int) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, dimensions)}
    np.lib.format.write_array_header_1_0(file, header)
    for block in blocks:
        file.write(np.ascontiguousarray(block, dtype="<f4").data)
