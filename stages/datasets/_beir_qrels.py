"""Reading qrels as BEIR writes them."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

from stages.datasets._helpers import File, lines, names_a_column, utf8_fault
from stages.errors import InputError
from stages.records import Fault, Judgement, Note, shown

_INTEGER = re.compile(r"[+-]?[0-9]{1,100}", re.ASCII)
_HEADER = ["query-id", "corpus-id", "score"]


def judgements(file: File, split: str) -> Iterator[Judgement | Fault | Note]:
    """The judgements of a file of lines `query-id TAB corpus-id TAB score`; a header line is optional."""
    first, found = True, False
    for number, offset, line in lines(file):
        try:
            text = line.decode()
            fields = next(csv.reader([text], delimiter="\t", strict=True)) if '"' in text else text.split("\t")
        except UnicodeDecodeError as error:
            yield utf8_fault(file, number, offset, error)
            continue
        except csv.Error as error:
            mend = "close the quote on the same line, and double a quote inside a quoted field"
            yield Fault(file.name, number, None, None, f"a quoted field that cannot be read: {error}", mend)
            continue
        if not text.strip():
            continue
        if first:
            first = False
            if len(fields) == 3 and names_a_column(fields[2].strip()):
                _refuse_swapped(file, fields)
                if fields != _HEADER:
                    yield Note(f"{file.name} line 1 is taken as its header: {shown(text)}")
                continue
            yield Note(f"{file.name} has no header line: its first line is read as a judgement")
        found = True
        yield _judgement(file, number, fields, split)
    if not found:
        yield Note(f"{file.name} holds no judgement")


def _refuse_swapped(file: File, header: list[str]) -> None:
    """Columns are taken by their places, so a header that names them the other way round would be believed in vain."""
    query, document, _ = (name.strip().lower().replace("_", "-") for name in header)
    if document in ("query-id", "qid") or query in ("corpus-id", "doc-id", "docid", "did"):
        raise InputError(
            "the header names the document before the query",
            where=f"{file.path} line 1",
            got=", ".join(shown(name) for name in header),
            try_="write query-id, corpus-id and score in this order: awk -F '\\t' -v OFS='\\t' '{print $2, $1, $3}'",
        )


def _judgement(file: File, line: int, fields: list[str], split: str) -> Judgement | Fault:
    if len(fields) != 3:
        mend = "write query-id, corpus-id and score with one tab between them; quote an id that holds a tab"
        return Fault(file.name, line, None, None, f"{len(fields)} fields where 3 belong", mend)
    query_id, doc_id, score = fields
    if not _INTEGER.fullmatch(score.strip()):
        mend = "write it as a whole number; above 0 is relevant"
        return Fault(file.name, line, "score", query_id, f"the score '{shown(score)}' is not a whole number", mend)
    return Judgement(file.name, line, query_id, doc_id, int(score), split)
