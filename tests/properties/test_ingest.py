from __future__ import annotations

import csv
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.errors import InputError
from stages.records import is_blank, wrong_id, wrong_text
from tests.stages.data import beir, read, relevant

ANY = st.text(st.characters(), max_size=12)  # all of Unicode, lone surrogates included
AWKWARD = st.sampled_from(
    ["", " ", "NA", "null", "1e5", "0001", "1", "../x", "a\tb", "a\nb", '"', '"a"', "\u2028", "\ud800", "é"]
)
TEXT = ANY | AWKWARD
SETTINGS = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])


def lines(rows: list[dict[str, Any]], ascii_only: bool) -> bytes:
    """JSONL as `json.dumps` writes it; without escapes, surrogates become bytes that are no UTF-8."""
    return b"".join(json.dumps(r, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass") + b"\n" for r in rows)


def tsv(rows: list[tuple[str, str, int]]) -> bytes:
    """qrels as BEIR's own tools write them."""
    out = io.StringIO()
    csv.writer(out, delimiter="\t", lineterminator="\n").writerows([("query-id", "corpus-id", "score"), *rows])
    return out.getvalue().encode("utf-8", "surrogatepass")


@SETTINGS
@given(documents=st.lists(st.tuples(TEXT, TEXT, st.none() | TEXT), min_size=1, max_size=6), ascii_only=st.booleans())
def test_any_corpus_comes_back_equal_or_is_refused(
    tmp_path: Path, documents: list[tuple[str, str, str | None]], ascii_only: bool
) -> None:
    rows = [{"_id": i, "text": x, "title": t} for i, x, t in documents]
    good = [*rows, {"_id": "the good one", "text": "good"}]
    folder = beir(tmp_path / "set", lines(good, ascii_only), train=b"q1\tthe good one\t1\n")
    ids = [i for i, _, _ in documents]

    def sound(text: str, title: str | None) -> bool:
        whole = (title or "").encode("utf-8", "replace") == (title or "").encode("utf-8", "surrogatepass")
        visible = wrong_text(text) is None or (not wrong_string(text) and not is_blank(title or ""))
        return whole and visible

    fine = all(wrong_id(i, 1024) is None and sound(x, t) for i, x, t in documents)
    if fine and len({*ids, "the good one"}) == len(good):
        corpus = read(folder, tmp_path).rows("corpus")
        assert [(r["doc_id"], r["text"]) for r in corpus] == [(r["_id"], r["text"]) for r in good]
        for r, (_, _, title) in zip(corpus, documents, strict=False):
            assert r["title"] == (None if title is None or is_blank(title) else title)
    else:
        with pytest.raises(InputError, match="corpus"):
            read(folder, tmp_path)
    result = read(folder, tmp_path, on_bad_row="quarantine")
    assert (
        result.counters["corpus.read"]
        == len(good)
        == result.counters["corpus.kept"] + result.counters["corpus.rejected"]
    )
    kept = Counter((r["doc_id"], r["text"]) for r in result.rows("corpus"))
    given_rows = Counter((r["_id"], r["text"]) for r in good)
    assert kept <= given_rows
    rejected = {r["line"] for r in result.rows("rejects") if r["table"] == "corpus"}
    assert kept == Counter((r["_id"], r["text"]) for n, r in enumerate(good, 1) if n not in rejected)


def wrong_string(text: str) -> bool:
    return any(0xD800 <= ord(c) < 0xE000 for c in text)


IDS = st.lists(TEXT.filter(lambda i: wrong_id(i, 1024) is None), min_size=1, max_size=5, unique=True)


@SETTINGS
@given(
    doc_ids=IDS,
    query_ids=IDS,
    pairs=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(-2, 3), st.booleans()), max_size=8),
)
def test_any_judgements_come_back_with_their_ids_or_are_counted(
    tmp_path: Path, doc_ids: list[str], query_ids: list[str], pairs: list[tuple[int, int, int, bool]]
) -> None:
    judged = [(query_ids[q % len(query_ids)], doc_ids[d % len(doc_ids)], r, s) for q, d, r, s in pairs]
    folder = beir(
        tmp_path / "set",
        lines(
            [{"_id": i, "text": "text"} for i in doc_ids]
            + [{"_id": "sure d", "text": "sure"}] * ("sure d" not in doc_ids),
            True,
        ),
        lines(
            [{"_id": i, "text": "text"} for i in query_ids]
            + [{"_id": "sure q", "text": "sure"}] * ("sure q" not in query_ids),
            False,
        ),
        train=tsv([(q, d, r) for q, d, r, s in judged if s]),
        test=tsv([(q, d, r) for q, d, r, s in judged if not s] + [("sure q", "sure d", 1)]),
    )
    result = read(folder, tmp_path, on_bad_row="quarantine", missing_judgements_allowed=100)
    counts = result.counters
    newlines = any("\n" in i or "\r" in i for j in judged for i in j[:2])
    if not newlines:
        assert counts["qrels.read"] == len(judged) + 1
        assert counts["qrels.missing_document"] == counts["qrels.missing_query"] == 0
    assert counts["qrels.read"] == counts["qrels.kept"] + counts["qrels.rejected"] + counts["qrels.repeated"]
    splits = {True: "train", False: "test"}
    given_rows = {(q, d, r, splits[s]) for q, d, r, s in judged} | {("sure q", "sure d", 1, "test")}
    assert relevant(result) <= given_rows
    one_split: dict[str, str] = {}
    for q, _, _, s in relevant(result):
        assert one_split.setdefault(q, s) == s
