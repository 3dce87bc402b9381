"""DPR's JSON: an array, or one object a line, read as a stream.

    {"question": "…", "positive_ctxs": [{"title"?, "text", "passage_id" or "psg_id"?}], "negative_ctxs"?, "hard_negative_ctxs"?}

Negatives, random and hard, are documents judged not relevant. A question without any positive stays, and is counted by ingest.
`answers` and scores are not read. With `corpus`, a file such as psgs_w100.tsv (id, text, title, with a header), its passages are
the corpus, and contexts that it does not have by id are added.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from pydantic import Field

from stages.datasets._examples import Columns, Examples
from stages.datasets._guess import Guess
from stages.datasets._helpers import File, digest
from stages.datasets._tables import files_at, first_row, rows
from stages.errors import HardrockError, InputError
from stages.records import Document, Fault, Note
from stages.settings import speed

SUFFIXES = (".json", ".jsonl")


class Dpr(Examples):
    """Questions with their contexts."""

    path: str = speed(..., "A file, or a folder of files: .json or .jsonl. Its content is part of a result's identity.")
    corpus: str | None = Field(
        None, description="File of all passages in the same folder; null takes the contexts alone."
    )

    @cached_property
    def files(self) -> list[File]:
        return files_at(self.path, SUFFIXES)

    @property
    def columns(self) -> Columns:
        return Columns("question", "positive_ctxs", ("negative_ctxs", "hard_negative_ctxs"), nested=True, sparse=True)

    def known_columns(self, file: File) -> list[str]:
        """Each row is checked by itself."""
        return list(self.columns.needed)

    @cached_property
    def _corpus(self) -> list[File]:
        if self.corpus is None:
            return []
        folder = Path(self.path) if Path(self.path).is_dir() else Path(self.path).parent
        if (folder / self.corpus).is_file():
            return [File(self.corpus, folder / self.corpus)]
        raise InputError("the file of passages is not there", where=str(folder / self.corpus), try_="check corpus")

    def fingerprint(self) -> str:
        """A sha256 over the bytes of the files."""
        return digest([*self.files, *self._corpus])

    def locate(self, file: str) -> str:
        return next((str(f.path) for f in (*self.files, *self._corpus) if f.name == file), file)

    def documents(self) -> Iterator[Document | Fault | Note]:
        seen: set[str] = set()
        for file in self._corpus:
            for item in rows(file, ("id", "text", "title")):
                if isinstance(item, Fault):
                    yield item
                elif lacks := [name for name in ("id", "text") if name not in item[1]]:
                    raise InputError(f"the passages have no column {lacks[0]!r}", where=f"{file.path} line 1, the header",
                                     try_="a header line with id, text and title")  # fmt: skip
                else:
                    line, row = item
                    seen.add(row["id"])
                    yield Document(file.name, line, row["id"], row["text"], row.get("title"))
        for found in super().documents():
            if not (isinstance(found, Document) and found.id in seen):
                yield found


def recognise(place: str) -> Guess | None:
    """JSON with question and positive_ctxs."""
    if not Path(place).exists():
        return None
    try:
        row = first_row(files_at(place, SUFFIXES)[0])
    except HardrockError:
        return None
    if "question" not in row or not any(key.endswith("_ctxs") for key in row):
        return None
    return Guess(65, {"path": place}, ("its first row has question and contexts",))
