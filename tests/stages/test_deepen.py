"""Deepening against mining at the full depth and judging that."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import deepen, judge, mine, sample, teach
from stages.deepen import DeepenConfig
from stages.deepened import Deepened
from stages.errors import ArtefactError
from stages.filters.rank_window import RankWindow
from stages.filters.relative_margin import RelativeMargin
from stages.filters.same_text import SameText
from stages.judge import JudgeConfig
from stages.mine import MineConfig
from stages.sample import SampleConfig
from stages.teach import TeachConfig
from tests.stages.test_mine import inputs_for, integers
from tests.support import Result, run, source

MODES = ("least_positive", "per_positive")
DEPTH = 8


def problem(seed: int, documents: int = 90) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int, int]]]:
    """Queries with one to three positives, some of which lie deep; ties and duplicates."""
    chance = np.random.default_rng(seed)
    c, q = integers(documents, 4, seed), integers(14, 4, seed + 100)
    c[60:70] = c[:10]
    triples = [
        (query, int(doc), 1) for query in range(14) for doc in chance.choice(documents, 1 + query % 3, replace=False)
    ]
    return q, c, triples


def judged(inputs: dict[str, Any], folder: Path, rules: JudgeConfig, depth: int, shard: int) -> dict[str, Any]:
    found = {**inputs, **run(mine, MineConfig(depth=depth, shard_queries=shard), inputs, folder).inputs()}
    found |= run(teach, TeachConfig(), found, folder).inputs()
    return {**found, **run(judge, rules, found, folder).inputs()}


def expected(
    shallow: list[dict], full: list[dict], positives: list[dict], *, comparison: str, wanted: int, limit: int
) -> list[dict]:
    """The rows to add, in plain Python: below the depth, down to the rank at which every pair of the query has enough."""
    kept: dict[tuple[int, int], list[int]] = defaultdict(list)
    for row in full:
        if row["verdict"] == "kept":
            kept[row["query_row"], row["positive_row"]].append(row["rank"])
    pairs = defaultdict(set)
    for row in full if comparison == "least_positive" else positives:
        pairs[row["query_row"]].add(row["positive_row"])
    last = {}
    for query, mine_ in pairs.items():
        had = max((r["rank"] for r in shallow if r["query_row"] == query), default=0)
        ranks = [sorted(kept[query, p]) for p in mine_]
        if all(sum(rank <= had for rank in each) >= wanted for each in ranks):
            continue
        last[query] = max(
            (each[wanted - 1] if len(each) >= wanted and each[wanted - 1] <= limit else limit) for each in ranks
        )
    below = {q: max((r["rank"] for r in shallow if r["query_row"] == q), default=0) for q in pairs}
    return [r for r in full if below[r["query_row"]] < r["rank"] <= last.get(r["query_row"], 0)]


@pytest.mark.parametrize("comparison", MODES)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("wanted", "limit"), [(3, 1000), (5, 40), (1, 17)])
def test_starved_queries_get_the_next_rows_of_the_full_ranking(
    tmp_path: Path, comparison: Any, seed: int, wanted: int, limit: int
) -> None:
    q, c, triples = problem(seed)
    inputs = inputs_for(q, c, triples, tmp_path)
    rules = JudgeConfig(comparison=comparison, filters=(SameText(), RelativeMargin(margin=0.1)))
    full = judged(inputs, tmp_path, rules, len(c), 100)["judged"].read().to_pylist()
    shallow = judged(inputs, tmp_path, rules, DEPTH, 100)
    before, positives = shallow["judged"].read().to_pylist(), shallow["positives"].read().to_pylist()
    wanted_rows = expected(before, full, positives, comparison=comparison, wanted=wanted, limit=limit)
    result = run(deepen, DeepenConfig(wanted=wanted, limit=limit), shallow, tmp_path)
    assert result.rows("deepened") == wanted_rows
    assert wanted_rows
    for shard, factor in ((1, 1.1), (5, 7.0)):
        config = DeepenConfig(wanted=wanted, limit=limit, factor=factor)
        other = run(deepen, config, judged(inputs, tmp_path, rules, DEPTH, shard), tmp_path)
        assert other.rows("deepened") == wanted_rows
        for name in ("queries.starved", "queries.fed", "candidates", "kept"):
            assert other.counters[name] == result.counters[name]
    assert result.counters["kept"] == sum(r["verdict"] == "kept" for r in wanted_rows)


@pytest.mark.parametrize("comparison", MODES)
def test_sample_chooses_as_if_all_had_been_mined_deep(tmp_path: Path, comparison: Any) -> None:
    q, c, triples = problem(9)
    inputs = inputs_for(q, c, triples, tmp_path)
    rules = JudgeConfig(comparison=comparison, filters=(RelativeMargin(margin=0.1),))
    shallow = judged(inputs, tmp_path, rules, DEPTH, 4)
    shallow |= run(deepen, DeepenConfig(wanted=3), shallow, tmp_path).inputs()
    full = judged(inputs, tmp_path, rules, len(c), 4)
    full["deepened"] = nothing(full)
    config = SampleConfig(negatives=3, min_yield=0)
    one, other = (run(sample, config, each, tmp_path) for each in (shallow, full))
    # Scores fall with the rank, so the first three kept are the same ones, however deep the search went.
    assert one.rows("triplets") == other.rows("triplets")
    assert one.rows("shortfall") == other.rows("shortfall")


def nothing(inputs: dict[str, Any]) -> Any:
    return source(*(table.slice(0, 0) for table in inputs["judged"].tables))


def whole(result: Result) -> list[dict]:
    return result.rows("deepened")


def test_who_has_enough_is_left_alone(tmp_path: Path) -> None:
    q, c, triples = problem(1)
    inputs = inputs_for(q, c, triples, tmp_path)
    ready = judged(inputs, tmp_path, JudgeConfig(filters=()), 20, 5)
    result = run(deepen, DeepenConfig(wanted=5), ready, tmp_path)
    assert whole(result) == []
    assert result.counters["queries.starved"] == 0
    assert result.messages == []
    assert len(result.shards) == 3


def test_a_limit_of_nothing_or_within_the_depth_searches_nothing(tmp_path: Path) -> None:
    q, c, triples = problem(2)
    inputs = inputs_for(q, c, triples, tmp_path)
    rules = JudgeConfig(filters=(RankWindow(min=DEPTH + 3, max=DEPTH + 4),))
    ready = judged(inputs, tmp_path, rules, DEPTH, 100)
    for limit in (0, DEPTH):
        result = run(deepen, DeepenConfig(limit=limit), ready, tmp_path)
        assert whole(result) == []
        assert result.counters["queries.starved"] == 14
    assert run(deepen, DeepenConfig(limit=0), ready, tmp_path).messages == [
        "14 queries keep fewer than 5 candidates; searched down to rank 0, 0 of them get as many"
    ]
    found = run(deepen, DeepenConfig(wanted=1, limit=50), ready, tmp_path)
    assert max(r["rank"] for r in whole(found)) <= DEPTH + 4
    kept = [(r["query_row"], r["rank"]) for r in whole(found) if r["verdict"] == "kept"]
    assert {rank for _, rank in kept} <= {DEPTH + 3, DEPTH + 4}
    assert len({query for query, _ in kept}) == len(kept)


def test_a_resumed_run_does_the_pending_parts_alone(tmp_path: Path) -> None:
    q, c, triples = problem(3)
    ready = judged(inputs_for(q, c, triples, tmp_path), tmp_path, JudgeConfig(), DEPTH, 5)
    complete = run(deepen, DeepenConfig(), ready, tmp_path)
    assert complete.shards == ["judged-00000", "judged-00001", "judged-00002"]
    again = run(deepen, DeepenConfig(), ready, tmp_path, only=["judged-00001"])
    assert again.tables["deepened"].tables[0].equals(complete.tables["deepened"].tables[1])


def test_parts_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    q, c, triples = problem(4)
    ready = judged(inputs_for(q, c, triples, tmp_path), tmp_path, JudgeConfig(), DEPTH, 5)
    with pytest.raises(ArtefactError, match="do not belong together"):
        run(deepen, DeepenConfig(), {**ready, "positives": source(ready["positives"].read())}, tmp_path)
    with pytest.raises(ArtefactError, match="do not belong together"):
        Deepened(ready["judged"], source(ready["judged"].read()))


@pytest.mark.parametrize("comparison", MODES)
def test_read_as_one_table_rank_follows_rank(tmp_path: Path, comparison: Any) -> None:
    q, c, triples = problem(5)
    ready = judged(inputs_for(q, c, triples, tmp_path), tmp_path, JudgeConfig(comparison=comparison), DEPTH, 5)
    more = run(deepen, DeepenConfig(), ready, tmp_path).tables["deepened"]
    both = Deepened(ready["judged"], more)
    rows = both.read().to_pylist()
    assert len(rows) == both.rows == ready["judged"].rows + more.rows
    keys = [(r["query_row"], r["positive_row"], r["rank"]) for r in rows]
    assert keys == sorted(keys)
    named = both.read(["verdict", "doc_row"])
    assert named.column_names == ["verdict", "doc_row"]
    assert [(r["verdict"], r["doc_row"]) for r in rows] == [tuple(r.values()) for r in named.to_pylist()]
    batched = [row for batch in both.batches(["rank"], rows=7) for row in batch.to_pylist()]
    assert [r["rank"] for r in batched] == [r["rank"] for r in rows]


def test_an_approximate_index_is_searched_no_deeper_than_its_recall_was_measured(tmp_path: Path) -> None:
    q, c, triples = problem(9)
    shallow = judged(inputs_for(q, c, triples, tmp_path), tmp_path, JudgeConfig(filters=(RelativeMargin(margin=0.1),)), DEPTH, 4)  # fmt: skip
    index = shallow["corpus.faiss"]
    recall = {**index.facts["recall"], "depth": 17}
    index.facts = {**index.facts, "exact": False, "recall": recall}
    result = run(deepen, DeepenConfig(wanted=5, limit=60), shallow, tmp_path)
    assert max(r["rank"] for r in result.rows("deepened")) == 17
    assert "searches no deeper than rank 17, where the index's recall was measured, and not to 60" in result.messages
