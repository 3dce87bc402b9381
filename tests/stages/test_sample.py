"""Sample against a plain reference row by row; yield, shortfall and resume."""

import math
from random import Random as Generator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages import sample
from stages.errors import ArtefactError, ConfigError, YieldError
from stages.filters.rank_window import RankWindow
from stages.samplers.random import Random
from stages.settings import parse
from tests import reference_judge as reference
from tests.judging_world import FILTERS, SAMPLERS, draw, inputs_of_sample, members, sampled, world
from tests.support import Table

MODES = ("least_positive", "per_positive")


def pairs_of(result) -> list[tuple[int, int, int]]:
    return [(r["query_row"], r["positive_row"], r["negative_row"]) for r in result.rows("triplets")]


@pytest.mark.parametrize("comparison", MODES)
@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: s["name"])
@pytest.mark.parametrize("seed", range(3))
def test_every_triplet_is_that_of_the_reference(comparison, sampler, seed):
    drawn = draw(Generator(seed), documents=60, queries=40, depth=30)
    filters = [FILTERS[0], FILTERS[1], FILTERS[4]] if seed else FILTERS[:2]
    inputs = inputs_of_sample(drawn, cuts=[7, 7, 30], comparison=comparison, filters=members(filters))
    result = sampled(inputs, sampler=members([sampler], "samplers")[0], negatives=4, seed=seed, round=2)
    rows = reference.judge(drawn, comparison, filters)
    triplets, shortfall = reference.sample(
        drawn, rows, comparison=comparison, sampler=sampler, negatives=4, seed=seed, round=2
    )
    assert reference.comparable(result.rows("triplets")) == reference.comparable(triplets)
    assert result.rows("shortfall") == shortfall
    assert triplets
    assert shortfall


def test_filters_come_before_the_cut():
    found = {d: 0.95 - d / 1000 for d in range(2, 12)} | {20: 0.3, 21: 0.2, 22: 0.1}
    inputs = inputs_of_sample(world(30, {0: {"positives": {0: 0.9}, "found": found}}))
    assert pairs_of(sampled(inputs, negatives=2)) == [(0, 0, 20), (0, 0, 21)]


def test_each_positive_gets_its_own_negatives():
    given = world(
        9,
        {0: {"positives": {0: 0.9, 1: 0.4}, "found": {2: 0.6, 3: 0.3}}, 1: {"positives": {4: 0.9}, "found": {5: 0.1}}},
    )
    least = pairs_of(sampled(inputs_of_sample(given), negatives=1))
    apart = pairs_of(sampled(inputs_of_sample(given, comparison="per_positive"), negatives=1))
    assert least == [(0, 0, 3), (0, 1, 3), (1, 4, 5)]
    assert apart == [(0, 0, 2), (0, 1, 3), (1, 4, 5)]


def test_a_row_says_its_scores_rank_sampler_seed_and_round():
    given = world(5, {0: {"positives": {0: 0.9}, "found": {0: 0.9, 1: 0.4}}})
    result = sampled(inputs_of_sample(given), sampler=Random(), seed=7, round=3)
    assert result.rows("triplets") == [
        {
            "query_row": 0, "positive_row": 0, "negative_row": 1, "positive_score": 0.9, "negative_score": 0.4,
            "rank": 2, "sampler": "random", "seed": 7, "round": 3,
        }
    ]  # fmt: skip


def test_a_positive_without_a_score_gets_negatives_where_no_rule_needs_it():
    given = world(
        5, {0: {"positives": {0: None}, "found": {1: 0.4}}, 1: {"positives": {2: math.nan}, "found": {3: 0.4}}}
    )
    rows = sampled(inputs_of_sample(given, filters=())).rows("triplets")
    assert [(r["query_row"], r["negative_row"], r["positive_score"]) for r in rows] == [(0, 1, None), (1, 3, None)]


