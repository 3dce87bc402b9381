"""Hidden positives: what the judge no longer knows, how many leak, and whether the interval is honest."""

from random import Random

import numpy as np
import pytest

from stages import hiding
from stages.filters.known_positive import KnownPositive
from stages.filters.relative_margin import RelativeMargin
from stages.filters.same_text import SameText
from stages.hiding import Mined
from stages.leakage import tally
from tests.judging_world import FILTERS, draw, judgement, members, world
from tests.leak_world import draw as draw_truth
from tests.reference_leak import leaks


def texts_hidden(mined: Mined, each, hidden: np.ndarray) -> set[tuple[int, int]]:
    """Keys of `hide` as (query text, document text) of the world."""
    query = {int(n): each.query_texts[i] for i, n in enumerate(mined.known.query_text)}
    doc = {int(n): each.doc_texts[i] for i, n in enumerate(mined.known.doc_text)}
    return {(query[key // mined.known.texts], doc[key % mined.known.texts]) for key in hidden.tolist()}


@pytest.mark.parametrize("comparison", ["least_positive", "per_positive"])
@pytest.mark.parametrize("share", [None, 0.5])
def test_leaks_are_those_of_plain_python(comparison, share):
    hidden_at_all = 0
    for seed in range(150):
        random = Random(seed)
        each = draw(random)
        filters = random.sample(FILTERS, random.randrange(1, 5))
        mined = Mined.read(each.inputs(cuts=(2,)))
        hidden = hiding.hide(mined, seed, share)
        trial = hiding.trial(mined, comparison, hidden, complete=False)
        counted = tally(trial, members(filters)).rate(range(len(filters)))
        expected = leaks(each, comparison, filters, texts_hidden(mined, each, hidden))
        assert (counted.hidden, counted.leaked, trial.unreached) == expected, seed
        hidden_at_all += counted.hidden
    assert hidden_at_all > 50


def test_one_text_of_a_query_with_two_is_hidden_and_none_of_a_query_with_one():
    each = world(
        6,
        {
            0: {"positives": {0: 0.9, 1: 0.8}, "found": {0: 0.9, 1: 0.8, 2: 0.1}},
            1: {"positives": {3: 0.9}, "found": {3: 0.9, 2: 0.1}},
            2: {"positives": {4: 0.9, 5: 0.9}, "found": {4: 0.9, 5: 0.9}},
        },
        doc_texts={5: 77, 4: 77},
    )
    mined = Mined.read(each.inputs())
    for seed in range(8):
        [(query, doc)] = texts_hidden(mined, each, hiding.hide(mined, seed, None))
        assert query == 2000
        assert doc in (1000, 1001)
    assert {next(iter(texts_hidden(mined, each, hiding.hide(mined, s, None)))) for s in range(8)} == {
        (2000, 1000),
        (2000, 1001),
    }


def test_a_hidden_positive_is_unknown_as_itself_as_a_copy_and_as_the_least_positive():
    each = world(
        4,
        {0: {"positives": {0: 0.9, 1: 0.4, 2: 0.4}, "found": {0: 0.9, 3: 0.5, 1: 0.4, 2: 0.4}}},
        doc_texts={1: 55, 2: 55},
        qrels=[judgement(0, 3, 0)],
    )
    mined = Mined.read(each.inputs())
    hidden = next(h for s in range(20) if texts_hidden(mined, each, h := hiding.hide(mined, s, None)) == {(2000, 55)})
    trial = hiding.trial(mined, "least_positive", hidden, complete=False)
    [block] = trial.relevant
    seen = block.candidates
    assert seen.doc_row[block.chosen].tolist() == [1]  # one of the two copies
    assert seen.positive_row.tolist() == [0, 0, 0, 0]  # 0.9 is the least that is left
    for rule in (KnownPositive(), SameText(), RelativeMargin()):
        assert not rule.label(seen).drop[block.chosen].any(), rule.name
    assert not RelativeMargin().label(seen).drop[seen.doc_row == 3].any()
    [other] = trial.others  # what is thrown away is counted with all that is known
    assert other.candidates.doc_row[other.chosen].tolist() == [3]
    assert other.negative[other.chosen].tolist() == [True]
    assert other.candidates.positive_score[other.chosen].tolist() == [0.4]


def test_a_query_that_repeats_another_hides_the_same_document():
    each = world(
        3,
        {
            0: {"positives": {0: 0.9, 1: 0.8}, "found": {0: 0.9, 1: 0.8}, "text": 7},
            1: {"positives": {0: 0.9}, "found": {0: 0.9, 1: 0.8}, "text": 7},
        },
    )
    mined = Mined.read(each.inputs())
    for seed in range(6):
        hidden = hiding.hide(mined, seed, None)
        [block] = hiding.trial(mined, "least_positive", hidden, complete=False).relevant
        seen = block.candidates
        [(_, doc)] = texts_hidden(mined, each, hidden)
        assert np.isnan(seen.relevance[seen.doc_row == doc - 1000]).all()
        assert set(zip(seen.query_row[block.chosen], seen.doc_row[block.chosen], strict=True)) == {(0, doc - 1000)}


def test_the_interval_covers_the_truth_in_95_of_100_worlds():
    """The truth is the leak rate of the relevant documents that nobody labelled, over all worlds."""
    rules = (KnownPositive(), SameText(), RelativeMargin(margin=0.05))
    spans, kept, total = [], 0, 0
    for seed in range(200):
        truth = draw_truth(seed, queries=150)
        hidden = hiding.hide(truth.mined, seed, None)
        counted = tally(hiding.trial(truth.mined, "least_positive", hidden, complete=False), rules)
        rate = counted.rate(range(3))
        spans.append((rate.low, rate.rate, rate.high))
        relevant = np.isin(pair_keys(counted.others.query_row, docs_of(truth)), pair_keys(*truth.unlabelled))
        kept += int(np.count_nonzero(relevant & ~counted.others.dropped(range(3))))
        total += int(relevant.sum())
    low, rate, high = np.array(spans).T
    leak = kept / total
    assert 0.04 < leak < 0.07
    assert rate.mean() == pytest.approx(leak, abs=0.003)
    assert 0.915 <= np.mean((low <= leak) & (leak <= high)) <= 0.985


def test_with_several_hidden_a_query_the_interval_covers_what_the_trial_is_expected_to_give():
    rules = (KnownPositive(), RelativeMargin(margin=0.05))
    spans = []
    for seed in range(200):
        truth = draw_truth(seed)
        hidden = hiding.hide(truth.mined, seed, 0.3)
        rate = tally(hiding.trial(truth.mined, "least_positive", hidden, complete=False), rules).rate((0, 1))
        assert rate.hidden > 2 * rate.queries
        spans.append((rate.low, rate.rate, rate.high))
    low, rate, high = np.array(spans).T
    assert 0.915 <= np.mean((low <= rate.mean()) & (rate.mean() <= high)) <= 0.985


def docs_of(truth) -> np.ndarray:
    """The documents of the rows that `tally` counts as others."""
    [block] = hiding.unlabelled(truth.mined, "least_positive", complete=False)
    return block.candidates.doc_row[block.chosen]


def pair_keys(query: np.ndarray, doc: np.ndarray) -> np.ndarray:
    return query.astype(np.int64) * 10**6 + doc
