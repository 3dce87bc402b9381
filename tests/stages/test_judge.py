"""Judge against a plain reference row by row, and each trap that a known miner falls into."""

import math
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages import judge
from stages.errors import ArtefactError, ConfigError
from stages.filters.absolute_margin import AbsoluteMargin
from stages.filters.known_positive import KnownPositive
from stages.filters.rank_window import RankWindow
from stages.filters.relative_margin import RelativeMargin
from stages.filters.same_text import SameText
from stages.schemas import JUDGED
from stages.settings import parse
from tests import reference_judge as reference
from tests.judging_world import FILTERS, NOWHERE, World, draw, judged, judgement, kept, members, verdicts, world
from tests.support import run, table

MODES = ("least_positive", "per_positive")


@pytest.mark.parametrize("comparison", MODES)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "filters",
    [FILTERS, FILTERS[::-1], FILTERS[:2], FILTERS[3:6], *([each] for each in FILTERS[1:])],
    ids=["all", "reversed", "known", "scores", *(each["name"] for each in FILTERS[1:])],
)
def test_every_row_is_that_of_the_reference(comparison, seed, filters):
    drawn = draw(Random(seed), documents=60, queries=40, depth=30)
    result = judged(drawn, cuts=[7, 7, 30], comparison=comparison, filters=members(filters))
    listed = filters if FILTERS[0] in filters else [FILTERS[0], *filters]
    expected = reference.judge(drawn, comparison, listed)
    assert reference.comparable(result.rows("judged")) == reference.comparable(expected)
    assert len({r["verdict"] for r in expected}) > 1


def test_the_default_rules_are_known_positive_same_text_and_a_ceiling_5_percent_above_the_positive():
    assert judge.JudgeConfig().semantic() == {
        "comparison": "least_positive",
        "filters": [{"name": "known_positive"}, {"name": "same_text"}, {"name": "relative_margin", "margin": -0.05}],
        "promote": False,
        "promote_overlap": 0.8,
    }


def test_a_table_of_the_configuration_gives_filters_in_its_order():
    fields = {"filters": {"rank_window": {"min": 11, "max": 210}, "known_positive": {}, "absolute_margin": {}}}
    config = parse(judge.JudgeConfig, fields, "judge")
    assert config.filters == (RankWindow(min=11, max=210), KnownPositive(), AbsoluteMargin(margin=0.05))


def test_known_positives_are_dropped_even_when_only_other_rules_are_listed():
    config = judge.JudgeConfig(filters=(AbsoluteMargin(),))
    assert config.filters == (KnownPositive(), AbsoluteMargin())
    given = world(3, {0: {"positives": {0: 0.9}, "found": {0: 0.1, 1: 0.1}}})
    assert verdicts(judged(given, filters=(AbsoluteMargin(),))) == {(0, 0): "known_positive", (0, 1): "kept"}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"filters": {"relativ_margin": {}}}, "relative_margin"),
        ({"filters": {"relative_margin": {"margn": 0.1}}}, "margin"),
        ({"filters": {"relative_margin": {"margin": -1.1}}}, "relative_margin.margin"),
        ({"filters": {"relative_margin": {"margin": math.nan}}}, "relative_margin.margin"),
        ({"filters": {"rank_window": {"min": 5, "max": 4}}}, "empty"),
        ({"filters": {"score_window": {}}}, "no bound"),
        ({"filters": {"score_window": {"floor": 0.5, "cap": 0.4}}}, "empty"),
        ({"filters": (RelativeMargin(), RelativeMargin(margin=0.1))}, "twice"),
        ({"comparison": "least"}, "judge.comparison"),
    ],
)
def test_a_wrong_configuration_says_what_is_wrong(fields, says):
    with pytest.raises(ConfigError) as caught:
        parse(judge.JudgeConfig, fields, "judge")
    assert says in str(caught.value)


