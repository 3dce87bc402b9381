"""Qrels as trec_eval reads them: four fields, or three, with any white space between them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from stages.datasets._examples import split_in
from stages.datasets._helpers import File, lines, names_a_column, utf8_fault
from stages.errors import ConfigError
from stages.records import SPLITS, Fault, Judgement, Note, shown, split_of

_INTEGER = re.compile(r"[+-]?[0-9]{1,100}", re.ASCII)


def judgements(
    file: File, split: str | None, dev: float, test: float, texts: dict[str, str] | None = None
) -> Iterator[Judgement | Fault | Note]:
    """`query-id 0 doc-id relevance` or `query-id doc-id relevance` a line; without a split it is a hash of the query's id."""
    first = True
    for number, offset, line in lines(file):
        try:
            fields = line.decode().split()
        except UnicodeDecodeError as error:
            yield utf8_fault(file, number, offset, error)
            continue
        if not fields:
            continue
        if first and len(fields) in (3, 4) and names_a_column(fields[-1]):
            first = False
            yield Note(f"{file.name} line {number} is taken as its header: {shown(' '.join(fields))}")
            continue
        first = False
        if len(fields) not in (3, 4):
            mend = "write query-id, 0, doc-id and relevance; an id cannot hold white space"
            yield Fault(file.name, number, None, None, f"{len(fields)} fields where 4 or 3 belong", mend)
        elif not _INTEGER.fullmatch(fields[-1]):
            reason = f"the relevance '{shown(fields[-1])}' is not a whole number"
            yield Fault(file.name, number, "relevance", fields[0], reason, "write a whole number; above 0 is relevant")
        else:
            query_id = fields[0]
            mine = split or split_of(query_id, dev, test)
            yield Judgement(file.name, number, query_id, fields[-2], int(fields[-1]), mine)


def by_split(files: Sequence[File], asked: Sequence[str], where: str) -> dict[File, str | None]:
    """The qrels files that are read, with the split that each names. Raises ConfigError where two name the same one."""
    if asked:
        by_name = {file.name: file for file in files}
        if lacks := [name for name in asked if name not in by_name]:
            raise ConfigError(
                f"there is no {lacks[0]!r} among the qrels", where=where, got=", ".join(by_name) or "none"
            )
        files = [by_name[name] for name in asked]
    found: dict[File, str | None] = {file: split_in(file.name) for file in files}
    for split in SPLITS:
        if len(same := [file.name for file, its in found.items() if its == split]) > 1:
            raise ConfigError(f"{same[0]} and {same[1]} are both the split {split}", where=where,
                              try_=f'qrels = ["{same[0]}"], with the others that belong')  # fmt: skip
    return found
