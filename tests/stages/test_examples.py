from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.examples import Examples, Known, examples
from tests.support import table


def qrel(query: int, document: int, relevance: int = 1, split: str = "train") -> dict[str, Any]:
    return {"query_row": query, "doc_row": document, "relevance": relevance, "split": split, "source": "given"}


def triplet(query: int, positive: int, negative: int) -> dict[str, Any]:
    return {
        "query_row": query, "positive_row": positive, "negative_row": negative, "negative_score": 0.5, "rank": 1,
        "sampler": "top", "seed": 0, "round": 0,
    }  # fmt: skip


def listed(found: Examples) -> list[tuple[int, int, list[int]]]:
    return [
        (int(found.queries[i]), int(found.positives[i]), found.negatives_of(np.array([i])).tolist())
        for i in range(len(found))
    ]


QRELS = [
    qrel(0, 10), qrel(0, 11), qrel(1, 12, relevance=0), qrel(1, 13, relevance=2), qrel(2, 14, split="dev"),
    qrel(3, 15, relevance=-1), qrel(4, 16),
]  # fmt: skip
TRIPLETS = [
    triplet(0, 10, 30), triplet(0, 10, 20), triplet(0, 10, 25), triplet(0, 11, 20), triplet(1, 13, 31),
    triplet(1, 13, 21), triplet(2, 14, 40),
]  # fmt: skip


def test_each_pair_has_its_own_negatives_in_order_of_choice():
    found, counters = examples(table("qrels", QRELS), table("triplets", TRIPLETS), None, "all")
    assert listed(found) == [(0, 10, [30, 20, 25]), (0, 11, [20]), (1, 13, [31, 21]), (4, 16, [])]
    assert counters == {
        "pairs": 4, "pairs.without_negatives": 1, "triplets": 7, "triplets.not_of_train": 1, "triplets.over_limit": 0,
    }  # fmt: skip
    assert found.negatives_of(np.array([2, 3, 0])).tolist() == [31, 21, 30, 20, 25]


def test_a_limit_takes_the_first_chosen():
    found, counters = examples(table("qrels", QRELS), table("triplets", TRIPLETS), 2, "mined")
    assert listed(found) == [(0, 10, [30, 20]), (0, 11, [20]), (1, 13, [31, 21])]
    assert counters["triplets.over_limit"] == 1


def test_without_triplets_there_are_pairs_alone_or_nothing():
    none = table("triplets", [])
    assert listed(examples(table("qrels", QRELS), none, 1, "all")[0]) == [
        (0, 10, []),
        (0, 11, []),
        (1, 13, []),
        (4, 16, []),
    ]
    assert listed(examples(table("qrels", QRELS), none, 1, "mined")[0]) == []
    assert listed(examples(table("qrels", []), table("triplets", TRIPLETS), 1, "all")[0]) == []


def test_known_by_row_by_text_and_through_a_query_of_the_same_text():
    qrels = table("qrels", [qrel(0, 0), qrel(0, 1, split="test"), qrel(1, 2, relevance=0), qrel(2, 3)])
    queries = np.array([70, 71, 70])  # queries 0 and 2 have one text
    documents = np.array([-5, 6, 7, 8, -5])  # documents 0 and 4 have one text
    mask = Known(qrels, queries, documents).mask(np.array([0, 1, 2]), np.array([4, 3, 2, 1, 0, 4]))
    assert mask.tolist() == [
        [True, True, False, True, True, True],
        [False, False, False, False, False, False],
        [True, True, False, True, True, True],
    ]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_known_is_what_a_search_pair_by_pair_finds(data: st.DataObject):
    queries = np.array(data.draw(st.lists(st.integers(-2, 2), min_size=1, max_size=6)))
    documents = np.array(data.draw(st.lists(st.integers(-3, 3), min_size=1, max_size=8)))
    rows = st.tuples(st.integers(0, len(queries) - 1), st.integers(0, len(documents) - 1))
    judged = data.draw(st.dictionaries(rows, st.integers(-1, 2), max_size=12))
    batch = np.array(data.draw(st.lists(st.integers(0, len(queries) - 1), min_size=1, max_size=5)))
    columns = np.array(data.draw(st.lists(st.integers(0, len(documents) - 1), min_size=1, max_size=9)))
    qrels = table("qrels", [qrel(q, d, relevance) for (q, d), relevance in sorted(judged.items())])
    expected = [
        [
            any(r > 0 and queries[q] == queries[i] and documents[d] == documents[j] for (q, d), r in judged.items())
            for j in columns
        ]
        for i in batch
    ]
    assert Known(qrels, queries, documents).mask(batch, columns).tolist() == expected