def test_the_facts_and_counters_say_what_was_done():
    given = world(
        6,
        {
            0: {"positives": {0: 1.0}, "found": {0: 1.0, 1: 1.06, 2: 0.5}},
            1: {"positives": {3: 0.5}, "found": {4: 0.6}},
            2: {"positives": {5: 0.5}},
        },
    )
    result = judged(given, cuts=[1])
    assert result.facts == {"comparison": "least_positive", "filters": judge.JudgeConfig().semantic()["filters"]}
    assert result.counters == {
        "verdict.kept": 1,
        "verdict.known_positive": 1,
        "verdict.same_text": 0,
        "verdict.relative_margin": 2,
        "kept_with_negative_relevance": 0,
        "queries": 3,
        "queries_without_kept": 2,
    }
    assert result.messages == ["2 of 3 queries keep no candidate"]


def test_the_verdicts_are_a_closed_list_whatever_occurs():
    result = judged(world(2, {0: {"positives": {0: 1.0}, "found": {1: 0.5}}}))
    column = result["judged"]["verdict"].chunk(0)
    assert column.dictionary.to_pylist() == ["kept", "known_positive", "same_text", "relative_margin"]


def test_evidence_is_of_the_first_filter_that_drops_or_of_the_last_that_passes():
    given = world(4, {0: {"positives": {0: 0.5}, "found": {0: 0.5, 1: 0.49, 2: 0.25}}})
    rows = judged(given, filters=(AbsoluteMargin(margin=0.25), RelativeMargin(margin=0.5))).rows("judged")
    assert [(r["doc_row"], r["verdict"], r["evidence"]) for r in rows] == [
        (0, "known_positive", {"rule": "known_positive", "value": 1.0, "limit": 0.0}),
        (1, "absolute_margin", {"rule": "absolute_margin", "value": 0.49, "limit": 0.25}),
        (2, "kept", {"rule": "relative_margin", "value": 0.25, "limit": 0.25}),
    ]


# Traps


def test_the_least_positive_and_each_positive_apart_are_different_sets():
    given = world(5, {0: {"positives": {0: 0.9, 1: 0.4}, "found": {2: 0.6, 3: 0.3}}})
    assert kept(judged(given)) == {(0, 1, 3)}
    assert kept(judged(given, comparison="per_positive")) == {(0, 0, 2), (0, 0, 3), (0, 1, 3)}


@pytest.mark.parametrize("comparison", MODES)
def test_no_query_meets_the_positives_of_another_when_their_numbers_differ(comparison):
    given = world(
        20,
        {
            0: {"positives": {0: 0.2}, "found": {10: 0.15, 11: 0.25}},
            1: {"positives": {1: 0.9, 2: 0.8, 3: 0.7}, "found": {12: 0.65, 13: 0.75}},
            2: {"positives": {4: 0.3, 5: 0.4}, "found": {14: 0.28, 15: 0.35}},
            3: {"positives": {6: 0.95}, "found": {16: 0.9, 17: 0.94}},
        },
    )
    rows = judged(given, filters=(RelativeMargin(),), comparison=comparison).rows("judged")
    own = {(p["query_row"], p["positive_row"]): p["score"] for p in given.positives}
    assert all(own[r["query_row"], r["positive_row"]] == r["positive_score"] for r in rows)
    found = {(r["query_row"], r["positive_row"], r["doc_row"]) for r in rows if r["verdict"] == "kept"}
    if comparison == "least_positive":
        assert found == {(0, 0, 10), (1, 3, 12), (2, 4, 14), (3, 6, 16)}
    else:
        assert found == {
            (0, 0, 10), (1, 1, 12), (1, 1, 13), (1, 2, 12), (1, 2, 13), (1, 3, 12),
            (2, 4, 14), (2, 5, 14), (2, 5, 15), (3, 6, 16),
        }  # fmt: skip


def test_a_positive_that_was_not_found_still_bounds_its_candidates():
    given = world(4, {0: {"positives": {0: 0.2}, "found": {1: 0.9, 2: 0.1}}})
    assert verdicts(judged(given)) == {(0, 1): "relative_margin", (0, 2): "kept"}


