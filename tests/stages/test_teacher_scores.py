"""What judge sees of teachers, against plain Python; and what it promotes."""

import math
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from stages import judge
from stages.errors import ArtefactError
from stages.filters.cross_encoder_margin import CrossEncoderMargin
from stages.filters.cross_encoder_threshold import CrossEncoderThreshold
from stages.filters.ecdf import Ecdf
from stages.judge import JudgeConfig
from stages.promotion import shared
from tests.judging_world import NOWHERE, draw, judged, judgement, world
from tests.support import run, source, table

TEACHERS = [{"title": "ce", "name": "cross_encoder"}, {"title": "other", "name": "encoder"}]
DROP_NOTHING = CrossEncoderThreshold(negative=2, positive=2, unscored="keep")


def with_scores(given, random, missing=0.1):
    """Scores of both teachers for most candidates and positives of a world."""
    pairs = {(c["query_row"], c["doc_row"]) for c in given.candidates}
    pairs |= {(p["query_row"], p["positive_row"]) for p in given.positives}
    rows = [
        {"query_row": q, "doc_row": d, "teacher": t["title"], "score": None if random.random() < missing else round(random.uniform(-1, 1), 2)}
        for t in TEACHERS
        for q, d in sorted(pairs)
        if random.random() > missing
    ]  # fmt: skip
    return replace(given, teachers=TEACHERS, teacher_scores=rows)


def said(given, title):
    return {(s["query_row"], s["doc_row"]): s["score"] for s in given.teacher_scores if s["teacher"] == title}


def held(given, title, query, positive, comparison):
    """The teacher's score of what a candidate is held against; None when it is not known."""
    scores = said(given, title)
    if comparison == "per_positive":
        return scores.get((query, positive))
    mine = [scores.get((query, p["positive_row"])) for p in given.positives if p["query_row"] == query]
    return None if not mine or None in mine else min(mine)


@pytest.mark.parametrize("comparison", ["least_positive", "per_positive"])
@pytest.mark.parametrize("seed", range(6))
def test_margins_and_curves_are_those_of_plain_python(comparison, seed):
    given = with_scores(draw(Random(seed), documents=30, queries=12, depth=20), Random(seed))
    curve = [
        s for p in given.positives if (s := said(given, "other").get((p["query_row"], p["positive_row"]))) is not None
    ]

    def u(x):
        return sum(c <= x for c in curve) / len(curve)

    for cuts in ([], [3, 3, 7]):
        margin = judged(given, cuts, filters=(CrossEncoderMargin(),), comparison=comparison)
        for row in margin.rows("judged"):
            key = row["query_row"], row["doc_row"]
            assert row["teacher_score"] == said(given, "ce").get(key)
            if row["verdict"] == "known_positive":
                continue
            p, score = held(given, "ce", row["query_row"], row["positive_row"], comparison), said(given, "ce").get(key)
            kept = p is not None and score is not None and score <= p - abs(p) * 0.05
            assert row["verdict"] == ("kept" if kept else "cross_encoder_margin")
            assert row["evidence"]["value"] == score
        rule = Ecdf(beta=0.5, floor=0.2, teacher="other")
        for row in judged(given, cuts, filters=(rule,), comparison=comparison).rows("judged"):
            if row["verdict"] == "known_positive":
                continue
            p = held(given, "other", row["query_row"], row["positive_row"], comparison)
            score = said(given, "other").get((row["query_row"], row["doc_row"]))
            kept = p is not None and score is not None and u(score) <= max(0.5 * u(p), 0.2)
            assert row["verdict"] == ("kept" if kept else "ecdf")


def test_a_teachers_least_positive_is_its_own():
    """The retriever's least positive is document 0, the teacher's is document 1."""
    given = world(4, {0: {"positives": {0: 0.5, 1: 0.9}, "found": {2: 0.1, 3: 0.1}}})
    scores = {0: 0.9, 1: 0.4, 2: 0.39, 3: 0.3}
    rows = [{"query_row": 0, "doc_row": d, "teacher": "ce", "score": s} for d, s in scores.items()]
    given = replace(given, teachers=TEACHERS[:1], teacher_scores=rows)
    found = judged(given, filters=(CrossEncoderMargin(),)).rows("judged")
    assert [(r["doc_row"], r["positive_row"], r["verdict"]) for r in found] == [
        (2, 0, "cross_encoder_margin"),
        (3, 0, "kept"),
    ]


