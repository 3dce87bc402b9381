"""Filters over teachers' scores: limits to the last bit, what cannot be computed, and plain-Python references."""

import math

import numpy as np
import pytest

from stages.errors import ConfigError
from stages.filters.consensus import Consensus
from stages.filters.cross_encoder_margin import CrossEncoderMargin
from stages.filters.cross_encoder_threshold import CrossEncoderThreshold
from stages.filters.ecdf import Ecdf, share
from stages.filters.llm_relevant import LlmRelevant
from stages.judging import Candidates, Taught
from tests.stages.filters.view import view

NAN = math.nan


def seen(score, positive=NAN, curve=(), kind="cross_encoder", **others) -> Candidates:
    """Candidates with the scores of a teacher `first`, and of others as (kind, scores, positive)."""
    n = len(score)
    base = view(np.linspace(0.1, 0.2, n), 0.9)

    def taught(kind, score, positive):
        held = np.broadcast_to(np.array(positive, float), n)
        return Taught(kind, np.array(score, float), held, lambda: np.sort(np.array(curve, float)))

    teachers = {"first": taught(kind, score, positive), **{name: taught(*each) for name, each in others.items()}}
    return Candidates(**{**{f: getattr(base, f) for f in base.__dataclass_fields__}, "teachers": teachers})


def around(limit):
    return [math.nextafter(limit, -math.inf), limit, math.nextafter(limit, math.inf)]


def test_threshold_is_strict_at_both_ends():
    rule = CrossEncoderThreshold()
    low, high = seen(around(0.1)), seen(around(0.9))
    assert rule.label(low).drop.tolist() == [False, True, True]
    assert rule.label(low).limit.tolist() == [0.1] * 3
    assert rule.promotes(high)[0] == "first"
    assert rule.promotes(high)[1].tolist() == [False, False, True]
    with pytest.raises(ConfigError, match="at once"):
        CrossEncoderThreshold(negative=0.9, positive=0.1)


@pytest.mark.parametrize("p", [0.9, 1e-9, 0.0, -0.3, -11.5])
@pytest.mark.parametrize("margin", [0.0, 0.05, 2.0])
@pytest.mark.parametrize("unit", ["share", "score"])
def test_margins_stay_below_the_positive_whatever_its_sign(p, margin, unit):
    limit = p - abs(p) * margin if unit == "share" else p - margin
    labels = CrossEncoderMargin(margin=margin, unit=unit).label(seen(around(limit), p))
    assert labels.drop.tolist() == [False, False, True]
    assert labels.limit.tolist() == [limit] * 3
    assert limit <= p


def test_share_is_counted_by_hand():
    random = np.random.default_rng(0)
    curve = np.sort(np.round(random.random(50), 1))
    scores = np.round(random.random(200), 1)
    expected = [sum(p <= s for p in curve) / 50 for s in scores]
    assert share(curve, scores).tolist() == expected
    assert np.isnan(share(curve, np.array([NAN]))).all()
    assert np.isnan(share(np.empty(0), np.array([0.5]))).all()


def test_ecdf_holds_u_against_the_positives_u_and_the_floor():
    curve = [i / 1000 for i in range(1, 1001)]
    found = Ecdf().label(seen([0.005, 0.0055, 0.0099, 0.01, 0.011, 0.5], 1.0, curve))
    assert found.value.tolist() == [0.005, 0.005, 0.009, 0.01, 0.011, 0.5]
    assert found.limit.tolist() == [0.01] * 6
    assert found.drop.tolist() == [False, False, False, False, True, True]
    low = Ecdf().label(seen([0.005, 0.006], 0.1, curve))
    assert low.limit.tolist() == [0.005] * 2
    assert low.drop.tolist() == [False, True]


def test_ecdf_promotes_the_highest_and_those_near_their_positive():
    curve = [i / 1000 for i in range(1, 1001)]
    assert Ecdf().promotes(seen([0.899, 0.9, 0.996], 0.99, curve))[1].tolist() == [False, False, True]
    assert Ecdf().promotes(seen([0.899, 0.9, 0.996], 0.94, curve))[1].tolist() == [False, True, True]
    assert not Ecdf().promotes(seen([0.91], NAN, curve))[1].any()


@pytest.mark.parametrize("rule", [CrossEncoderThreshold, CrossEncoderMargin, Ecdf, LlmRelevant])
def test_without_a_score_the_configuration_decides_and_without_the_positives_it_drops(rule):
    kind = "llm" if rule is LlmRelevant else "cross_encoder"
    none = seen([NAN, 0.0], 0.9, [0.5, 0.9], kind)
    assert rule().label(none).drop.tolist() == [True, False]
    assert rule(unscored="keep").label(none).drop.tolist() == [False, False]
    if rule in (CrossEncoderMargin, Ecdf):
        assert rule(unscored="keep").label(seen([0.0], NAN, [0.5], kind)).drop.tolist() == [True]


def test_a_language_models_word_drops_and_promotes():
    given = seen([1.0, 0.0, NAN], kind="llm")
    assert LlmRelevant().label(given).drop.tolist() == [True, False, True]
    assert LlmRelevant().promotes(given)[1].tolist() == [True, False, False]


@pytest.mark.parametrize("votes", [1, 2, 3, 4])
@pytest.mark.parametrize("unscored", ["drop", "keep"])
def test_consensus_counts_votes(votes, unscored):
    random = np.random.default_rng(votes)
    first, second = random.choice([0.85, 0.86, 0.5, NAN], (2, 40))
    verdict = random.choice([0.0, 1.0, NAN], 40)
    given = seen(first, 0.9, second=("encoder", second, random.choice([0.9, NAN], 40)), third=("llm", verdict, NAN))
    labels = Consensus(votes=votes, unscored=unscored).label(given)

    def vote(score, positive):
        if math.isnan(score):
            return int(unscored == "drop")
        return int(math.isnan(positive) or score > positive - abs(positive) * 0.05)

    for i in range(40):
        against = vote(first[i], 0.9) + vote(second[i], given.teachers["second"].positive[i])
        against += unscored == "drop" if math.isnan(verdict[i]) else verdict[i] == 1
        against += given.score[i] > 0.9 * 0.95  # the retriever
        assert labels.value[i] == against
        assert labels.drop[i] == (against >= votes)
    assert labels.limit.tolist() == [votes] * 40


def test_consensus_takes_the_teachers_that_are_named():
    given = seen([0.95, 0.1], 0.9, second=("encoder", [0.95, 0.95], 0.9))
    assert Consensus(votes=1, teachers=("first",), retriever=False).label(given).drop.tolist() == [True, False]
    assert Consensus(votes=2, retriever=False).label(given).drop.tolist() == [True, False]
    assert Consensus(votes=1, retriever=False).label(given).drop.tolist() == [True, True]
    with pytest.raises(ConfigError, match="fewer models"):
        Consensus(votes=2, teachers=("first",), retriever=False).label(given)
    with pytest.raises(ConfigError, match="no teacher 'thrid'"):
        Consensus(votes=1, teachers=("thrid",)).label(given)


def test_a_rule_takes_the_first_teacher_of_its_kind_or_the_one_that_is_named():
    given = seen([0.95], 0.9, kind="encoder", second=("onnx_cross_encoder", [0.05], 0.9))
    assert not CrossEncoderThreshold().label(given).drop.any()
    assert CrossEncoderThreshold(teacher="first").label(given).drop.all()
    with pytest.raises(ConfigError, match="no teacher of the kind llm"):
        LlmRelevant().label(given)
    with pytest.raises(ConfigError, match="teachers: none"):
        CrossEncoderThreshold().label(view([0.1]))
