"""The traps that miners of hard negatives are known to fall into: one test each, by the name of the trap.

Where sentence-transformers' `mine_hard_negatives` falls into one, the test shows it on the same scores: as soon as that is
mended there, the assertion about it fails and can go.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from stages import embed, index, mine
from stages.embed import EmbedConfig
from stages.encoders.static import Static
from stages.errors import ArtefactError, InputError
from stages.reports import mining
from stages.samplers.random import Random
from stages.schemas import JUDGED
from tests.models import corpus, queries
from tests.stages.test_embed import Fake
from tests.support import run, source, table
from tests.traps.miners import Case, seeded

KNOWN, SAME, MARGIN = {"name": "known_positive"}, {"name": "same_text"}, {"name": "relative_margin"}


def column(*scores: float) -> np.ndarray:
    """The scores of one query's documents: (D, 1)."""
    return np.array(scores)[:, None]


# What a candidate is held against


def test_the_least_positive_and_each_positive_apart_are_different_sets(tmp_path: Path) -> None:
    case = Case(column(0.9, 0.5, 0.7, 0.4), {0: [0, 1]})
    assert case.triplets(tmp_path, filters=[MARGIN]) == [(0, 0, 3), (0, 1, 3)]
    assert case.triplets(tmp_path, filters=[MARGIN], comparison="per_positive") == [(0, 0, 2), (0, 0, 3), (0, 1, 3)]


def test_margins_meet_the_positives_of_their_own_query_when_counts_differ(tmp_path: Path) -> None:
    scores = np.array(
        [
            [0.9, 0, 0],
            [0.8, 0, 0],
            [0.7, 0, 0],
            [0, 0.3, 0],
            [0, 0, 0.6],
            [0, 0, 0.2],
            [0.65, 0.25, 0.15],
            [0.72, 0.29, 0.195],
        ]
    )
    case = Case(scores, {0: [0, 1, 2], 1: [3], 2: [4, 5]})
    found = case.triplets(tmp_path, negatives=1)
    assert found == [(0, 0, 6), (0, 1, 6), (0, 2, 6), (1, 3, 6), (2, 4, 6), (2, 5, 6)]


def test_a_positive_beyond_the_mined_depth_still_gets_negatives(tmp_path: Path) -> None:
    case = Case(column(*np.linspace(0.9, 0.5, 40), 0.95), {0: [39, 40]})
    result = case.ours(tmp_path, mining={"depth": 5}, filters=[{"name": "absolute_margin", "margin": 0.0}])
    held = {r["positive_row"]: (r["score"], r["rank"]) for r in result["positives"].read().to_pylist()}
    assert held[39][1] is None
    assert held[39][0] == pytest.approx(0.5)
    far = Case(column(0.9, *np.linspace(0.5, 0.1, 39)), {0: [0, 39]})  # 39 stands at .1, the last of all
    assert far.triplets(tmp_path, mining={"depth": 3}, comparison="per_positive", negatives=2) == [(0, 0, 1), (0, 0, 2)]


def test_a_negative_positive_s_score_does_not_turn_the_margin_round(tmp_path: Path) -> None:
    case = Case(column(-0.5, -0.49, -0.51, -0.53, -0.8), {0: [0]})
    assert case.triplets(tmp_path) == [(0, 0, 3), (0, 0, 4)]  # 5% of |−.5| below it