def test_what_is_missing_is_reported_and_never_filled_up():
    given = world(
        9,
        {
            0: {"positives": {0: 0.9}, "found": {1: 0.1, 2: 0.2, 3: 0.3}},
            1: {"positives": {4: 0.9}, "found": {5: 0.89, 6: 0.1}},
            2: {"positives": {7: 0.9, 8: 0.8}},
        },
    )
    result = sampled(inputs_of_sample(given, cuts=[1]), negatives=2)
    assert pairs_of(result) == [(0, 0, 3), (0, 0, 2), (1, 4, 6)]
    assert result.rows("shortfall") == [
        {"query_row": 1, "positive_row": 4, "wanted": 2, "got": 1},
        {"query_row": 2, "positive_row": 7, "wanted": 2, "got": 0},
        {"query_row": 2, "positive_row": 8, "wanted": 2, "got": 0},
    ]
    assert result.counters == {
        "pairs": 4,
        "pairs_full": 1,
        "pairs_short": 1,
        "pairs_empty": 2,
        "triplets": 3,
        "kept_not_finite": 0,
        "kept_relabelled": 0,
    }
    assert result.messages == ["3 of 4 (query, positive) pairs get fewer than 2 negatives"]


STARVED = world(
    20,
    {
        0: {"positives": {0: 0.9}, "found": {10: 0.1, 11: 0.89}},
        1: {"positives": {1: 0.3}, "found": {1: 0.3, 10: 0.8, 11: 0.7}},
        2: {"positives": {2: 0.3, 3: 0.4}, "found": {10: 0.6}},
        3: {"positives": {4: 0.9}},
        4: {"positives": {5: 0.9}, "found": {12: 0.2}},
    },
)  # 2 of 6 pairs get a negative; the last part alone: all of its pairs do


def test_too_little_yield_names_reasons_and_queries():
    with pytest.raises(YieldError) as caught:
        sampled(inputs_of_sample(STARVED, cuts=[4]), min_yield=0.5)
    assert caught.value.exit_code == 4
    assert caught.value.got.splitlines() == [
        "2 of 6 pairs",
        "  verdict and candidates",
        f"    {'relative_margin':<20} {4:>12}",
        f"    {'kept':<20} {2:>12}",
        f"    {'known_positive':<20} {1:>12}",
        "  queries with a pair that gets none, most candidates first",
        "    q1: 3 candidates, relative_margin 2, known_positive 1",
        "    q2: 1 candidates, relative_margin 1",
        "  queries without any candidate: 1",
    ]


def test_the_yield_is_that_of_all_parts_also_when_only_the_last_is_left():
    inputs = inputs_of_sample(STARVED, cuts=[4])
    with pytest.raises(YieldError):
        sampled(inputs, min_yield=0.5, only=["judged-00001"])
    assert pairs_of(sampled(inputs, min_yield=1 / 3, only=["judged-00001"])) == [(4, 5, 12)]


def test_a_piece_of_the_work_without_the_last_part_leaves_the_yield_to_the_rest():
    result = sampled(inputs_of_sample(STARVED, cuts=[4]), min_yield=0.5, only=["judged-00000"])
    assert pairs_of(result) == [(0, 0, 10)]


def test_the_yield_may_be_met_exactly():
    assert len(pairs_of(sampled(inputs_of_sample(STARVED), min_yield=2 / 6))) == 2


def test_no_pairs_at_all_is_too_little():
    nothing = inputs_of_sample(world(3, {0: {"found": {1: 0.5}}}))
    with pytest.raises(YieldError, match="too few"):
        sampled(nothing, min_yield=0.1)
    assert sampled(nothing, min_yield=0).counters["pairs"] == 0


def test_a_file_for_each_part_may_number_the_verdicts_in_its_own_way(tmp_path):
    inputs = inputs_of_sample(draw(Generator(5), documents=30, queries=12), cuts=[4, 8], filters=members(FILTERS[:2]))
    stored = []
    for i, part in enumerate(inputs["judged"].tables):
        verdict = pa.array(part["verdict"].to_pylist()).dictionary_encode()
        own = part.set_column(part.schema.get_field_index("verdict"), part.schema.field("verdict"), verdict)
        pq.write_table(own, tmp_path / f"{i}.parquet", row_group_size=5)
        stored.append(pq.read_table(tmp_path / f"{i}.parquet"))
    reread = {**inputs, "judged": Table(stored, facts=inputs["judged"].facts)}
    assert pairs_of(sampled(reread)) == pairs_of(sampled(inputs))
    with pytest.raises(YieldError, match="verdict and candidates"):
        sampled(reread, min_yield=1)