def test_a_positive_of_another_split_is_no_negative():
    given = world(4, {0: {"positives": {0: 0.9}, "found": {1: 0.1, 2: 0.1}}}, qrels=[judgement(0, 1, 1, "test")])
    assert verdicts(judged(given)) == {(0, 1): "known_positive", (0, 2): "kept"}


def test_a_positive_of_another_query_with_the_same_text_is_no_negative_nor_is_its_duplicate():
    given = world(
        8,
        {
            0: {"positives": {0: 0.9}, "found": {1: 0.1, 2: 0.1, 3: 0.1}, "text": 77},
            1: {"positives": {1: 0.9}, "found": {0: 0.1, 3: 0.1}, "text": 77},
            2: {"positives": {4: 0.9}, "found": {0: 0.1, 1: 0.1, 2: 0.1}},
        },
        doc_texts={1: 5, 2: 5},
    )
    assert verdicts(judged(given)) == {
        (0, 1): "known_positive", (0, 2): "same_text", (0, 3): "kept",
        (1, 0): "known_positive", (1, 3): "kept",
        (2, 0): "kept", (2, 1): "kept", (2, 2): "kept",
    }  # fmt: skip


def test_nothing_beyond_the_limit_of_a_positive_below_zero_passes():
    given = world(4, {0: {"positives": {0: -0.4}, "found": {1: -0.39, 2: -0.41, 3: -0.43}}})
    below = judged(given, filters=(RelativeMargin(),))
    assert verdicts(below) == {(0, 1): "relative_margin", (0, 2): "relative_margin", (0, 3): "kept"}
    above = judged(given)
    assert verdicts(above) == {(0, 1): "kept", (0, 2): "kept", (0, 3): "kept"}
    far = world(4, {0: {"positives": {0: -0.4}, "found": {1: -0.37, 2: 0.4}}})
    assert set(verdicts(judged(far)).values()) == {"relative_margin"}


@pytest.mark.parametrize("missing", [None, math.nan, math.inf, -math.inf])
def test_margins_drop_where_a_positive_has_no_score(missing):
    given = world(6, {0: {"positives": {0: 0.9, 1: missing}, "found": {2: 0.1, 3: -math.inf}}})
    margins = (RelativeMargin(), AbsoluteMargin())
    rows = judged(given, filters=margins).rows("judged")
    assert [(r["positive_row"], r["positive_score"], r["verdict"]) for r in rows] == [
        (None, None, "relative_margin")
    ] * 2
    assert [r["evidence"]["limit"] for r in rows] == [None, None]
    assert kept(judged(given, filters=margins, comparison="per_positive")) == {(0, 0, 2)}
    apart = judged(given, filters=margins, comparison="per_positive").rows("judged")
    assert [(r["positive_row"], r["positive_score"]) for r in apart] == [(0, 0.9)] * 2 + [(1, None)] * 2


@pytest.mark.parametrize("comparison", MODES)
def test_candidates_without_positives_keep_one_row_each_and_pass_no_margin(comparison):
    given = world(4, {0: {"found": {1: 0.5, 2: 0.4}}, 1: {"positives": {0: 0.9}, "found": {3: 0.1}}})
    rows = judged(given, comparison=comparison).rows("judged")
    assert [(r["query_row"], r["doc_row"], r["positive_row"], r["verdict"]) for r in rows] == [
        (0, 1, None, "relative_margin"),
        (0, 2, None, "relative_margin"),
        (1, 3, 0, "kept"),
    ]


def test_a_document_judged_not_relevant_is_kept_and_spam_is_counted():
    qrels = [judgement(0, 1, 0), judgement(0, 2, -2)]
    result = judged(world(5, {0: {"positives": {0: 0.9}, "found": {1: 0.1, 2: 0.1, 3: 0.1}}}, qrels=qrels), filters=())
    assert set(verdicts(result).values()) == {"kept"}
    assert {r["doc_row"]: r["evidence"]["value"] for r in result.rows("judged")} == {1: 0.0, 2: -2.0, 3: None}
    assert result.counters["kept_with_negative_relevance"] == 1


