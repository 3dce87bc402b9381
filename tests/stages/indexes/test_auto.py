import pytest

from stages.indexes import auto
from stages.indexes.auto import LEAST_ROWS, Auto, cells
from stages.registry import names

EXACT = "exact" if "exact" in names("indexes") else "flat"


@pytest.mark.parametrize(
    ("rows", "queries", "name"),
    [
        (100_000, 1_000_000, EXACT),
        (100_000, 1_000_001, "factory"),
        (1_000_000, 10_000, EXACT),
        (1_000_000, 200_000, "factory"),
        (LEAST_ROWS - 1, 1_000_000_000, EXACT),
        (1, 1, EXACT),
    ],
)
def test_pairs_decide_and_small_corpora_are_exact(rows: int, queries: int, name: str) -> None:
    chosen, reason = Auto().choose(rows, 384, queries)
    assert chosen.name == name
    assert ", because " in reason


def test_the_expected_queries_can_be_given() -> None:
    assert Auto(queries=2_000_000).choose(100_000, 384, 10)[0].name == "factory"
    assert Auto(queries=10).choose(100_000, 384, 2_000_000)[0].name == EXACT


def test_the_limit_of_exact_search_can_be_given() -> None:
    assert Auto(exact_pairs=1e9).choose(100_000, 384, 10_001)[0].name == "factory"


def test_an_inverted_file_grows_with_the_corpus_and_keeps_the_seed() -> None:
    small, _ = Auto(seed=3).choose(200_000, 384, 10_000_000)
    fields = small.semantic()
    assert (fields["factory"], fields["nprobe"], fields["seed"]) == ("IVF2048,Flat", 2048 * auto.PROBED, 3)
    assert fields["train_rows"] == 64 * 2048
    large, _ = Auto().choose(5_000_000, 384, 10_000_000)
    assert large.semantic()["factory"] == "IVF8192,Flat"


@pytest.mark.parametrize(
    ("rows", "lists"), [(1, 16), (20_000, 512), (50_000, 1024), (200_000, 2048), (1_000_000, 4096)]
)
def test_lists_are_a_power_of_two_with_enough_documents_each(rows: int, lists: int) -> None:
    assert cells(rows) == lists
    assert rows < LEAST_ROWS or rows / lists >= 39
