"""The stage over teachers that count what they are asked."""

import numpy as np
import pytest

from stages import judge, sample, teach
from stages.errors import ArtefactError, ConfigError
from stages.filters.cross_encoder_threshold import CrossEncoderThreshold
from stages.settings import parse
from tests.models import vectors
from tests.support import MemoryCache, run, source, table
from tests.teaching_world import DOCUMENTS, POSITIVES, QUERIES, SEEN, Counting, inputs, plain, scores, taught, wanted

TITLES = ["Health", None, None, None, "Baking", None, "Health"]


def text(doc):
    return f"{TITLES[doc]} {DOCUMENTS[doc]}" if TITLES[doc] else DOCUMENTS[doc]


@pytest.fixture(autouse=True)
def forget():
    SEEN.clear()


def test_without_teachers_the_tables_are_empty_and_nothing_is_read(tmp_path):
    given = {**inputs(), "corpus": None, "queries": None}
    result = run(teach, teach.TeachConfig(), given, tmp_path)
    assert [t.num_rows for t in result.tables["teacher_scores"].tables] == [0, 0]
    assert result.facts == {"depth": 30, "teachers": []}
    assert result.counters == {}


@pytest.mark.parametrize("depth", [1, 3, 5, 50])
def test_candidates_up_to_the_depth_and_all_positives_are_scored(tmp_path, depth):
    result = taught(tmp_path, Counting(), Counting(label="other", salt="x"), depth=depth)
    for title, salt in (("cross_encoder", ""), ("other", "x")):
        expected = {(q, d): plain(salt, QUERIES[q], text(d)) for q, d in wanted(depth)}
        assert scores(result, title) == expected
    rows = result.tables["teacher_scores"].tables[0].to_pylist()
    order = [(["cross_encoder", "other"].index(r["teacher"]), r["query_row"], r["doc_row"]) for r in rows]
    assert order == sorted(order)
    assert [each["title"] for each in result.facts["teachers"]] == ["cross_encoder", "other"]


def test_a_pair_of_texts_is_scored_once(tmp_path):
    """Queries 0 and 2 and documents 0 and 6 have the same texts."""
    taught(tmp_path, Counting())
    assert len(SEEN) == len(set(SEEN)) < len(wanted(5))
    assert set(SEEN) == {(QUERIES[q], text(d)) for q, d in wanted(5)}


def test_a_second_run_with_the_cache_scores_nothing_and_gives_the_same(tmp_path):
    cache = MemoryCache()
    first = taught(tmp_path / "a", Counting(), cache=cache)
    SEEN.clear()
    again = taught(tmp_path / "b", Counting(), cache=cache)
    assert SEEN == []
    assert again["teacher_scores"].equals(first["teacher_scores"])
    assert again.counters == first.counters


def test_a_deeper_run_scores_only_what_is_new(tmp_path):
    cache = MemoryCache()
    taught(tmp_path / "a", Counting(), cache=cache, depth=2)
    before = set(SEEN)
    SEEN.clear()
    deep = taught(tmp_path / "b", Counting(), cache=cache, depth=5)
    assert set(SEEN) == {(QUERIES[q], text(d)) for q, d in wanted(5)} - before
    assert deep["teacher_scores"].equals(taught(tmp_path / "c", Counting(), depth=5)["teacher_scores"])


def test_another_teacher_does_not_take_the_scores_of_the_first(tmp_path):
    cache = MemoryCache()
    taught(tmp_path / "a", Counting(), cache=cache)
    other = taught(tmp_path / "b", Counting(salt="x"), cache=cache)
    assert scores(other, "cross_encoder") == {(q, d): plain("x", QUERIES[q], text(d)) for q, d in wanted(5)}


def test_a_resumed_run_gives_the_part_that_is_left_and_the_facts(tmp_path):
    whole = taught(tmp_path / "a", Counting())
    rest = taught(tmp_path / "b", Counting(), only=["candidates-00001"])
    assert rest["teacher_scores"].equals(whole.tables["teacher_scores"].tables[1])
    assert rest.facts == whole.facts


