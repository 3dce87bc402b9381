"""Medical coding with ICD-10-CM: find the code for a clinical phrase.

Documents are the descriptions of codes, queries the inclusion terms that stand under them: "High frequency deafness" belongs to
H91.9, "Unspecified hearing loss". Everything comes from the XML inside the package `simple-icd-10-cm`, the tabular
list that the CDC publishes; the package itself is not imported, as its interface adds thousands of generated codes.
"""

from __future__ import annotations

import hashlib
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, NamedTuple

from pydantic import Field, field_validator

from stages.datasets._guess import Guess
from stages.datasets._helpers import File, digest
from stages.errors import InputError, ResourceError
from stages.records import Document, Judgement, Query, shown, split_of
from stages.registry import Member
from stages.text import normalise

_INSTALL = "pip install simple-icd-10-cm==1.5.0"
_CHAPTERS = 22


class Code(NamedTuple):
    chapter: int
    name: str
    description: str
    parent: str | None  # the code above; none above a category
    terms: tuple[str, ...]


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
        spec = find_spec("simple_icd_10_cm")
        if spec is None or not spec.submodule_search_locations:
            raise ResourceError(
                "the package simple-icd-10-cm is not installed", where="datasets.icd10cm", try_=_INSTALL
            )
        folder = Path(spec.submodule_search_locations[0], "data")
        found = sorted(folder.glob("icd10c-tabular-*.xml"))
        if len(found) != 1:
            raise ResourceError(
                "the package simple-icd-10-cm holds no single tabular list",
                where=str(folder),
                got=", ".join(p.name for p in found) or "no icd10c-tabular-*.xml",
                try_=_INSTALL,
            )
        file = File(found[0].name, found[0])
        self._check(file)
        return file

    def _check(self, file: File) -> None:
        if (
            self.sha256 is not None
            and (got := hashlib.sha256(file.path.read_bytes()).hexdigest()) != self.sha256.lower()
        ):
            raise ResourceError(
                "the ICD-10-CM tabular list is not the one asked for",
                where=str(file.path),
                got=f"sha256 {got}",
                try_=_INSTALL,
            )

    @cached_property
    def _codes(self) -> tuple[Code, ...]:
        try:
            root = ET.parse(self._file.path).getroot()
        except ET.ParseError as error:
            line, column = error.position
            where = f"{self._file.path} line {line}, column {column}"
            raise InputError("broken XML", where=where, got=str(error), try_=f"{_INSTALL} --force-reinstall") from None
        except (LookupError, ValueError) as error:  # an encoding that is not known, or none
            where = f"{self._file.path} line 1"
            raise InputError("broken XML", where=where, got=str(error), try_=f"{_INSTALL} --force-reinstall") from None
        return tuple(
            code
            for chapter in root.iter("chapter")
            for category in chapter.iterfind("section/diag")
            for code in _walk(category, self._number(chapter), None)
        )

    def _number(self, chapter: ET.Element) -> int:
        name = chapter.findtext("name", "0")
        if not re.fullmatch(r"\s*[0-9]{1,3}\s*", name):
            raise InputError("a chapter without a number", where=str(self._file.path), got=shown(name), try_=f"{_INSTALL} --force-reinstall")  # fmt: skip
        return int(name)

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


def _walk(diag: ET.Element, chapter: int, parent: str | None) -> Iterator[Code]:
    name = diag.findtext("name", "")
    notes = diag.iterfind("inclusionTerm/note")
    terms = tuple(" ".join("".join(note.itertext()).split()) for note in notes)
    yield Code(chapter, name, diag.findtext("desc", ""), parent, terms)
    for child in diag.iterfind("diag"):
        yield from _walk(child, chapter, name)


def recognise(place: str) -> Guess | None:
    """It comes with a package and has no path."""
    return Guess(100, {}, ("it is the name of this data set",)) if place == "icd10cm" else None
