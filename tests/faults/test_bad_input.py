"""Every fixture of `bad_input` gives its message: no traceback, no signal, no result; and no row of one is ever lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.errors import HardrockError
from tests.faults.bad_input import ALL, OWN, Case
from tests.fuzz.test_readers import check_rows
from tests.stages.data import CORPUS, QUERIES, TRAIN, beir, read, read_pairs
from tests.stages.datasets.test_pairs import BAD_PAIRS
from tests.stages.test_ingest import BAD_ROWS

QUARANTINE = {"on_bad_row": "quarantine", "missing_judgements_allowed": 3}


def test_there_are_enough_fixtures():
    assert ALL >= 120
    assert len({case.name for case in OWN}) == len(OWN)
    print(f"\n{ALL} fixtures of bad input")


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in OWN])
def test_bad_input_gives_its_message(tmp_path, case: Case):
    folder = case.write(tmp_path)
    with pytest.raises(case.error) as caught:
        case.run(folder)
    message = str(caught.value)
    for piece in case.holds:
        assert piece in message
    assert {c for c in message if not c.isprintable()} <= {"\n"}


MORE = {
    "corpus": b'{"_id": "d8", "text": "eighth"}',
    "queries": b'{"_id": "q8", "text": "eighth"}',
    "dev": b"q8\td8\t1",
}
"""A good row for each table, so that something is left."""


def _rows(files: dict[str, bytes]) -> Callable[[Path, dict[str, Any]], Any]:
    def ingest(folder: Path, policy: dict[str, Any]) -> Any:
        given = {"corpus": CORPUS, "queries": QUERIES, "train": TRAIN, **files}
        for name, row in MORE.items():
            before = given.get(name, b"")
            given[name] = before + (b"" if before.endswith(b"\n") or not before else b"\n") + row
        return read(beir(folder / "set", **given), folder, **policy)

    return ingest


def _pairs(name: str, content: bytes, fields: dict[str, Any]) -> Callable[[Path, dict[str, Any]], Any]:
    def ingest(folder: Path, policy: dict[str, Any]) -> Any:
        (folder / name).write_bytes(content)
        return read_pairs(folder / name, folder / "scratch", policy=policy, **fields)

    return ingest


def _own(case: Case) -> Callable[[Path, dict[str, Any]], Any]:
    def ingest(folder: Path, policy: dict[str, Any]) -> Any:
        if not case.name.startswith("pairs"):  # there is no policy of rows: it is refused whole
            return case.run(case.write(folder))
        return read_pairs(next(case.write(folder).glob("p.*")), folder / "scratch", policy=policy)

    return ingest


EVERY = [
    *((name, _rows(files)) for name, files, _ in BAD_ROWS),
    *((f"pairs {i}", _pairs(name, content, fields)) for i, (name, content, fields, _) in enumerate(BAD_PAIRS)),
    *((case.name, _own(case)) for case in OWN),
]


def test_rows_in_are_rows_out_and_rows_rejected(tmp_path):
    """For every fixture: under quarantine either all of it is refused and nothing comes out, or each row is accounted for."""
    assert len(EVERY) == ALL
    refused, conserved = [], 0
    for number, (name, ingest) in enumerate(EVERY):
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            result = ingest(folder, QUARANTINE)
        except HardrockError:
            refused.append(name)
            continue
        check_rows(result)
        rejects = result.rows("rejects")
        rejected = sum(result.counters.get(f"{table}.rejected", 0) for table in ("corpus", "queries", "qrels"))
        assert rejects, name
        assert rejected == len(rejects), name
        conserved += 1
    print(f"\nrows of {conserved} fixtures are conserved, {len(refused)} are refused whole")
    assert conserved + len(refused) == ALL
    assert [name for name in refused if name in {name for name, *_ in BAD_ROWS}] == []
    assert [name for name in refused if name.startswith("pairs ") and name[6:].isdigit()] == []
