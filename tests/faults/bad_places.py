"""What stands where a file of a data set belongs and is none: pipes, devices, links to nowhere, and files of another kind."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import socket
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.seeds import FILE, SEEDS
from tests.stages.data import CORPUS

Make = Callable[[Path], object]


def _socket(path: Path) -> None:
    here = os.open(path.parent, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"/proc/self/fd/{here}/{path.name}")  # a path of a socket has 108 bytes at most
    os.close(here)


def _two_links(path: Path) -> None:
    other = path.with_name("other")
    path.symlink_to(other)
    other.symlink_to(path)


PLACES: dict[str, tuple[Make, str]] = {
    "a folder": (Path.mkdir, "a folder"),
    "a pipe": (os.mkfifo, "a pipe"),
    "a socket": (_socket, "a socket"),
    "an endless device": (lambda path: path.symlink_to("/dev/zero"), "a device"),
    "an empty device": (lambda path: path.symlink_to("/dev/null"), "a device"),
    "a link to itself": (lambda path: path.symlink_to(path.name), "symbolic links"),
    "two links in a ring": (_two_links, "symbolic links"),
    "a link to nowhere": (lambda path: path.symlink_to("/nowhere/at/all"), "No such file"),
}
"""How to put it there, and what the message calls it."""

READERS = {
    name: SEEDS[name][0] for name in ("beir", "pairs", "flagembedding", "tevatron", "dpr", "corpus", "trec", "mteb")
}
READERS["msmarco"] = SEEDS["msmarco"][2]
"""A small valid data set for each, of which every file is read."""


def members(reader: str) -> tuple[list[str], str | None]:
    """The names of the files of its data set, and the one that is named by the configuration."""
    files, fields = READERS[reader]
    return sorted(files), fields.get(FILE)


def _zip(content: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("corpus.jsonl", content)
    return sink.getvalue()


def _tar(content: bytes) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        info = tarfile.TarInfo("corpus.jsonl")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return sink.getvalue()


PACKED: dict[str, tuple[bytes, str]] = {
    "gzip in gzip": (gzip.compress(gzip.compress(CORPUS)), "packed with gzip twice"),
    "zip": (_zip(CORPUS), "a zip archive"),
    "zip in gzip": (gzip.compress(_zip(CORPUS)), "a zip archive"),
    "bzip2": (bz2.compress(CORPUS), "packed with bzip2"),
    "xz": (lzma.compress(CORPUS), "packed with xz"),
    "zstd": (b"\x28\xb5\x2f\xfd\x04\x00" + CORPUS, "packed with zstd"),
    "tar": (_tar(CORPUS), "a tar archive"),
    "tar in gzip": (gzip.compress(_tar(CORPUS)), "a tar archive"),
    "UTF-16": (CORPUS.decode().encode("utf-16"), "UTF-16"),
    "UTF-32": (CORPUS.decode().encode("utf-32"), "UTF-16"),
}
"""A corpus that is packed in another way than gzip, and what the message calls it."""
