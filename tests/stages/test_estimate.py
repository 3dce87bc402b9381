"""The stage `estimate` and the hierarchy as a proxy."""

import pytest

from stages import estimate
from stages.errors import ArtefactError, ConfigError
from tests.judging_world import NOWHERE, World, judged, judgement, world
from tests.support import Table, run, source, table

FILTERS = ({"name": "known_positive"}, {"name": "same_text"}, {"name": "relative_margin", "margin": 0.1})
RULES = {f["name"]: {k: v for k, v in f.items() if k != "name"} for f in FILTERS}


def inputs(each: World, groups: dict[int, str] | None = None, cuts=(), **config) -> dict[str, Table]:
    tables = each.inputs(cuts)
    if groups:
        tables["corpus"] = source(
            table("corpus", [{**row, "group": groups.get(row["row"])} for row in tables["corpus"].read().to_pylist()])
        )
    return {**tables, **judged(each, cuts, filters=RULES, **config).inputs()}


def rows(result, **wanted) -> list[dict]:
    return [r for r in result.rows("estimates") if all(r[k] == v for k, v in wanted.items())]


def two_positives() -> World:
    """Query 0 has two positives: whichever is hidden, the other is at 0.9 or 0.5."""
    return world(
        8,
        {
            0: {"positives": {0: 0.9, 1: 0.5}, "found": {0: 0.9, 2: 0.8, 1: 0.5, 3: 0.2}},
            1: {"positives": {4: 0.6}, "found": {4: 0.6, 5: 0.59, 6: 0.1}},
        },
        qrels=[judgement(0, 2, 0), judgement(1, 6, -1)],
    )


def test_what_leaks_and_what_is_thrown_away():
    each = two_positives()
    seen = set()
    for seed in range(8):
        result = run(estimate, estimate.EstimateConfig(seed=seed), inputs(each), NOWHERE, round=3)
        [overall] = rows(result, filter="all", band="overall", estimator="hidden_positive")
        seen.add(overall["leaked"])
        assert overall["round"] == 3
        assert (overall["queries"], overall["hidden"]) == (1, 1)
        # unjudged: d3 at .2 is kept, d5 at .59 of .6 is thrown away; not relevant: d2 at .8 of .5 thrown away, d6 kept
        assert (
            overall["unjudged"],
            overall["unjudged_dropped"],
            overall["negatives"],
            overall["negatives_dropped"],
        ) == (2, 1, 2, 1)
        [alone] = rows(result, filter="known_positive", band="overall")
        assert (alone["leaked"], alone["unjudged_dropped"], alone["negatives_dropped"]) == (1, 0, 0)
    assert seen == {0, 1}  # d1 hidden at .5 leaks below .9; d0 hidden at .9 is caught above .5


def test_bands_hold_each_row_once():
    result = run(
        estimate, estimate.EstimateConfig(rank_bands=(1, 3), gap_bands=(0.0,)), inputs(two_positives()), NOWHERE
    )
    [overall] = rows(result, filter="all", band="overall")
    for band in ("rank", "gap"):
        parts = rows(result, filter="all", band=band)
        for column in ("hidden", "leaked", "unjudged", "negatives"):
            assert sum(part[column] for part in parts) == overall[column], (band, column)
    assert [(r["lower"], r["upper"], r["unjudged"]) for r in rows(result, filter="all", band="rank")] == [
        (1, 3, 1),
        (3, None, 1),
    ]


def test_parts_change_nothing():
    each = two_positives()
    whole = run(estimate, estimate.EstimateConfig(), inputs(each), NOWHERE)
    cut = run(estimate, estimate.EstimateConfig(), inputs(each, cuts=(1,)), NOWHERE)
    assert whole["estimates"].equals(cut["estimates"])


def test_complete_labels_make_everything_else_a_true_negative():
    result = run(estimate, estimate.EstimateConfig(complete=True), inputs(two_positives()), NOWHERE)
    [overall] = rows(result, filter="all", band="overall")
    assert (overall["unjudged"], overall["negatives"], overall["negatives_dropped"]) == (0, 4, 2)
    assert overall["false_negatives"] is None


def test_without_a_second_positive_it_says_so():
    each = world(3, {0: {"positives": {0: 0.9}, "found": {0: 0.9, 1: 0.2}}})
    result = run(estimate, estimate.EstimateConfig(), inputs(each), NOWHERE)
    [overall] = rows(result, filter="all", band="overall")
    assert (overall["hidden"], overall["rate"], overall["low"], overall["high"]) == (0, None, None, None)
    assert result.facts["estimable"] is False
    assert result.messages == [
        "no query has two different positives, so none can be hidden: the leak rate of false negatives is not known"
    ]


def test_a_hidden_positive_that_was_not_found_does_not_count():
    each = world(4, {0: {"positives": {0: 0.9, 1: 0.8}, "found": {2: 0.95, 3: 0.2}}})
    result = run(estimate, estimate.EstimateConfig(), inputs(each), NOWHERE)
    assert result.counters == {"hidden": 1, "hidden.among_candidates": 0, "hidden.beyond_candidates": 1, "relatives": 0}


GROUPS = {1: "d0", 2: "d1", 3: "d2", 4: "d1", 5: "d5", 6: "somewhere"}
"""d0 above d1 above d2 above d3; d4 beside d2; d5 names itself, d6 what is not there."""


@pytest.mark.parametrize(("siblings", "related"), [(False, [0, 1, 3, 7]), (True, [0, 1, 3, 4, 7])])
def test_relatives_are_those_above_below_and_with_the_text(siblings, related):
    found = {0: 0.1, 1: 0.85, 2: 0.9, 3: 0.95, 4: 0.2, 5: 0.3, 6: 0.31, 7: 0.9}
    each = world(8, {0: {"positives": {2: 0.9}, "found": found}}, doc_texts={7: 1002})
    result = run(estimate, estimate.EstimateConfig(siblings=siblings), inputs(each, GROUPS), NOWHERE)
    [overall] = rows(result, estimator="hierarchy", filter="all", band="overall")
    kept = [d for d in related if found[d] <= 0.81]
    assert (overall["hidden"], overall["leaked"]) == (len(related), len([d for d in kept if d != 7]))
    assert overall["negatives"] == len(found) - 1 - len(related)
    [alone] = rows(result, estimator="hierarchy", filter="same_text", band="overall")
    assert alone["hidden"] - alone["leaked"] == 1  # d7
    assert overall["false_negatives"] == pytest.approx(overall["leaked"] / (overall["leaked"] + overall["negatives"]))


def test_a_ring_of_parents_ends():
    each = world(3, {0: {"positives": {0: 0.9}, "found": {0: 0.9, 1: 0.2, 2: 0.1}}})
    result = run(estimate, estimate.EstimateConfig(), inputs(each, {0: "d1", 1: "d2", 2: "d0"}), NOWHERE)
    [overall] = rows(result, estimator="hierarchy", filter="all", band="overall")
    assert overall["hidden"] == 2


def test_wrong_settings_and_inputs_are_named():
    with pytest.raises(ConfigError, match="must rise"):
        estimate.EstimateConfig(rank_bands=(5, 1))
    broken = {**inputs(two_positives()), "judged": Table([])}
    with pytest.raises(ArtefactError, match="by which rules"):
        run(estimate, estimate.EstimateConfig(), broken, NOWHERE)
