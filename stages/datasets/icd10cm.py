"""Medical coding with ICD-10-CM: find the code for a clinical phrase.

Documents are the descriptions of codes, queries the inclusion terms that stand under them: "High frequency deafness" belongs to
H91.9, "Unspecified hearing loss". Everything comes from the XML inside the package `simple-icd-10-cm`, the tabular
list that the CDC publishes; the package itself is not imported, as its interface adds thousands of generated codes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import ClassVar, NamedTuple

from pydantic import Field, field_validator

from stages.datasets._guess import Guess
from stages.datasets._helpers import File, digest
from stages.datasets._icd10cm_xml import Code, codes, tabular_list
from stages.records import Document, Judgement, Query, split_of
from stages.registry import Member
from stages.text import normalise

_CHAPTERS = 22


class Phrase(NamedTuple):
    """A query: an inclusion term and the codes under which it stands."""

    id: str
    text: str
    split: str
    codes: tuple[str, ...]


class Icd10cm(Member):
    """Inclusion terms of ICD-10-CM as queries, code descriptions as documents.

    A document's id is its code, its group the code above it; a category of three characters has none. The definitions of seventh
    characters are no documents. A term that equals its code's description, after normalising, is no query; a term that stands
    under several codes is one query with several positives. White space inside a term is made single blanks; otherwise terms
    stay as they are, "NOS" and brackets included.

    Splits are by category, with a stable hash, about 70 train, 10 dev and 20 test of 100; a query whose codes fall into
    several splits is in train. Ids and splits of queries do not depend on `chapters`. A query's id is its first code and
    the number of the term there, such as H91.9/1.
    """

    chapters: tuple[int, ...] = Field(
        (),
        description="Numbers of the chapters to take, 1 to 22; empty: all, about 46,900 documents and 12,500 queries. "
        "Time and memory of every stage grow with them.",
    )
    sha256: str | None = Field(
        None, description="The sha256 that the XML file must have; null accepts any release of the code set."
    )

    column_names: ClassVar[Mapping[str, str]] = {"id": "name", "text": "desc"}

    @field_validator("chapters")
    @classmethod
    def _known(cls, chapters: tuple[int, ...]) -> tuple[int, ...]:
        if unknown := [c for c in chapters if not 1 <= c <= _CHAPTERS]:
            raise ValueError(f"there is no chapter {unknown[0]}; chapters are 1 to {_CHAPTERS}")
        return chapters

    def fingerprint(self) -> str:
        """A sha256 over the XML. Raises ResourceError when it is not the one asked for."""
        return digest([self._file])

    def locate(self, file: str) -> str:
        return str(self._file.path.with_name(file))

    def documents(self) -> Iterator[Document]:
        for number, code in enumerate(self._codes, 1):
            if self._takes(code):
                yield Document(self._file.name, number, code.name, code.description, group=code.parent)

    def queries(self) -> Iterator[Query]:
        for number, phrase in enumerate(self._phrases, 1):
            yield Query(self._file.name, number, phrase.id, phrase.text)

    def judgements(self) -> Iterator[Judgement]:
        for number, phrase in enumerate(self._phrases, 1):
            for code in phrase.codes:
                yield Judgement(self._file.name, number, phrase.id, code, 1, phrase.split)

    def _takes(self, code: Code) -> bool:
        return not self.chapters or code.chapter in self.chapters

    @cached_property
    def _file(self) -> File:
        return tabular_list(self.sha256)

    @cached_property
    def _codes(self) -> tuple[Code, ...]:
        return codes(self._file)

    @cached_property
    def _phrases(self) -> tuple[Phrase, ...]:
        """The queries with a positive among the chosen chapters, in the order of their first code."""
        found: dict[str, tuple[str, str, list[str]]] = {}
        for code in self._codes:
            own = normalise(code.description)
            for number, term in enumerate(code.terms, 1):
                key = normalise(term)
                if key != own:
                    _, _, codes = found.setdefault(key, (f"{code.name}/{number}", term, []))
                    if code.name not in codes:
                        codes.append(code.name)
        chosen = {code.name for code in self._codes if self._takes(code)}
        phrases = []
        for query_id, text, codes in found.values():
            if positives := tuple(c for c in codes if c in chosen):
                splits = {split_of(c[:3]) for c in codes}
                phrases.append(Phrase(query_id, text, splits.pop() if len(splits) == 1 else "train", positives))
        return tuple(phrases)


def recognise(place: str) -> Guess | None:
    """It comes with a package and has no path."""
    return Guess(100, {}, ("it is the name of this data set",)) if place == "icd10cm" else None
