"""Union and fusions against plain Python over lists of hits."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest

from stages.fusion import Union
from stages.fusions.rrf import Rrf
from stages.fusions.scores import Scores

Found = list[dict[int, float]]  # for each query: document → score


def matrix(found: Found, k: int) -> tuple[np.ndarray, np.ndarray]:
    rows, scores = np.full((len(found), k), -1, dtype=np.int32), np.full((len(found), k), -np.inf)
    for q, each in enumerate(found):
        for i, document in enumerate(sorted(each, key=lambda d: (-each[d], d))):
            rows[q, i], scores[q, i] = document, each[document]
    return rows, scores


def plain(systems: list[Found], query: int, kind: str, weights: list[float], k: float = 60) -> dict[int, float]:
    """The fused score of every document of a query, written from the definitions."""
    documents = {d for system in systems for d in system[query]}
    total = dict.fromkeys(documents, 0.0)
    for system, weight in zip(systems, weights, strict=True):
        found = system[query]
        ranks = {d: i for i, d in enumerate(sorted(found, key=lambda d: (-found[d], d)), 1)}
        values = list(found.values())
        for d in documents:
            if kind == "rrf":
                share = 1 / (k + ranks[d]) if d in ranks else 0.0
            elif not values:
                share = 0.0
            elif kind == "min_max":
                spread = max(values) - min(values)
                share = 0.0 if d not in found else 1.0 if spread == 0 else (found[d] - min(values)) / spread
            else:
                mean = sum(values) / len(values)
                deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / len(values))
                share = 0.0 if max(values) == min(values) else (found.get(d, min(values)) - mean) / deviation
            total[d] += weight * share
    return total


@pytest.mark.parametrize("kind", ["rrf", "min_max", "z_score"])
@pytest.mark.parametrize("seed", range(8))
def test_fusions_are_those_of_the_definitions(kind: str, seed: int) -> None:
    chance = Random(seed)
    k = 6
    systems: list[Found] = [
        [
            {
                d: chance.choice([1.0, 2.5, -3.0, chance.random()])
                for d in chance.sample(range(15), chance.randrange(k + 1))
            }
            for _ in range(9)
        ]
        for _ in range(3)
    ]
    weights = {"b": 2.0}
    fusion = Rrf(k=10, weights=weights) if kind == "rrf" else Scores(normalisation=kind, weights=weights)
    union = Union.of([matrix(system, k) for system in systems])
    order, rank = union.ranked(fusion.fuse(union, ["a", "b", "c"]))
    found_by = union.found_by(order, ["a", "b", "c"]).to_pylist()
    at = 0
    for query in range(9):
        expected = plain(systems, query, kind, [1.0, 2.0, 1.0], 10)
        documents = sorted(expected, key=lambda d: (-round(expected[d], 10), d))
        stop = at + len(documents)
        assert union.query[order[at:stop]].tolist() == [query] * len(documents)
        assert union.document[order[at:stop]].tolist() == documents
        assert rank[at:stop].tolist() == list(range(1, len(documents) + 1))
        for document, entries in zip(documents, found_by[at:stop], strict=True):
            wanted = []
            for label, system in zip("abc", systems, strict=True):
                found = system[query]
                if document in found:
                    place = sorted(found, key=lambda d: (-found[d], d)).index(document) + 1
                    wanted.append({"retriever": label, "rank": place, "score": found[document]})
            assert entries == wanted
        at = stop
    assert at == len(order)


def test_swapped_ranks_are_a_tie_that_rows_break() -> None:
    one, other = [{7: 3.0, 2: 2.0, 5: 1.0}], [{2: 9.0, 7: 8.0}]
    union = Union.of([matrix(one, 3), matrix(other, 3)])
    order, rank = union.ranked(Rrf().fuse(union, ["a", "b"]))
    assert union.document[order].tolist() == [2, 7, 5]
    assert rank.tolist() == [1, 2, 3]


def test_nothing_found_is_an_empty_union() -> None:
    nothing = matrix([{}, {}], 3)
    union = Union.of([nothing, nothing])
    for fusion in (Rrf(), Scores(), Scores(normalisation="z_score")):
        order, rank = union.ranked(fusion.fuse(union, ["a", "b"]))
        assert (len(order), len(rank), len(union.found_by(order, ["a", "b"]))) == (0, 0, 0)
