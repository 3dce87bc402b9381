"""What holds for judging and sampling whatever the data: nothing here knows the rules' formulas."""

import math

from hypothesis import given
from hypothesis import strategies as st

from stages.filters.absolute_margin import AbsoluteMargin
from stages.filters.relative_margin import RelativeMargin
from stages.filters.score_window import ScoreWindow
from tests import reference_judge as reference
from tests.judging_world import FILTERS, SAMPLERS, draw, inputs_of_sample, judged, kept, members, sampled

WORLDS = st.randoms(use_true_random=False).map(draw)
MODES = st.sampled_from(["least_positive", "per_positive"])
MARGINS = st.floats(0, 1)
RULES = st.lists(st.sampled_from(FILTERS), unique_by=lambda f: f["name"])


@given(WORLDS, MODES, RULES)
def test_no_positive_is_ever_kept_nor_with_same_text_a_duplicate_of_one(world, mode, rules):
    result = kept(judged(world, comparison=mode, filters=members(rules)))
    with_duplicates = any(rule["name"] == "same_text" for rule in rules)
    for query, _, doc in result:
        for j in world.qrels:
            if j["relevance"] > 0 and world.query_texts[j["query_row"]] == world.query_texts[query]:
                assert doc != j["doc_row"]
                assert not with_duplicates or world.doc_texts[doc] != world.doc_texts[j["doc_row"]]
        assert not with_duplicates or world.doc_texts[doc] != world.query_texts[query]


@given(WORLDS, MODES, RULES)
def test_rows_are_those_of_the_reference(world, mode, rules):
    listed = rules if FILTERS[0] in rules else [FILTERS[0], *rules]
    expected = reference.judge(world, mode, listed)
    result = judged(world, comparison=mode, filters=members(rules))
    assert reference.comparable(result.rows("judged")) == reference.comparable(expected)


@given(WORLDS, MODES, st.sampled_from([AbsoluteMargin, RelativeMargin]), MARGINS, MARGINS)
def test_a_tighter_margin_keeps_a_subset(world, mode, rule, one, other):
    loose, tight = (kept(judged(world, comparison=mode, filters=(rule(margin=m),))) for m in sorted([one, other]))
    assert tight <= loose


@given(WORLDS, MODES, st.floats(-1, 1), st.floats(-1, 1))
def test_a_lower_cap_keeps_a_subset(world, mode, one, other):
    low, high = (kept(judged(world, comparison=mode, filters=(ScoreWindow(cap=c),))) for c in sorted([one, other]))
    assert low <= high


@given(WORLDS, MODES, st.sampled_from([AbsoluteMargin, RelativeMargin]), MARGINS)
def test_nothing_above_its_positive_passes_a_margin_whatever_the_signs(world, mode, rule, margin):
    for row in judged(world, comparison=mode, filters=(rule(margin=margin),)).rows("judged"):
        if row["verdict"] == "kept":
            assert row["score"] <= row["positive_score"]


@given(WORLDS, RULES)
def test_what_the_least_positive_lets_pass_passes_for_every_positive(world, rules):
    least = kept(judged(world, filters=members(rules)))
    apart = kept(judged(world, comparison="per_positive", filters=members(rules)))
    positives = {q: [p["positive_row"] for p in world.positives if p["query_row"] == q] or [None] for q, _, _ in least}
    assert {(q, p, d) for q, _, d in least for p in positives[q]} <= apart


@given(WORLDS, MODES, st.permutations(FILTERS))
def test_the_order_of_filters_changes_no_kept_row(world, mode, shuffled):
    assert kept(judged(world, comparison=mode, filters=members(shuffled))) == kept(
        judged(world, comparison=mode, filters=members(FILTERS))
    )