def test_scores_of_other_candidates_are_an_error():
    given = draw(Random(0))
    inputs = {**given.inputs(), "teacher_scores": given.inputs([2])["teacher_scores"]}
    with pytest.raises(ArtefactError, match="do not belong together"):
        run(judge, JudgeConfig(), inputs, NOWHERE)
    backwards = with_scores(given, Random(0)).inputs()
    backwards["teacher_scores"].tables = [backwards["teacher_scores"].tables[0].slice(0, 5)[::-1]]
    with pytest.raises(ArtefactError, match="not ordered"):
        run(judge, JudgeConfig(), backwards, NOWHERE)


def promoting(texts, scores, qrels=(), positives=None, **config):
    """The (document, rule) that are promoted for one query, whose positive is document 0."""
    found = {d: 0.5 - d / 100 for d in range(len(texts))}
    given = world(len(texts), {0: {"positives": positives or {0: 0.9}, "found": found}}, qrels=qrels)
    rows = [{"query_row": 0, "doc_row": d, "teacher": "ce", "score": s} for d, s in scores.items()]
    given = replace(given, teachers=TEACHERS[:1], teacher_scores=rows)
    inputs = given.inputs()
    corpus = [{**row, "text": text} for row, text in zip(inputs["corpus"].read().to_pylist(), texts, strict=True)]
    inputs["corpus"] = source(table("corpus", corpus))
    filters = config.pop("filters", (CrossEncoderThreshold(),))
    result = run(judge, JudgeConfig(filters=filters, promote=True, **config), inputs, NOWHERE)
    assert all(r["source"] == "relabelled" and r["teacher"] == "ce" for r in result.rows("promoted"))
    assert all(r["score"] == scores[r["doc_row"]] for r in result.rows("promoted"))
    return [(r["doc_row"], r["rule"]) for r in result.rows("promoted")]


TEXTS = ["a b c d", "e f g", "h i j", "A  b c d", "a b c d e", "k l"]


def test_strongly_relevant_candidates_are_promoted_and_repeated_positives_are_not():
    scores = {0: 0.99, 1: 0.95, 2: 0.5, 3: 0.98, 4: 0.97, 5: math.nextafter(0.9, 1)}
    assert promoting(TEXTS, scores) == [(1, "cross_encoder_threshold"), (5, "cross_encoder_threshold")]
    assert [d for d, _ in promoting(TEXTS, scores, promote_overlap=0.9)] == [1, 4, 5]


def test_known_documents_and_kept_ones_are_not_promoted():
    scores = dict.fromkeys(range(6), 0.95)
    assert [d for d, _ in promoting(TEXTS, scores, [judgement(0, 1, 1, "test")])] == [2, 5]
    assert promoting(TEXTS, scores, filters=(DROP_NOTHING, Ecdf(beta=1, floor=1))) == []


def test_the_first_rule_takes_a_candidate_and_each_document_comes_once():
    scores = dict.fromkeys(range(6), 0.95)
    both = (Ecdf(), CrossEncoderThreshold())
    assert promoting(TEXTS, scores, filters=both) == [(1, "ecdf"), (2, "ecdf"), (5, "ecdf")]
    assert promoting(
        TEXTS, scores, filters=both, comparison="per_positive", positives={0: 0.9, 1: 0.8}
    ) == [(2, "ecdf"), (5, "ecdf")]  # fmt: skip


def test_nothing_is_promoted_unless_asked():
    given = with_scores(draw(Random(1)), Random(1))
    result = judged(given, cuts=[2], filters=(CrossEncoderThreshold(negative=-2, positive=-1),))
    assert [t.num_rows for t in result.tables["promoted"].tables] == [0, 0]


def test_words_in_common():
    texts = ["a b c d", "A  b c e e", "", "é", "x y"]
    pairs = [(i, j) for i in range(5) for j in range(5)]
    words = [set(text.lower().split()) for text in texts]
    expected = [len(words[i] & words[j]) / max(1, len(words[i] | words[j])) for i, j in pairs]
    assert shared(texts, *np.array(pairs).T).tolist() == expected
    assert expected[1] == 3 / 5
    assert shared(["", ""], np.array([0]), np.array([1])).tolist() == [0]
    assert shared([], np.array([], np.int64), np.array([], np.int64)).tolist() == []
