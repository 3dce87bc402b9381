"""How queries are made from documents alone: the contract between a corpus, its views, and the models that write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from stages.spec import Context


class Passage(NamedTuple):
    """A document as a view sees it."""

    id: str
    title: str | None  # as it was given
    text: str
    encoded: str  # what the corpus holds of it: with the title, or without where titles are queries


Passages = Callable[[], Iterator[Passage]]
"""The documents in order, as often as they are asked for. No two of them hold the same text."""


class Maker(Protocol):
    """A view at work."""

    @property
    def counts(self) -> Mapping[str, int]:
        """What a person should know of the last `make`: documents that gave nothing, queries that were dropped."""
        ...

    def make(self, passages: Passages) -> Iterator[tuple[int, str]]:
        """Queries with the place of their document, ascending. The same ones each time."""
        ...


class View(Protocol):
    """A way to make queries, one file in `views/`. Its name is the source of the queries."""

    @property
    def name(self) -> str: ...

    @property
    def takes_titles(self) -> bool:
        """Whether titles become queries, so that documents have to be read without them."""
        ...

    def fingerprint(self) -> str:
        """A hash of what it reads outside of the data; empty when that is nothing."""
        ...

    def open(self, context: Context) -> Maker: ...


class OpenWriter(Protocol):
    """A writer that is ready."""

    @property
    def key(self) -> str:
        """What its queries hang on, the device included where they do: the name under which they are kept."""
        ...

    @property
    def counts(self) -> Mapping[str, int]:
        """Why texts have no queries."""
        ...

    def write(self, texts: Sequence[str], queries: int) -> list[list[str] | None]:
        """Up to `queries` queries for each text; None where there is no answer and asking again may give one.

        A text gets the same queries in whatever company.
        """
        ...


class Writer(Protocol):
    """A kind of model that writes queries, one file in `writers/`."""

    @property
    def name(self) -> str: ...

    @property
    def chunk(self) -> int:
        """Texts that are written for before their queries are stored, which is what a kill can lose."""
        ...

    def fingerprint(self) -> str:
        """A hash of all that the queries hang on."""
        ...

    def open(self, context: Context) -> OpenWriter: ...


def clean(query: str) -> str:
    """A written query on one line, without the marks of a list, the word Query and the quotes that models put around it."""
    line = " ".join(query.split()).lstrip("-*•· ").strip()
    head, mark, rest = line.partition(" ")
    if mark and len(head) > 1 and head[:-1].isdecimal() and head[-1] in ".):":
        line = rest.strip()
    if line.lower().startswith(("query:", "question:")):
        line = line.partition(":")[2].strip()
    for opening, closing in (('"', '"'), ("“", "”"), ("'", "'"), ("`", "`")):
        if len(line) > 1 and line[0] == opening and line[-1] == closing:
            line = line[1:-1].strip()
    return line