# Shards


def test_a_part_without_rows_gives_an_empty_table():
    result = judged(world(2, {0: {"positives": {0: 0.9}, "found": {1: 0.1}}}), cuts=[1, 1])
    assert [t.num_rows for t in result.tables["judged"].tables] == [1, 0, 0]


def test_a_resumed_run_gives_the_parts_that_are_left_and_the_facts():
    given = draw(Random(3), documents=30, queries=12)
    whole = judged(given, cuts=[4, 8])
    rest = judged(given, cuts=[4, 8], only=["candidates-00001", "candidates-00002"])
    left = pa.concat_tables(whole.tables["judged"].tables[1:]).to_pylist()
    assert reference.comparable(rest.rows("judged")) == reference.comparable(left)
    assert rest.facts == whole.facts


def test_the_table_comes_back_from_parquet_as_it_was(tmp_path):
    result = judged(draw(Random(1), documents=30, queries=12), comparison="per_positive")
    pq.write_table(result["judged"], tmp_path / "judged.parquet")
    back = pq.read_table(tmp_path / "judged.parquet")
    assert back.schema.equals(JUDGED)
    assert reference.comparable(back.to_pylist()) == reference.comparable(result.rows("judged"))


def test_retrievers_stay_with_their_rows_when_chunks_have_other_dictionaries():
    given = world(
        9,
        {0: {"positives": {0: 0.9, 1: 0.8}, "found": {2: 0.1}}, 1: {"positives": {3: 0.9, 4: 0.8}, "found": {5: 0.1}}},
    )
    inputs = given.inputs()
    halves = [
        table("candidates", [{**row, "retriever": name}])
        for row, name in zip(given.candidates, ("dense", "bm25"), strict=True)
    ]
    inputs["candidates"].tables = [pa.concat_tables(halves)]
    rows = run(judge, judge.JudgeConfig(comparison="per_positive"), inputs, NOWHERE).rows("judged")
    assert [(r["query_row"], r["retriever"]) for r in rows] == [(0, "dense")] * 2 + [(1, "bm25")] * 2


# Inputs that do not belong together


def _damaged(**changes) -> World:
    given = world(3, {0: {"positives": {0: 0.9}, "found": {1: 0.1, 2: 0.05}}})
    return World(**{**vars(given), **changes})


def test_a_row_outside_of_its_table_is_an_error():
    padded = [{"query_row": 0, "doc_row": -1, "rank": 1, "score": -math.inf, "retriever": "dense"}]
    with pytest.raises(ArtefactError, match="doc_row lies outside"):
        judged(_damaged(candidates=padded))
    with pytest.raises(ArtefactError, match="positive_row lies outside"):
        judged(_damaged(positives=[{"query_row": 0, "positive_row": 3, "score": 0.9, "rank": None}]))


@pytest.mark.parametrize("name", ["candidates", "positives"])
def test_rows_out_of_order_are_an_error(name):
    inputs = world(9, {0: {"positives": {0: 0.9, 1: 0.8}, "found": {3: 0.2, 4: 0.1}}}).inputs()
    inputs[name].tables = [inputs[name].tables[0].take([1, 0])]
    with pytest.raises(ArtefactError, match=f"the {name} are not ordered"):
        run(judge, judge.JudgeConfig(), inputs, NOWHERE)


def test_parts_that_do_not_correspond_are_an_error():
    given = world(3, {0: {"positives": {0: 0.9}, "found": {1: 0.1}}})
    inputs = {**given.inputs(), "positives": given.inputs([1])["positives"]}
    with pytest.raises(ArtefactError, match="do not belong together"):
        run(judge, judge.JudgeConfig(), inputs, NOWHERE)


def test_known_positive_stays_where_it_is_listed():
    assert judge.JudgeConfig(filters=(SameText(), KnownPositive())).filters == (SameText(), KnownPositive())
