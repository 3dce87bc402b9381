"""Whatever the corpus: splits share no text, a made query belongs to what it was made from, and nothing hangs on order."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages import ingest
from stages.datasets._made import parts
from stages.errors import InputError
from stages.text import normalise
from tests import support
from tests.stages.data import config, jsonl, relevant

WORD = st.sampled_from(["a", "A", "b", "c", "Ä", "ﬁ", "fi", "1"])
TEXT = st.lists(WORD, min_size=1, max_size=6).map(" ".join)
DOCUMENTS = st.lists(st.tuples(st.none() | st.just("") | TEXT, TEXT), min_size=1, max_size=25)
SETTINGS = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


def read(folder, documents, **fields):
    (folder / "c.jsonl").write_bytes(jsonl(*documents))
    views = {"title": {}, "crop": {"min_words": 1, "crops": 2}, "same_text": {}}
    dataset = {"name": "corpus", "path": str(folder / "c.jsonl"), "views": views, "dev": 0.3, "test": 0.3, **fields}
    try:
        return support.run(ingest, config(dataset), {}, folder)
    except InputError as error:
        if "no row is left" not in str(error):
            raise
        return None  # every query straddles


@SETTINGS
@given(documents=DOCUMENTS, keep=st.booleans(), seed=st.integers(0, 5), chance=st.randoms(use_true_random=False))
def test_splits_share_no_text_and_nothing_hangs_on_order(tmp_path, documents, keep, seed, chance):
    given_rows = [{"id": f"d{i}", "title": title, "text": text} for i, (title, text) in enumerate(documents)]
    result = read(tmp_path, given_rows, keep_titles=keep, seed=seed)
    if result is None:
        return
    corpus = {row["doc_id"]: row for row in result.rows("corpus")}
    queries = {row["query_id"]: row for row in result.rows("queries")}
    bodies, wholes, texts = {}, {}, {}
    for query, document, grade, split in relevant(result):
        assert grade == 1
        assert queries[query]["split"] == split
        bodies.setdefault(normalise(corpus[document]["text"]), set()).add(split)
        wholes.setdefault(corpus[document]["text_hash"], set()).add(split)
        texts.setdefault(queries[query]["text_hash"], set()).add(query)
    assert all(len(splits) == 1 for splits in (*bodies.values(), *wholes.values()))
    assert all(len(same) == 1 for same in texts.values())
    by_hash = {}
    for row in corpus.values():
        by_hash.setdefault(row["text_hash"], set()).add(row["doc_id"])
    found = {}
    for query, document, _, _ in relevant(result):
        found.setdefault(query, set()).add(document)
    for query, documents_of in found.items():
        text, source = normalise(queries[query]["text"]), queries[query]["source"]
        assert query.split("/")[0] == source
        assert query.split("/")[1] in documents_of
        assert all(by_hash[corpus[document]["text_hash"]] <= documents_of for document in documents_of)
        for document in documents_of:
            row = corpus[document]
            titles = {normalise(given_rows[int(copy[1:])]["title"] or "") for copy in by_hash[row["text_hash"]]}
            assert text in titles or text in normalise(f"{row['title'] or ''} {row['text']}")
    shuffled = chance.sample(given_rows, len(given_rows))
    again = read(tmp_path, shuffled, keep_titles=keep, seed=seed)
    splits = {document: split for _, document, _, split in relevant(result)}
    if again is not None:
        assert all(splits.get(document, split) == split for _, document, _, split in relevant(again))


@SETTINGS
@given(edges=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(-9, 9)), min_size=1, max_size=30))
def test_parts_are_the_connected_components(edges):
    import numpy as np

    values = np.array([value for _, _, value in edges])
    left, right = (np.array([edge[side] for edge in edges]) for side in (0, 1))
    found = parts(values, left, right)
    group = list(range(len(edges)))  # by brute force
    for _ in edges:
        for i, (a, b, _) in enumerate(edges):
            for j, (c, d, _) in enumerate(edges):
                if a == c or b == d:
                    group[i] = group[j] = min(group[i], group[j])
    for i in range(len(edges)):
        assert found[i] == min(edges[j][2] for j in range(len(edges)) if group[j] == group[i])


@pytest.mark.parametrize("repeat", range(2))
def test_a_second_reading_is_the_same(tmp_path, repeat):
    documents = [{"id": f"d{i}", "title": f"t {i % 5}", "text": f"some words of {i} and others"} for i in range(30)]
    one, other = (read(tmp_path, documents) for _ in range(2))
    assert all(one[name].equals(other[name]) for name in ("corpus", "queries", "qrels"))
