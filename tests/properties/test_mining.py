import tempfile
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages import mine
from stages.mine import MineConfig
from tests.stages.test_mine import check, inputs_for
from tests.support import Result, run

pytestmark = pytest.mark.usefixtures("nothing_is_few")


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int, int]]]:
    """Vectors with many ties and duplicates, and qrels with a positive at least."""
    dimensions = draw(st.integers(1, 5))
    values = st.integers(-2, 2)
    vector = st.lists(values, min_size=dimensions, max_size=dimensions)
    c = np.array(draw(st.lists(vector, min_size=1, max_size=60)), dtype=np.float32)
    q = np.array(draw(st.lists(vector, min_size=1, max_size=8)), dtype=np.float32)
    pairs = st.tuples(st.integers(0, len(q) - 1), st.integers(0, len(c) - 1))
    judged = draw(st.dictionaries(pairs, st.integers(0, 2), max_size=12))
    judged[draw(pairs)] = 1
    return q, c, [(query, document, relevance) for (query, document), relevance in judged.items()]


def tables(result: Result) -> tuple[Any, Any]:
    return result["candidates"].combine_chunks(), result["positives"].combine_chunks()


@given(problems(), st.integers(1, 70))
def test_candidates_are_those_of_brute_force(problem: Any, depth: int) -> None:
    q, c, triples = problem
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        check(run(mine, MineConfig(depth=depth), inputs_for(q, c, triples, folder), folder), q, c, triples, depth)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path, tuple[Any, Any]]:
    folder = tmp_path_factory.mktemp("mine")
    generator = np.random.default_rng(3)
    c = generator.standard_normal((500, 33)).astype(np.float32)
    c[250:350] = c[100:200]  # duplicates across the whole range
    c[400:450] = c[:50][:, ::-1]
    q = np.concatenate([generator.standard_normal((30, 33)).astype(np.float32), c[100:110]])
    triples = [(query, int(doc), 1) for query in range(40) for doc in generator.choice(500, 2, replace=False)]
    inputs = inputs_for(q, c, triples, folder)
    result = run(mine, MineConfig(depth=20), inputs, folder)
    check(result, q, c, triples, 20, tolerance=2.0**-39)
    return inputs, folder, tables(result)


@given(st.integers(1, 50), st.integers(1, 50), st.sampled_from([1, 2]))
def test_shards_blocks_and_threads_change_nothing(real: Any, shard: int, block: int, threads: int) -> None:
    inputs, folder, expected = real
    before = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(threads)
        found = tables(run(mine, MineConfig(depth=20, shard_queries=shard, block_queries=block), inputs, folder))
    finally:
        faiss.omp_set_num_threads(before)
    assert found[0].equals(expected[0])
    assert found[1].equals(expected[1])


@given(st.integers(1, 60))
def test_a_shallower_search_is_the_beginning_of_a_deeper_one(real: Any, depth: int) -> None:
    inputs, folder, _ = real
    deep = run(mine, MineConfig(depth=60), inputs, folder)["candidates"].to_pandas()
    shallow = run(mine, MineConfig(depth=depth), inputs, folder)["candidates"].to_pandas()
    beginning = deep[deep["rank"] <= depth].reset_index(drop=True)
    assert beginning.equals(shallow)
