"""The threshold for a wanted leak rate, in cases worked out by hand."""

import numpy as np
import pytest

from stages import calibration, hiding
from stages.calibration import Pairs, by_evidence, choose, curve, needed, sweep, thresholds
from stages.errors import ConfigError
from stages.hiding import Mined
from stages.leakage import Block, Trial, wilson
from stages.registry import build
from tests.judging_world import members, world
from tests.leak_world import draw

RULES = members([{"name": "known_positive"}, {"name": "relative_margin", "margin": 0.05}])


def ten() -> tuple[Mined, Trial]:
    """Ten queries whose positive scores 1. Query q finds a relevant document at .5 + .04·q and one that is not, at .05·q."""
    each = world(
        30,
        {q: {"positives": {q: 1.0}, "found": {q: 1.0, 10 + q: 0.5 + 0.04 * q, 20 + q: 0.05 * q}} for q in range(10)},
    )
    mined = Mined.read(each.inputs())
    [block] = hiding.unlabelled(mined, "least_positive", complete=False)
    relevant = block.chosen & (block.candidates.doc_row < 20)
    others = block.chosen & (block.candidates.doc_row >= 20)
    nothing = np.zeros(len(relevant), bool)
    return mined, Trial(
        "hidden_positive", (Block(block.candidates, relevant, nothing),), (Block(block.candidates, others, others),)
    )


def pairs_of(mined: Mined, wanted: int = 1) -> Pairs:
    return Pairs(*mined.pairs(), False, wanted)


def test_the_smallest_loss_among_what_leaks_little_enough():
    mined, trial = ten()
    chosen = sweep(RULES, "relative_margin")
    # Relevant ones are dropped above 1 − m: at m = .26 those of q ≥ 7 (.78, .82, .86) go; kept .5 … .74.
    points = curve(trial, chosen, [0.1, 0.26, 0.49, 0.59, 0.79], pairs_of(mined))
    assert [p.rate.leaked for p in points] == [10, 7, 1, 0, 0]
    assert [p.loss.negatives_dropped for p in points] == [0, 0, 0, 1, 5]
    assert [p.kept_per_query for p in points] == [1, 1, 1, 0.9, 0.5]
    assert [p.pairs_full for p in points] == [1, 1, 1, 0.9, 0.5]
    assert choose(points, 0.1, upper=False).threshold == 0.49
    assert choose(points, 0.05, upper=False).threshold == 0.59  # .79 leaks nothing either, and throws more away
    assert choose(points, 0.05, upper=True) is None  # 0 of 10 may still be 28%
    assert choose(points, 0.3, upper=True).threshold == 0.59


def test_thresholds_are_tried_where_relevant_candidates_change_sides():
    mined, trial = ten()
    chosen = sweep(RULES, "relative_margin")
    tried = thresholds(trial, chosen)
    assert 0.05 in tried
    assert tried == sorted(set(tried))
    points, best = calibration.calibrated(trial, chosen, 0.1, pairs_of(mined), upper=False)
    assert {p.rate.leaked for p in points} == set(range(11))
    assert best.rate.leaked <= 1
    assert best.loss.negatives_dropped == 0
    assert 0.46 < best.threshold < 0.5501


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("absolute_margin", lambda t, score, rank, low: score <= low - t),
        ("score_window.cap", lambda t, score, rank, low: score <= t),
        ("rank_window.min", lambda t, score, rank, low: rank >= t),
        ("rank_window.max", lambda t, score, rank, low: rank <= t),
    ],
)
def test_any_filter_with_a_threshold_can_be_swept(name, kept):
    truth = draw(5, queries=30)
    hidden = hiding.hide(truth.mined, 0, 0.3)
    trial = hiding.trial(truth.mined, "least_positive", hidden, complete=False)
    filters = members([{"name": "known_positive"}])
    chosen = sweep(filters, name)
    tried = thresholds(trial, chosen)
    points = curve(trial, chosen, tried, pairs_of(truth.mined))
    [block] = trial.relevant
    seen = block.candidates
    for point in points:
        passes = kept(
            point.threshold, seen.score[block.chosen], seen.rank[block.chosen], seen.positive_score[block.chosen]
        )
        assert point.rate.leaked == passes.sum(), point.threshold
    if name != "absolute_margin":  # which cannot be below 0
        assert max(p.rate.rate for p in points) > 0.9
    assert min(p.rate.rate for p in points) < 0.1


def test_names_of_thresholds():
    assert sweep(RULES, None).key == ("judge", "filters", "relative_margin", "margin")
    assert sweep(RULES, "relative_margin").current == 0.05
    with pytest.raises(ConfigError, match="several thresholds"):
        sweep(RULES, "rank_window")
    with pytest.raises(ConfigError, match="no numeric threshold"):
        sweep(RULES, "same_text")
    with pytest.raises(ConfigError, match="no threshold 'margn'"):
        sweep(RULES, "relative_margin.margn")
    with pytest.raises(ConfigError, match="among the filters"):
        sweep(RULES, "relative_margn")
    with pytest.raises(ConfigError, match="which threshold"):
        sweep((build("filters", "known_positive", {}),), None)


@pytest.mark.parametrize("leak", [0.01, 0.05, 0.3, 0.9])
def test_so_many_are_needed_to_show_a_rate(leak):
    n = needed(leak)
    assert wilson(0.0, n)[1] <= leak
    assert n == 1 or wilson(0.0, n - 1)[1] > leak


def test_the_estimator_is_chosen_by_its_evidence():
    def trial(name: str, queries: range) -> Trial:
        mined = Mined.read(
            world(200, {q: {"positives": {q: 1.0}, "found": {100 + q: 0.5}} for q in range(90)}).inputs()
        )
        [block] = hiding.unlabelled(mined, "least_positive", complete=False)
        rows = np.isin(block.candidates.query_row, list(queries))
        return Trial(name, (Block(block.candidates, rows, np.zeros(len(rows), bool)),), ())

    def chosen(hidden: int, relatives: int, leak: float) -> str:
        found = [trial("hidden_positive", range(hidden)), trial("hierarchy", range(relatives))]
        return by_evidence(found, leak).trial.estimator

    assert needed(0.05) == 73
    assert chosen(73, 90, 0.05) == "hidden_positive"
    assert chosen(72, 90, 0.05) == "hierarchy"
    assert chosen(3, 73, 0.05) == "hierarchy"
    assert chosen(72, 90, 0.1) == "hidden_positive"
    assert chosen(30, 20, 0.05) == "hidden_positive"  # neither will do: the one with more
    assert chosen(20, 30, 0.05) == "hierarchy"
    assert by_evidence([trial("hidden_positive", range(0))], 0.05) is None
    because = by_evidence([trial("hidden_positive", range(5)), trial("hierarchy", range(80))], 0.05).because
    assert because == "it has 80 queries, and 73 are needed to show a leak rate of 0.05; hidden_positive has 5"


def test_queries_with_one_text_are_one_piece_of_evidence():
    each = world(40, {q: {"positives": {q: 1.0}, "found": {20 + q: 0.5}, "text": 7} for q in range(10)})
    [block] = hiding.unlabelled(Mined.read(each.inputs()), "least_positive", complete=False)
    trial = Trial("hidden_positive", (Block(block.candidates, block.chosen, np.zeros(10, bool)),), ())
    assert by_evidence([trial], 0.5).because.startswith("it has the most evidence, 1 queries")
