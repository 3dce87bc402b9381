"""What is said of files that are malformed in the ways that files are: in the words of the file, with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stages.errors import HardrockError
from tests.pictures import png
from tests.stages.data import CORPUS, QUERIES, TRAIN, jsonl
from tests.stages.datasets.reading import ingested

Files = dict[str, bytes]
BEIR: Files = {"corpus.jsonl": CORPUS, "queries.jsonl": QUERIES, "qrels/train.tsv": TRAIN}
QREL = {"query-id": "q1", "corpus-id": "d1"}
MALFORMED: list[tuple[str, Files, list[str]]] = [
    ("beir", {**BEIR, "corpus.jsonl": b"\0\0\0\0\n" + CORPUS}, ["NUL bytes", "corpus.jsonl line 1"]),
    ("beir", {**BEIR, "corpus.jsonl": CORPUS.replace(b"\n", b"\r")}, ["a carriage return", "tr '\\r' '\\n'"]),
    (
        "mteb",
        {"corpus/c.jsonl": CORPUS, "queries/q.jsonl": QUERIES, "qrels/test.jsonl": jsonl({**QREL, "score": None})},
        ["null where a relevance belongs", "test.jsonl line 1, column 'score', id 'q1'"],
    ),
    (
        "mteb",
        {"corpus/c.jsonl": CORPUS, "queries/q.jsonl": QUERIES, "qrels/test.jsonl": jsonl({**QREL, "score": 2**31})},
        ["the relevance 2147483648 is not a whole number of 32 bits"],
    ),
    ("pairs", {"p.csv": b"anchor;positive\na;b\n"}, ["columns: anchor;positive", "';' in its name"]),
    (
        "dpr",
        {"a.json": json.dumps([{"question": "q", "positive_ctxs": []}, 1])[:-3].encode() + b'{"quest'},
        ["Unterminated string starting at character 2 of the element", "from line 1"],
    ),
    (
        "flagembedding",
        {"a.jsonl": jsonl({"query": ["q"], "pos": ["a"]})},
        ["a list where a text belongs", "a.jsonl line 1, column 'query'", "in quotes"],
    ),
    (
        "image_folder",
        {"metadata.jsonl": jsonl({"file_name": "b.png", "text": 3}), "b.png": png(1)},
        ["the number 3 where a caption belongs", "metadata.jsonl line 1, column 'text', id 'b.png'"],
    ),
]


@pytest.mark.parametrize(("reader", "files", "says"), MALFORMED, ids=str)
def test_malformed_files_are_told_with_place_and_mend(
    tmp_path: Path, reader: str, files: Files, says: list[str]
) -> None:
    for name, content in files.items():
        place: Any = tmp_path / "data" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    with pytest.raises(HardrockError) as raised:
        ingested(reader, tmp_path / "data", tmp_path / "scratch")
    for each in says:
        assert each in str(raised.value)
