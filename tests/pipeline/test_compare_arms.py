import pytest

from pipeline.compare.arms import ARMS, chosen, seeing
from stages.errors import ConfigError


def test_where_there_are_pictures_only_arms_that_search_vectors_are_left():
    fits, others = seeing(ARMS, named=False)
    assert [arm.name for arm in fits] == ["in_batch", "naive", "shift", "absolute", "relative", "ours", "second_round"]
    assert others == "random, bm25, sentence_transformers"
    for arm in ARMS:
        elsewhere = any("mine.retrievers" in change and "dense" not in change for change in arm.changes)
        assert arm.pictured == (not elsewhere and arm.miner is None)


def test_arms_that_fit_may_be_named_and_others_are_refused_by_their_names():
    assert seeing(chosen(["ours", "in_batch"]), named=True) == (chosen(["ours", "in_batch"]), "")
    with pytest.raises(ConfigError, match="these arms search texts") as refused:
        seeing(chosen(["ours", "bm25"]), named=True)
    assert "bm25" in str(refused.value)
    assert "ours" in refused.value.try_
