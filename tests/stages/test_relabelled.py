"""What judge promoted: a positive for sample and train, a negative for nobody."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from stages import judge, sample
from stages.errors import ArtefactError
from stages.examples import Known, examples
from stages.filters.cross_encoder_threshold import CrossEncoderThreshold
from stages.filters.relative_margin import RelativeMargin
from stages.relabelled import with_relabelled
from stages.samplers.random import Random
from tests.judging_world import NOWHERE, World, judgement, sampled, world
from tests.support import run, source, table

TEACHERS = [{"title": "ce", "name": "cross_encoder"}]
RELEVANT = {(0, 5): 0.97, (1, 6): 0.95, (2, 5): 0.2}
"""What the teacher thinks of pairs; all others are 0. Queries 0 and 2 have one text."""


def given(**more) -> World:
    """Three queries. The document 5, and its copy 9, are relevant to query 0; 6 is relevant to query 1."""
    made = world(
        12,
        {
            0: {"positives": {0: 0.9, 1: 0.6}, "found": {5: 0.88, 3: 0.58, 4: 0.5, 7: 0.4}, "text": 77},
            1: {"positives": {2: 0.8}, "found": {6: 0.7, 5: 0.6, 4: 0.3}},
            2: {"positives": {8: 0.9}, "found": {9: 0.5, 5: 0.45, 3: 0.2}, "text": 77},
        },
        doc_texts={5: 51, 9: 51},
        **more,
    )
    scores = [
        {"query_row": row["query_row"], "doc_row": row["doc_row"], "teacher": "ce", "score": RELEVANT.get((row["query_row"], row["doc_row"]), 0.0)}
        for row in made.candidates
    ]  # fmt: skip
    return replace(made, teachers=TEACHERS, teacher_scores=scores)


def inputs_of(made: World, comparison="least_positive", cuts=(), promote=True):
    inputs = made.inputs(cuts)
    # The threshold is above what the teacher says of query 2 and document 5, so that this row is kept.
    rules = (RelativeMargin(margin=0.0), CrossEncoderThreshold(negative=0.3, positive=0.9))
    config = judge.JudgeConfig(comparison=comparison, filters=rules, promote=promote)
    inputs |= run(judge, config, inputs, NOWHERE).inputs()
    inputs["deepened"] = source(*(table("deepened", []) for _ in inputs["judged"].parts))
    return inputs


def triplets(result) -> set[tuple[int, int, int]]:
    return {(r["query_row"], r["positive_row"], r["negative_row"]) for r in result.rows("triplets")}


def test_the_world_promotes_what_the_teacher_calls_relevant_and_what_has_no_judgement():
    rows = inputs_of(given())["promoted"].read().to_pylist()
    assert [(r["query_row"], r["doc_row"], r["source"]) for r in rows] == [(0, 5, "relabelled"), (1, 6, "relabelled")]
    judged_not_relevant = given(qrels=[judgement(0, 5, 0)])
    rows = inputs_of(judged_not_relevant)["promoted"].read().to_pylist()
    assert [(r["query_row"], r["doc_row"]) for r in rows] == [(1, 6)]


@pytest.mark.parametrize("cuts", [(), (1,), (1, 2)])
def test_a_promoted_document_gets_the_negatives_of_its_query_and_is_nobodys_negative(cuts):
    result = sampled(inputs_of(given(), cuts=cuts), negatives=5)
    # 9 is a copy of 5, which is relevant to query 0, and query 2 asks the same: neither is its negative.
    assert triplets(result) == {
        *((0, p, d) for p, d in product((0, 1, 5), (3, 4, 7))), (1, 2, 5), (1, 2, 4), (1, 6, 5), (1, 6, 4), (2, 8, 3),
    }  # fmt: skip
    scores = {(r["query_row"], r["positive_row"]): r["positive_score"] for r in result.rows("triplets")}
    assert scores[0, 5] == 0.88
    assert scores[1, 6] == 0.7
    assert (result.counters["pairs"], result.counters["kept_relabelled"]) == (6, 2)
    assert {(r["query_row"], r["positive_row"], r["got"]) for r in result.rows("shortfall")} == {
        (0, 0, 3), (0, 1, 3), (0, 5, 3), (1, 2, 2), (1, 6, 2), (2, 8, 1),
    }  # fmt: skip


def test_held_against_each_positive_apart_it_gets_what_is_kept_for_every_one():
    made = given()
    between = {"query_row": 0, "doc_row": 10, "rank": 2, "score": 0.7, "retriever": "dense", "found_by": None}
    rows = [{**row, "rank": row["rank"] + (row["query_row"] == 0 and row["rank"] > 1)} for row in made.candidates]
    scores = [*made.teacher_scores, {"query_row": 0, "doc_row": 10, "teacher": "ce", "score": 0.0}]
    made = replace(made, candidates=[*rows, between], teacher_scores=scores)
    result = sampled(inputs_of(made, comparison="per_positive"), negatives=5)
    of = {p: {d for q, pos, d in triplets(result) if (q, pos) == (0, p)} for p in (0, 1, 5)}
    assert of == {0: {10, 3, 4, 7}, 1: {3, 4, 7}, 5: {3, 4, 7}}
    assert [r["negative_row"] for r in result.rows("triplets") if (r["query_row"], r["positive_row"]) == (0, 5)] == [3, 4, 7]  # fmt: skip


def test_shards_change_nothing():
    one, other = (
        sampled(inputs_of(given(), cuts=cuts), sampler=Random(), seed=3, negatives=2) for cuts in ((), (1, 2))
    )
    assert one.rows("triplets") == other.rows("triplets")


def test_without_promotion_it_is_neither():
    result = sampled(inputs_of(given(), promote=False), negatives=5)
    assert {p for q, p, _ in triplets(result) if q == 0} == {0, 1}
    assert (2, 8, 9) in triplets(result)
    assert result.counters["kept_relabelled"] == 0


def test_parts_that_do_not_correspond_are_an_error():
    inputs = {**inputs_of(given()), "promoted": inputs_of(given(), cuts=[1])["promoted"]}
    with pytest.raises(ArtefactError, match="do not belong together"):
        run(sample, sample.SampleConfig(), inputs, NOWHERE)


def test_training_has_them_as_pairs_and_masks_them_in_the_batch():
    inputs = inputs_of(given())
    inputs |= sampled(inputs, negatives=1).inputs()
    qrels = inputs["qrels"].read(["query_row", "doc_row", "relevance", "split"])
    joined = with_relabelled(qrels, inputs["promoted"].read(["query_row", "doc_row", "source"]))
    chosen, _ = examples(joined, inputs["triplets"].read(), None, "mined")
    pairs = {
        (int(q), int(p)): chosen.negatives_of(np.array([i])).tolist()
        for i, (q, p) in enumerate(zip(chosen.queries, chosen.positives, strict=True))
    }
    assert pairs == {(0, 0): [3], (0, 1): [3], (0, 5): [3], (1, 2): [5], (1, 6): [5], (2, 8): [3]}
    known = Known(joined, *(inputs[name].read()["text_hash"].to_numpy() for name in ("queries", "corpus")))
    # Query 2 has the text of query 0, and document 9 is a copy of the promoted 5.
    assert known.mask(np.array([0, 1, 2]), np.array([5, 6, 9])).tolist() == [
        [True, False, True], [False, True, False], [True, False, True],
    ]  # fmt: skip


def test_the_rows_say_that_they_are_relabelled_and_have_the_split_of_their_query():
    qrels = table("qrels", [judgement(0, 1, 1, "train"), judgement(3, 2, 1, "test")])
    promoted = table("promoted", [{"query_row": q, "doc_row": 7, "teacher": "ce", "score": 1.0, "rule": "r", "source": "relabelled"} for q in (0, 3)])  # fmt: skip
    added = with_relabelled(qrels, promoted).to_pylist()[2:]
    assert added == [{**judgement(q, 7, 1, split), "source": "relabelled"} for q, split in ((0, "train"), (3, "test"))]