@given(
    WORLDS,
    MODES,
    st.lists(st.integers(0, 5), max_size=4),
    st.sampled_from(members(SAMPLERS, "samplers")),
    st.integers(0, 2**63 - 1),
)
def test_any_sharding_gives_the_same_triplets(world, mode, cuts, sampler, seed):
    def triplets(cuts):
        result = sampled(
            inputs_of_sample(world, cuts, comparison=mode, filters=members(FILTERS[:2])),
            sampler=sampler,
            seed=seed,
            negatives=3,
        )
        return result.rows("triplets"), result.rows("shortfall"), result.counters

    whole, parts = triplets([]), triplets(sorted(cuts))
    assert reference.comparable(whole[0]) == reference.comparable(parts[0])
    assert whole[1:] == parts[1:]


@given(WORLDS, MODES, st.sampled_from(members(SAMPLERS, "samplers")), st.integers(1, 5))
def test_triplets_are_kept_rows_each_once_and_as_many_as_there_are(world, mode, sampler, negatives):
    inputs = inputs_of_sample(world, comparison=mode, filters=members(FILTERS[:2]))
    result = sampled(inputs, sampler=sampler, negatives=negatives)
    available: dict[tuple, set] = {}
    rows = [r for r in inputs["judged"].read().to_pylist() if r["verdict"] == "kept"]
    for p in world.positives:
        available[p["query_row"], p["positive_row"]] = {
            r["doc_row"]
            for r in rows
            if math.isfinite(r["score"])
            and r["query_row"] == p["query_row"]
            and (mode == "least_positive" or r["positive_row"] == p["positive_row"])
        }
    chosen: dict[tuple, list] = {pair: [] for pair in available}
    for t in result.rows("triplets"):
        chosen[t["query_row"], t["positive_row"]].append(t["negative_row"])
    scored = {
        (p["query_row"], p["positive_row"])
        for p in world.positives
        if p["score"] is not None and math.isfinite(p["score"])
    }
    for pair, docs in chosen.items():
        there = 0 if sampler.name == "simans" and pair not in scored else len(available[pair])
        assert len(docs) == len(set(docs)) == min(negatives, there)
        assert set(docs) <= available[pair]


@given(WORLDS, MODES, st.sampled_from(members(SAMPLERS, "samplers")), st.integers(1, 4))
def test_more_negatives_begin_with_the_same_ones(world, mode, sampler, negatives):
    """Not where bands are fewer than asked for: there they are cut anew."""
    if sampler.name == "stratified" and negatives < sampler.bands:
        return
    inputs = inputs_of_sample(world, comparison=mode, filters=members(FILTERS[:1]))
    few, many = (
        [(r["query_row"], r["positive_row"], r["negative_row"]) for r in result.rows("triplets")]
        for result in (sampled(inputs, sampler=sampler, negatives=n) for n in (negatives, negatives + 1))
    )
    for pair in {t[:2] for t in many}:
        first = [t for t in many if t[:2] == pair][:negatives]
        assert [t for t in few if t[:2] == pair] == first


NARROWER = [
    ("shift", "n", st.integers(0, 8), False),
    ("hub", "share", st.floats(0.01, 1), True),
    ("near_duplicate_semantic", "threshold", st.floats(-1, 2), True),
    ("near_duplicate_lexical", "threshold", st.floats(0.05, 1), True),
]


@given(WORLDS, MODES, st.sampled_from(NARROWER), st.data())
def test_a_stricter_rule_keeps_a_subset(world, mode, rule, data):
    name, field, values, lower_is_stricter = rule
    one, other = sorted([data.draw(values), data.draw(values)], reverse=not lower_is_stricter)
    strict, loose = (
        kept(judged(world, comparison=mode, filters=members([{"name": name, field: value}]))) for value in (one, other)
    )
    assert strict <= loose


@given(WORLDS, MODES, st.lists(st.integers(0, 5), max_size=4), RULES)
def test_any_sharding_gives_the_same_verdicts(world, mode, cuts, rules):
    whole, parts = (judged(world, each, comparison=mode, filters=members(rules)) for each in ([], sorted(cuts)))
    assert reference.comparable(whole.rows("judged")) == reference.comparable(parts.rows("judged"))
