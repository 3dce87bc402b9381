import numpy as np
import pyarrow as pa
import pytest

from stages.judging import KEPT, Lookup, are_kept, distinct


@pytest.mark.parametrize("count", [0, 1, 30, 5000])
def test_a_lookup_finds_what_a_dictionary_finds(count: int) -> None:
    random = np.random.default_rng(count)
    keys = random.integers(0, 3 * count + 1, count) * 1_000_003
    values = random.integers(0, 9, count).astype(np.float64)
    highest = {key: max(values[keys == key]) for key in set(keys.tolist())}
    asked = np.concatenate([keys, keys + 1, keys - 1, [0, 2**62]])
    found = Lookup.highest(keys, values)(asked)
    np.testing.assert_array_equal(found, [highest.get(key, np.nan) for key in asked.tolist()])


def test_distinct_of_ascending_keys() -> None:
    for keys in ([], [4], [1, 1, 2, 5, 5, 5], [-3, -3]):
        assert distinct(np.array(keys, dtype=np.int32)).tolist() == sorted(set(keys))


def test_kept_is_told_by_each_chunk_s_own_dictionary() -> None:
    names = pa.dictionary(pa.int32(), pa.string())
    verdicts = pa.chunked_array(
        [
            pa.array([KEPT, "same_text", KEPT], names),
            pa.array(["same_text"], names),
            pa.array(["rank_window", KEPT], names),
        ]
    )
    assert are_kept(verdicts).to_pylist() == [True, False, True, False, False, True]
    assert are_kept(verdicts.slice(0, 0)).to_pylist() == []
