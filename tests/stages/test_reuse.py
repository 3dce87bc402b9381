"""Vectors of unchanged texts come from the earlier result, to the bit, and the index finds what a full run finds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import embed, index
from stages.arrays import matrix, vector_table
from stages.embed import EmbedConfig
from stages.errors import ArtefactError
from stages.reuse import MADE_WITH, Earlier, keyed, keys
from stages.search import certified_search, open_index
from tests.models import corpus, queries, static, tiny
from tests.support import Result, Table, run, source

WORDS = (
    "fever",
    "cough",
    "acute",
    "chronic",
    "lobar",
    "pneumonia",
    "fracture",
    "of",
    "the",
    "left",
    "femur",
    "healing",
)


def some(count: int, seed: int = 0) -> list[str]:
    draw = np.random.default_rng(seed)
    return [" ".join(draw.choice(WORDS, draw.integers(1, 9))) + f" {i}" for i in range(count)]


class Counting:
    """Counts what a real encoder is asked for."""

    def __init__(self, encoder: Any) -> None:
        self.encoder, self.encoded = encoder, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.encoder, name)

    def load(self, device: str, precision: str) -> Any:
        loaded = self.encoder.load(device, precision)
        embed_ = loaded.embed

        def counting(prepared: Any, **how: Any) -> Any:
            self.encoded += len(prepared.items)
            return embed_(prepared, **how)

        loaded.embed = counting
        return loaded


def made(config: EmbedConfig, inputs: dict[str, Any], folder: Path, earlier: Result | None = None) -> Result:
    tables = {} if earlier is None else {n: Table(t.tables, earlier.facts) for n, t in earlier.tables.items()}
    return run(embed, config, inputs, folder, earlier=tables)


@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
@pytest.mark.parametrize("encoder", [tiny, static], ids=["transformer", "static"])
def test_one_changed_percent_is_one_encoded_percent_and_the_bytes_are_those_of_a_full_run(
    tmp_path: Path, encoder: Any, storage: str
) -> None:
    texts = some(300)
    before = {"corpus": corpus(texts), "queries": queries(some(20, 1))}
    changed = [*texts[:100], "a new one", *texts[101:200], *texts[202:], "another", "and a third"]
    after = {"corpus": corpus(changed), "queries": queries(some(20, 1))}
    counting = Counting(encoder())
    config = EmbedConfig(encoder=counting, shard_rows=128, storage=storage)
    first = made(config, before, tmp_path)
    counting.encoded = 0
    second = made(config, after, tmp_path, first)
    assert counting.encoded == 3
    full = made(config, after, tmp_path)
    for name in ("corpus_vectors", "query_vectors"):
        assert second[name].equals(full[name])
    counters = {**second.counters, "corpus.reused": 0, "queries.reused": 0}
    assert (second.counters["corpus.reused"], second.counters["queries.reused"]) == (len(changed) - 3, 20)
    costs = {key: value for key, value in counters.items() if "top10" not in key}
    assert costs == {key: value for key, value in full.counters.items() if "top10" not in key}


def test_the_index_over_reused_vectors_finds_the_neighbours_of_a_full_run(tmp_path: Path) -> None:
    texts = some(200)
    config = EmbedConfig(encoder=static())
    first = made(config, {"corpus": corpus(texts), "queries": queries(some(20, 1))}, tmp_path)
    after = {"corpus": corpus(["new", *texts[1:]]), "queries": queries(some(20, 1))}
    hits = []
    for result in (made(config, after, tmp_path, first), made(config, after, tmp_path)):
        inputs = result.inputs()
        built = run(index, index.IndexConfig(), inputs, tmp_path).inputs()
        vectors = matrix(result["corpus_vectors"])
        searcher, exact = open_index(built["corpus.faiss"], *vectors.shape)
        hits.append(certified_search(searcher, matrix(result["query_vectors"]), vectors, 10, exact))
    assert (hits[0].rows == hits[1].rows).all()
    assert (hits[0].scores == hits[1].scores).all()


@pytest.mark.parametrize("other", [{"query_prompt": "q: "}, {"dimensions": 64}, {"max_tokens": 8}])
def test_another_model_or_prompt_reuses_nothing(tmp_path: Path, other: dict[str, Any]) -> None:
    inputs = {"corpus": corpus(some(20)), "queries": queries(some(3, 1))}
    first = made(EmbedConfig(encoder=tiny()), inputs, tmp_path)
    second = made(EmbedConfig(encoder=tiny(**other)), inputs, tmp_path, first)
    assert second.counters["corpus.reused"] == 0
    assert second.facts[MADE_WITH] != first.facts[MADE_WITH]


def test_a_query_s_own_prompt_is_part_of_what_was_encoded(tmp_path: Path) -> None:
    config = EmbedConfig(encoder=tiny())
    first = made(config, {"corpus": corpus(["a"]), "queries": queries(["x", "y"], ["p: ", None])}, tmp_path)
    after = {"corpus": corpus(["a"]), "queries": queries(["x", "y"], ["other: ", ""])}
    second = made(config, after, tmp_path, first)
    assert second.counters["queries.reused"] == 0
    assert second["query_vectors"].equals(made(config, after, tmp_path)["query_vectors"])


def test_truncated_texts_stay_counted(tmp_path: Path) -> None:
    config = EmbedConfig(encoder=tiny(max_tokens=6))
    inputs = {"corpus": corpus(["fever " * 20, "cough"]), "queries": queries(["q"])}
    second = made(config, inputs, tmp_path, made(config, inputs, tmp_path))
    assert (second.counters["corpus.truncated"], second.counters["corpus.reused"]) == (1, 2)
    assert second["corpus_vectors"]["truncated"].to_pylist() == [True, False]


def test_a_damaged_earlier_result_is_said_and_not_used(tmp_path: Path) -> None:
    class Damaged(Table):
        def batches(self, *_: Any, **__: Any) -> Any:
            raise ArtefactError("a file of the workspace is damaged")

    config = EmbedConfig(encoder=static())
    inputs = {"corpus": corpus(["a"]), "queries": queries(["b"])}
    first = made(config, inputs, tmp_path)
    tables = {n: Damaged(t.tables, first.facts) for n, t in first.tables.items()}
    second = run(embed, config, inputs, tmp_path, earlier=tables)
    assert second.counters["corpus.reused"] == 0
    assert any("damaged" in message for message in second.messages)


def test_only_whole_keys_count_and_distant_rows_are_found() -> None:
    found = keys([""] * 200, [str(i) for i in range(200)])
    values = np.arange(400, dtype=np.float32).reshape(200, 2)
    table = keyed(vector_table(np.arange(200), values), found, np.zeros(200, dtype=bool))
    earlier = Earlier(source(table.slice(0, 70), table.slice(70)))
    wanted = found[[150, 3, 3, 9]].copy()
    wanted[3, 1] ^= np.uint64(1)  # the first half is that of text 9
    there, stored = earlier.take(wanted)
    assert stored is not None
    assert there.tolist() == [0, 1, 2]
    assert matrix(stored)[:, 0].tolist() == [300.0, 6.0, 6.0]
    assert earlier.take(keys([""], ["unknown"]))[1] is None
    assert len({key.tobytes() for key in keys(["a", "", "ab", ""], ["b", "ab", "", "b"])}) == 4