def test_any_cut_gives_the_same_scores(tmp_path):
    whole = scores(taught(tmp_path / "a", Counting(), given=inputs(cut=4)), "cross_encoder")
    assert whole == scores(taught(tmp_path / "b", Counting(), given=inputs(cut=1)), "cross_encoder")


def test_two_teachers_of_one_name_are_refused():
    with pytest.raises(ConfigError, match="one name"):
        teach.TeachConfig(teachers=(Counting(), Counting()))


def test_a_list_of_tables_may_have_one_kind_twice():
    model = {"name": "cross_encoder", "model": "somewhere"}
    config = parse(teach.TeachConfig, {"teachers": [{**model, "label": "a"}, {**model, "label": "b"}]}, "teach")
    assert [t.title for t in config.teachers] == ["a", "b"]
    with pytest.raises(ConfigError, match="has no name"):
        parse(teach.TeachConfig, {"teachers": [{"model": "somewhere"}]}, "teach")


def test_parts_that_do_not_correspond_are_an_error(tmp_path):
    given = {**inputs(), "positives": source(table("positives", []))}
    with pytest.raises(ArtefactError, match="do not belong together"):
        taught(tmp_path, Counting(), given=given)


def test_the_external_fingerprint_names_each_teacher():
    config = teach.TeachConfig(teachers=(Counting(), Counting(label="b", salt="y")))
    assert teach.external(config, {}, "cpu") == {"cross_encoder": "counting", "b": "countingy"}


def test_from_candidates_to_triplets(tmp_path):
    """A negative is what the teacher calls below the limit, and nothing else is sampled."""
    given = inputs()
    qrels = [
        {"query_row": q, "doc_row": d, "relevance": 1, "split": "train", "source": "given"}
        for q, many in POSITIVES.items()
        for d in many
    ]
    given["qrels"] = source(table("qrels", qrels))
    lessons = taught(tmp_path / "teach", Counting(), depth=4, given=given).inputs()
    config = judge.JudgeConfig(filters=(CrossEncoderThreshold(negative=0.6, positive=0.8),), promote=True)
    given["corpus_vectors"] = vectors(np.eye(len(DOCUMENTS), 4, dtype=np.float32))
    verdicts = run(judge, config, {**given, **lessons}, tmp_path / "judge")
    expected = {
        (q, (q + r) % len(DOCUMENTS))
        for q in range(len(QUERIES))
        for r in range(4)
        if plain("", QUERIES[q], text((q + r) % len(DOCUMENTS))) < 0.6
    }
    known = {(q, d) for q, many in POSITIVES.items() for d in many} | {(0, 2), (2, 0)}  # queries 0 and 2 ask the same
    kept = {(r["query_row"], r["doc_row"]) for r in verdicts.rows("judged") if r["verdict"] == "kept"}
    assert kept == expected - known
    told = {(r["query_row"], r["doc_row"]): r["teacher_score"] for r in verdicts.rows("judged")}
    assert told == {
        (q, d): plain("", QUERIES[q], text(d)) if r < 4 or d in POSITIVES[q] else None
        for q in range(len(QUERIES))
        for r in range(5)
        for d in [(q + r) % len(DOCUMENTS)]
    }
    given["deepened"] = source(*[table("deepened", [])] * len(verdicts.tables["judged"].tables))
    chosen = run(
        sample, sample.SampleConfig(min_yield=0), {**given, **lessons, **verdicts.inputs()}, tmp_path / "sample"
    )
    assert {(r["query_row"], r["negative_row"]) for r in chosen.rows("triplets")} == kept
    promoted = {(r["query_row"], r["doc_row"]) for r in verdicts.rows("promoted")}
    assert not promoted & (kept | known)
    assert verdicts.counters["promoted"] == len(promoted)