def test_candidates_and_positives_are_scored_by_the_same_arithmetic(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    case = Case(generator.standard_normal((300, 20)), {q: [q, q + 20] for q in range(20)})
    result = case.ours(tmp_path, mining={"depth": 300}, filters=[MARGIN])
    rows = result["candidates"].read().to_pylist()
    found = {(r["query_row"], r["doc_row"]): r["score"] for r in rows}
    for row in result["positives"].read().to_pylist():
        assert found[row["query_row"], row["positive_row"]] == row["score"]  # to the bit


# What is left of the candidates


def test_filters_come_before_the_cut_and_the_search_goes_on_until_enough_are_kept(tmp_path: Path) -> None:
    near = np.linspace(0.99, 0.96, 60)
    case = Case(column(1.0, *near, 0.9, 0.8, 0.7), {0: [0]})
    assert case.triplets(tmp_path, mining={"depth": 10}, negatives=3) == [(0, 0, 61), (0, 0, 62), (0, 0, 63)]
    assert case.theirs(relative_margin=0.05, num_negatives=3) == []


def test_nothing_that_was_not_found_becomes_a_negative(tmp_path: Path) -> None:
    case = Case(column(0.9, 0.8, 0.1), {0: [0]})  # k is larger than what there is, and two are asked for
    result = case.ours(tmp_path, mining={"depth": 50}, negatives=4)
    rows = result["triplets"].read().to_pylist()
    assert [(r["negative_row"], round(r["negative_score"], 6)) for r in rows] == [(1, 0.8), (2, 0.1)]
    assert [(r["wanted"], r["got"]) for r in result["shortfall"].read().to_pylist()] == [(4, 2)]


def test_a_score_that_is_not_finite_is_never_a_negative_though_no_filter_drops_it(tmp_path: Path) -> None:
    from stages import sample
    from tests.judging_world import inputs_of_sample, world

    given = world(6, {0: {"positives": {0: 0.9}, "found": {1: -np.inf, 2: np.nan, 3: 0.2, 4: np.inf}}})
    result = run(sample, sample.SampleConfig(negatives=5), inputs_of_sample(given, filters=()), tmp_path)
    assert [r["negative_row"] for r in result.rows("triplets")] == [3]
    assert result.counters["kept_not_finite"] == 3


def test_want_of_negatives_is_never_filled_up_with_documents_at_random(tmp_path: Path) -> None:
    case = Case(column(0.9, 0.89, 0.3, *[0.88] * 30), {0: [0]})
    result = case.ours(tmp_path, negatives=5)
    assert [r["negative_row"] for r in result["triplets"].read().to_pylist()] == [2]
    assert result["counters"]["pairs_short"] == 1


def test_a_query_with_fewer_than_all_negatives_keeps_those_it_has(tmp_path: Path) -> None:
    scores = np.array([[0.9, 0.0], [0.0, 0.9], [0.5, 0.89], [0.4, 0.2]])
    case = Case(scores, {0: [0], 1: [1]})
    # Query 1 keeps two, as 2 lies within the margin.
    assert case.triplets(tmp_path, negatives=3) == [(0, 0, 2), (0, 0, 3), (0, 0, 1), (1, 1, 3), (1, 1, 0)]
    filled = {q for q, _, _ in case.theirs(relative_margin=0.05, num_negatives=1, range_max=1)}
    assert filled == {0}  # a window of fixed depth leaves query 1 without any


# False negatives


def test_no_known_positive_of_any_split_or_of_a_query_with_the_same_text_is_mined(tmp_path: Path) -> None:
    scores = np.array([[0.9, 0.1], [0.6, 0.8], [0.3, 0.3]])
    case = Case(scores, {0: [0], 1: [1]}, queries=["What is it?", "what  is IT?"])
    assert case.triplets(tmp_path) == [(0, 0, 2), (1, 1, 2)]
    assert (0, 0, 1) in case.theirs(num_negatives=2)


def test_a_copy_of_a_positive_is_no_negative(tmp_path: Path) -> None:
    documents = ["The heart pumps blood.", "the heart  pumps BLOOD.", "the lung"]
    case = Case(column(0.9, 0.6, 0.3), {0: [0]}, documents=documents)
    assert case.triplets(tmp_path) == [(0, 0, 2)]
    assert (0, 0, 1) in case.theirs(num_negatives=2, relative_margin=0.05)


def test_a_reprint_of_a_positive_with_another_footer_is_no_negative(tmp_path: Path) -> None:
    text = "the heart pumps blood through the body by way of the arteries and back through the veins"
    case = Case(column(0.9, 0.6, 0.3), {0: [0]}, documents=[text, text + " page 7", "the lung"])
    rules = [KNOWN, SAME, MARGIN, {"name": "near_duplicate_lexical"}]
    assert case.triplets(tmp_path, filters=rules) == [(0, 0, 2)]
    assert (0, 0, 1) in case.theirs(num_negatives=2, relative_margin=0.05)


def test_a_document_that_is_the_query_is_no_negative(tmp_path: Path) -> None:
    case = Case(
        column(0.9, 0.7, 0.3), {0: [0]}, documents=["It is this.", "What is it?", "other"], queries=["what is it?"]
    )
    assert case.triplets(tmp_path) == [(0, 0, 2)]
    assert (0, 0, 1) in case.theirs(num_negatives=2, relative_margin=0.05)


def test_one_text_under_several_ids_is_one_negative(tmp_path: Path) -> None:
    case = Case(column(0.9, 0.5, 0.5, 0.5, 0.3), {0: [0]}, documents=["yes", "no", "No", "NO", "perhaps"])
    rules = [KNOWN, SAME, MARGIN, {"name": "duplicate_candidate"}]
    assert case.triplets(tmp_path, filters=rules, negatives=3) == [(0, 0, 1), (0, 0, 4)]
    assert {d for _, _, d in case.theirs(num_negatives=3, relative_margin=0.05)} == {1, 2, 3}


def test_ranks_are_not_all_there_is_scores_filter_too_and_are_kept(tmp_path: Path) -> None:
    case = Case(column(0.9, *[0.89] * 20, 0.5), {0: [0]})
    by_rank = case.triplets(tmp_path, filters=[{"name": "rank_window", "min": 11, "max": 210}], negatives=20)
    assert {d for _, _, d in by_rank} == {*range(10, 22)}  # false negatives nearly all
    result = case.ours(tmp_path, filters=[MARGIN])
    rows = result["triplets"].read().to_pylist()
    assert [(r["negative_row"], r["rank"]) for r in rows] == [(21, 22)]
    assert rows[0]["positive_score"] == pytest.approx(0.9)
    assert rows[0]["negative_score"] == pytest.approx(0.5)


# The same again


def test_random_sampling_is_seeded_and_asks_no_global_generator(tmp_path: Path) -> None:
    case = Case(column(0.9, *np.linspace(0.8, 0.1, 60)), {0: [0]})
    ours, theirs = [], []
    for number in range(2):
        seeded(number)
        ours.append(case.triplets(tmp_path, sampler=Random(), negatives=5, seed=3))
        theirs.append(case.theirs(sampling_strategy="random", num_negatives=5, range_max=50))
    assert ours[0] == ours[1]
    assert case.triplets(tmp_path, sampler=Random(), negatives=5, seed=4) != ours[0]
    assert theirs[0] != theirs[1]


def test_other_queries_change_nothing_for_a_query(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    scores = generator.uniform(0, 1, (80, 6))
    whole = Case(scores, {q: [q] for q in range(6)})
    alone = Case(scores, {2: [2]})
    for sampling in ({}, {"sampler": Random(), "seed": 5}):
        of_all = [t for t in whole.triplets(tmp_path, **sampling) if t[0] == 2]
        assert of_all == alone.triplets(tmp_path, **sampling)


def test_equal_scores_are_ordered_and_cut_by_row(tmp_path: Path) -> None:
    case = Case(column(0.9, *[0.5] * 50), {0: [0]})
    for depth in (3, 7, 51):
        assert case.triplets(tmp_path, mining={"depth": depth}, negatives=2) == [(0, 0, 1), (0, 0, 2)]


# Vectors and what is kept of them


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_a_useless_vector_is_refused_with_its_ids_before_it_is_anybody_s_negative(tmp_path: Path, bad: float) -> None:
    inputs = {"corpus": corpus(["one", "two", "three"]), "queries": queries(["one"])}
    with pytest.raises(InputError) as error:
        run(embed, EmbedConfig(encoder=Fake({"two": [bad] * 3})), inputs, tmp_path)
    assert "d1" in str(error.value)


def test_changed_weights_under_the_same_path_are_other_vectors(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from tests.models import static

    tokenizer = static()._files()[1]
    place = tmp_path / "weights.safetensors"
    prints = set()
    for value in (0.0, 1.0):
        save_file({"embedding.weight": torch.full((200_000, 2), value)}, place)
        prints.add(Static(model=str(place), tokenizer=str(tokenizer)).fingerprint())
    assert len(prints) == 2


def test_an_index_of_other_vectors_is_refused(tmp_path: Path) -> None:
    one, other = Case(np.eye(4) + 0.1, {0: [0]}), Case(np.eye(4) + 0.2, {0: [0]})
    foreign = run(index, index.IndexConfig(), one.inputs(), tmp_path).inputs()
    with pytest.raises(ArtefactError):
        run(mine, mine.MineConfig(), {**other.inputs(), **foreign}, tmp_path)


def test_hours_of_work_are_not_lost_a_resumed_stage_does_what_is_pending(tmp_path: Path) -> None:
    encoder = Fake()
    inputs = {"corpus": corpus([f"text {i}" for i in range(10)], parts=2), "queries": queries(["one"])}
    config = EmbedConfig(encoder=encoder, shard_rows=4)
    whole = run(embed, config, inputs, tmp_path)
    encoder.calls.clear()
    rest = run(embed, config, inputs, tmp_path, only=["corpus_vectors-00002"])
    assert rest.tables["corpus_vectors"].tables[0].equals(whole.tables["corpus_vectors"].tables[2])
    assert encoder.calls == [("document", 2)]


# Size


def test_more_than_2048_candidates_a_query(tmp_path: Path) -> None:
    case = Case(column(*np.linspace(1.0, 0.1, 3000)), {0: [0]})
    result = case.ours(tmp_path, mining={"depth": 3000})
    assert result["candidates"].read()["doc_row"].to_pylist() == list(range(3000))


@pytest.mark.parametrize("block", [1, 7, 4096])
def test_memory_is_set_by_a_block_and_the_result_is_not(tmp_path: Path, block: int) -> None:
    case = Case(np.random.default_rng(2).uniform(0, 1, (200, 30)), {q: [q] for q in range(30)})
    expected = case.triplets(tmp_path)
    assert case.triplets(tmp_path, mining={"block_queries": block, "shard_queries": max(block, 5)}) == expected


class Endless:
    """Judged rows beyond 2^24, in batches, of which one is held."""

    facts: dict[str, Any] = {"comparison": "least_positive", "filters": [{"name": "relative_margin"}]}
    size, count = 1 << 20, 17

    @property
    def rows(self) -> int:
        return self.size * self.count

    def batches(self, columns: list[str], rows: int = 0) -> Iterator[pa.RecordBatch]:
        each = {
            "query_row": np.repeat(np.arange(self.size // 256, dtype=np.int32), 256),
            "doc_row": np.tile(np.arange(256, dtype=np.int32), self.size // 256),
            "score": np.linspace(0, 1, self.size),
        }
        verdicts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(self.size, np.int32)), pa.array(["kept"]))
        for number in range(self.count):
            held = {**each, "query_row": each["query_row"] + np.int32(number * (self.size // 256))}
            arrays = [verdicts if name == "verdict" else pa.array(held[name]) for name in columns]
            yield pa.RecordBatch.from_arrays(arrays, schema=pa.schema([JUDGED.field(name) for name in columns]))


@pytest.mark.slow
def test_statistics_of_more_than_2_to_the_24_negatives() -> None:
    import torch

    endless = Endless()
    assert endless.rows > 1 << 24
    inputs = {name: source(table(name, [])) for name in ("positives", "triplets", "shortfall")}
    found = mining.read({**inputs, "judged": endless}, endless.count * (endless.size // 256))
    assert found.scores["kept"].sum() == endless.rows
    assert (found.kept_per_query == 256).all()
    with pytest.raises(RuntimeError, match="too large"):  # what their statistics are made of
        torch.quantile(torch.zeros((1 << 24) + 1), 0.5)


# Formats


def test_every_number_of_positives_and_negatives_has_its_own_rows(tmp_path: Path) -> None:
    scores = np.array([[0.9, 0.0], [0.8, 0.0], [0.0, 0.9], [0.3, 0.3], [0.2, 0.88]])
    result = Case(scores, {0: [0, 1], 1: [2]}).ours(tmp_path, negatives=2)
    rows = [(r["query_row"], r["positive_row"], r["negative_row"]) for r in result["triplets"].read().to_pylist()]
    # Query 1's second best is within the margin; what it has not is said and is no row.
    assert rows == [(0, 0, 3), (0, 0, 4), (0, 1, 3), (0, 1, 4), (1, 2, 3), (1, 2, 0)]
    assert not result["shortfall"].read().num_rows