def test_judged_that_does_not_say_its_comparison_is_an_error():
    inputs = inputs_of_sample(STARVED)
    with pytest.raises(ArtefactError, match="do not belong together"):
        sampled({**inputs, "judged": Table(inputs["judged"].tables)})


def test_parts_that_do_not_correspond_are_an_error():
    inputs = inputs_of_sample(STARVED, cuts=[4])
    with pytest.raises(ArtefactError, match="do not belong together"):
        sampled({**inputs, "positives": STARVED.inputs()["positives"]})


@pytest.mark.parametrize("name", ["judged", "positives"])
def test_rows_out_of_order_are_an_error(name):
    inputs = inputs_of_sample(STARVED, filters=(RankWindow(),))
    table = inputs[name].tables[0]
    damaged = table.take(list(range(table.num_rows))[::-1])
    with pytest.raises(ArtefactError, match="out of order"):
        sampled({**inputs, name: Table([damaged], facts=inputs[name].facts)})


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"negatives": 0}, "sample.negatives"),
        ({"seed": -1}, "sample.seed"),
        ({"min_yield": 1.5}, "sample.min_yield"),
        ({"sampler": {"name": "tob"}}, "top"),
        ({"negative": 3}, "negatives"),
    ],
)
def test_a_wrong_configuration_says_what_is_wrong(fields, says):
    with pytest.raises(ConfigError) as caught:
        parse(sample.SampleConfig, fields, "sample")
    assert says in str(caught.value)


def test_the_defaults():
    expected = {"sampler": {"name": "top"}, "negatives": 5, "seed": 0, "min_yield": 0.5}
    assert sample.SampleConfig().semantic() == expected
    assert parse(sample.SampleConfig, {"sampler": {"name": "random"}}, "sample").sampler == Random()


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: s["name"])
def test_a_candidate_whose_score_is_not_finite_is_never_a_negative(sampler):
    found = {1: math.inf, 2: math.nan, 3: -math.inf, 4: 0.2}
    given = world(9, {0: {"positives": {0: 0.9}, "found": found}, 1: {"positives": {5: 0.9}, "found": {6: -math.inf}}})
    result = sampled(inputs_of_sample(given, filters=()), sampler=members([sampler], "samplers")[0], negatives=4)
    assert pairs_of(result) == [(0, 0, 4)]
    assert result.counters["kept_not_finite"] == 4
    assert [row["got"] for row in result.rows("shortfall")] == [1, 0]
    assert result.messages[0] == "4 kept candidates have no finite score, and are left out"


def test_scores_that_are_not_finite_do_not_count_as_yield():
    given = world(9, {0: {"positives": {0: 0.9}, "found": {1: -math.inf}}})
    with pytest.raises(YieldError):
        sampled(inputs_of_sample(given, filters=()), min_yield=0.5)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: s["name"])
def test_a_positive_that_was_not_found_still_gets_its_negatives(sampler):
    given = world(5, {0: {"positives": {0: 0.05}, "found": {1: 0.02, 2: 0.9}}})
    result = sampled(inputs_of_sample(given), sampler=members([sampler], "samplers")[0], negatives=1)
    assert pairs_of(result) == [(0, 0, 1)]


def test_a_rank_window_and_the_random_sampler_are_the_rule_of_ance():
    """Uniform among the ranks up to 200; here 4, with the positive at rank 1."""
    given = world(30, {0: {"positives": {0: 0.9}, "found": {0: 0.9} | {d: 0.9 - d / 50 for d in range(1, 12)}}})
    inputs = inputs_of_sample(given, filters=(RankWindow(max=4),))
    chosen = {pairs_of(sampled(inputs, sampler=Random(), negatives=1, seed=seed))[0][2] for seed in range(40)}
    assert chosen == {1, 2, 3}
