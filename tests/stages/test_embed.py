from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import embed
from stages.arrays import matrix
from stages.embed import EmbedConfig
from stages.encoders.sentence_transformers import SentenceTransformers
from stages.errors import InputError
from tests.models import MINILM, corpus, queries, static, tiny
from tests.support import File, Table, run

WORDS = [
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
    "right",
    "femur",
    "with",
    "delayed",
    "healing",
    "initial",
    "encounter",
]


def some_texts(count: int, seed: int = 0) -> list[str]:
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(WORDS, generator.integers(1, 12))) for _ in range(count)]


@dataclass
class Fake:
    """An encoder whose vector of a text says what it was given."""

    bad: dict[str, list[float]] = field(default_factory=dict)
    calls: list[tuple[str, int]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: {"truncated": 0, "repeated": 0, "halved": 0})
    dimensions: int = 3
    max_tokens: int | None = 4

    def fingerprint(self) -> str:
        return "fake"

    def notes(self) -> list[str]:
        return ["a note"]

    def load(self, device: str, precision: str) -> "Fake":
        return self

    def with_checkpoint(self, path: Path) -> "Fake":
        return Fake(bad={"": [0.0, 0.0, float(len(path.name))]})

    def encode(self, texts: list[str], role: str, prompts: Any = None, **_: Any) -> np.ndarray:
        self.calls.append((role, len(texts)))
        self.counts["truncated"] += sum(len(text.split()) > 4 for text in texts)
        prompts = prompts or [None] * len(texts)
        default = self.bad.get("", [1.0, 0.0, 0.0])
        made = [
            self.bad.get(text, [float(len(text)), float(len(prompt or "")), default[2]])
            for text, prompt in zip(texts, prompts, strict=True)
        ]
        return np.array(made, dtype=np.float32)


def test_each_shard_gives_its_own_table_with_its_own_rows(tmp_path: Path) -> None:
    texts = ["a" * (i + 1) for i in range(10)]
    encoder = Fake()
    inputs = {"corpus": corpus(texts, parts=3), "queries": queries(texts[:5], prompts=[None, "xx", None, "", "y"])}
    result = run(embed, EmbedConfig(encoder=encoder, shard_rows=4), inputs, tmp_path)
    assert result.shards == [f"corpus_vectors-0000{i}" for i in range(3)] + [f"query_vectors-0000{i}" for i in range(2)]
    assert encoder.calls == [("document", 4), ("document", 4), ("document", 2), ("query", 4), ("query", 1)]
    assert [t.num_rows for t in result.tables["corpus_vectors"].tables] == [4, 4, 2]
    assert result["corpus_vectors"].column("row").to_pylist() == list(range(10))
    assert matrix(result["corpus_vectors"])[:, 0].tolist() == [float(i + 1) for i in range(10)]
    assert matrix(result["query_vectors"])[:, 1].tolist() == [0.0, 2.0, 0.0, 0.0, 1.0]
    assert result.facts == {"dimensions": 3, "max_tokens": 4, "precision": "fp32"}
    assert result.counters["corpus.texts"] == 10
    assert result.messages == ["a note"]


def test_a_title_stands_in_front_of_its_text(tmp_path: Path) -> None:
    inputs = {"corpus": corpus(["bb", "bb", "bb"], titles=["aaa", None, " "]), "queries": queries(["q"])}
    result = run(embed, EmbedConfig(encoder=Fake()), inputs, tmp_path)
    assert matrix(result["corpus_vectors"])[:, 0].tolist() == [6.0, 2.0, 2.0]


@pytest.mark.parametrize(
    "only", [["corpus_vectors-00001", "query_vectors-00000"], ["corpus_vectors-00002"], ["query_vectors-00001"]]
)
def test_a_resumed_run_does_the_pending_shards_alone(tmp_path: Path, only: list[str]) -> None:
    texts = ["a" * (i + 1) for i in range(10)]
    inputs = {"corpus": corpus(texts, parts=4), "queries": queries(texts[:5])}
    config = EmbedConfig(encoder=Fake(), shard_rows=4)
    complete = run(embed, config, inputs, tmp_path)
    again = run(embed, config, inputs, tmp_path, only=only)
    for shard in only:
        name, index = shard.rsplit("-", 1)
        assert again.tables[name].tables[0].equals(complete.tables[name].tables[int(index)])
    assert ("precision" in again.facts) == ("query_vectors-00001" in only)


def test_nothing_is_loaded_when_nothing_is_pending(tmp_path: Path) -> None:
    encoder = SentenceTransformers(model="./nowhere")
    inputs = {"corpus": corpus(["a"]), "queries": queries(["b"])}
    assert run(embed, EmbedConfig(encoder=encoder), inputs, tmp_path, only=[]).tables == {}


@pytest.mark.parametrize(
    ("vector", "says"),
    [([float("nan"), 1, 1], "not finite"), ([1, float("inf"), 1], "not finite"), ([0, 0, 0], "zeros")],
)
def test_a_useless_vector_is_refused_with_its_ids(tmp_path: Path, vector: list[float], says: str) -> None:
    inputs = {"corpus": corpus(["fine", "bad one", "good", "bad one"]), "queries": queries(["q"])}
    with pytest.raises(InputError, match=says) as error:
        run(embed, EmbedConfig(encoder=Fake(bad={"bad one": vector}), shard_rows=3), inputs, tmp_path)
    assert "'d1'" in str(error.value)
    inputs = {"corpus": corpus(["fine"]), "queries": queries(["q", "bad one"])}
    with pytest.raises(InputError, match="'q1'"):
        run(embed, EmbedConfig(encoder=Fake(bad={"bad one": vector})), inputs, tmp_path)


def test_truncated_texts_are_counted_and_logged(tmp_path: Path) -> None:
    inputs = {"corpus": corpus(["a b c d e", "a", "b c d e f g"]), "queries": queries(["q"])}
    result = run(embed, EmbedConfig(encoder=Fake(), shard_rows=2), inputs, tmp_path)
    assert (result.counters["corpus.truncated"], result.counters["queries.truncated"]) == (2, 0)
    assert any("2 texts have more than 4 tokens" in message for message in result.messages)


def test_a_checkpoint_takes_the_place_of_the_weights(tmp_path: Path) -> None:
    inputs: dict[str, Any] = {"corpus": corpus(["a"]), "queries": queries(["b"])}
    config = EmbedConfig(encoder=Fake())
    assert embed.external(config, inputs, "cuda:1") == {"encoder": "fake", "precision": "bf16"}
    inputs["checkpoint"] = File(tmp_path / "checkpoint")
    assert embed.external(config, inputs, "cpu") == {"precision": "fp32"}
    result = run(embed, config, inputs, tmp_path)
    assert matrix(result["corpus_vectors"])[0, 2] == len("checkpoint")


def test_a_configuration_table_names_the_encoder() -> None:
    config = EmbedConfig.model_validate(
        {"encoder": {"name": "sentence_transformers", "model": MINILM}, "batch_tokens": 9}
    )
    assert isinstance(config.encoder, SentenceTransformers)
    assert "batch_tokens" not in config.semantic()
    assert config.semantic()["encoder"]["name"] == "sentence_transformers"


@pytest.mark.parametrize("encoder", [tiny(), static()], ids=["transformer", "static"])
def test_shards_do_not_change_a_real_model_s_vectors(tmp_path: Path, encoder: Any) -> None:
    texts = some_texts(90)
    inputs = {
        "corpus": corpus(texts, titles=[None, "A title"] * 45, parts=2),
        "queries": queries(some_texts(11, seed=1)),
    }
    whole = run(embed, EmbedConfig(encoder=encoder), inputs, tmp_path)
    for size in (1, 7, 64):
        cut = run(embed, EmbedConfig(encoder=encoder, shard_rows=size, batch_tokens=50), inputs, tmp_path)
        for name in ("corpus_vectors", "query_vectors"):
            left, right = (matrix(r[name]).astype(np.float64) for r in (whole, cut))
            assert ((left * right).sum(axis=1) >= 1 - 1e-6).all()
            np.testing.assert_allclose(left, right, atol=1e-6)
    again = run(embed, EmbedConfig(encoder=encoder), inputs, tmp_path)
    assert all(whole[name].equals(again[name]) for name in ("corpus_vectors", "query_vectors"))


def test_the_corpus_is_read_in_one_pass_a_shard_at_a_time(tmp_path: Path) -> None:
    held: list[int] = []

    class Counting(Table):
        def batches(self, columns: Any = None, rows: int = 65_536, start: int = 0) -> Any:
            for batch in super().batches(columns, 5, start):
                held.extend([batch.num_rows] if "text" in columns else [])
                yield batch

        def read(self, columns: Any = None, part: str | None = None) -> Any:
            raise AssertionError("the whole table must not be read")

    texts = ["a" * (i + 1) for i in range(40)]
    inputs = {"corpus": Counting(corpus(texts).tables), "queries": Counting(queries(texts).tables)}
    result = run(embed, EmbedConfig(encoder=Fake(), shard_rows=3), inputs, tmp_path)
    assert held == [5] * 16
    assert matrix(result["corpus_vectors"])[:, 0].tolist() == [float(i + 1) for i in range(40)]


@pytest.mark.parametrize(("storage", "worst"), [("float16", 1e-3), ("int8", 0.02)])
def test_other_storage_is_read_back_close_and_its_cost_is_counted(tmp_path: Path, storage: Any, worst: float) -> None:
    inputs = {"corpus": corpus(some_texts(60)), "queries": queries(some_texts(11, seed=1))}
    exact = run(embed, EmbedConfig(encoder=static()), inputs, tmp_path)
    found = run(embed, EmbedConfig(encoder=static(), storage=storage), inputs, tmp_path)
    left, right = (matrix(result["corpus_vectors"]) for result in (exact, found))
    assert 0 < np.abs(left - right).max() < worst
    asked, same = (found.counters[f"corpus.{storage}.top10{end}"] for end in ("", "_same"))
    assert asked == 320
    assert 0.8 * asked <= same <= asked
    assert f"corpus.{storage}.top10" not in exact.counters


def test_float16_refuses_what_it_cannot_hold_with_the_ids(tmp_path: Path) -> None:
    inputs = {"corpus": corpus(["fine", "large", "small"]), "queries": queries(["q"])}
    encoder = Fake(bad={"large": [70_000.0, 1.0, 0.0], "small": [1e-9, 0.0, 0.0]})
    with pytest.raises(InputError, match="float16") as error:
        run(embed, EmbedConfig(encoder=encoder, storage="float16"), inputs, tmp_path)
    assert "'d1', 'd2'" in str(error.value)
    run(embed, EmbedConfig(encoder=encoder, storage="int8"), inputs, tmp_path)


def test_what_bf16_changes_is_counted_on_a_sample_and_logged(tmp_path: Path) -> None:
    inputs = {"corpus": corpus(some_texts(30)), "queries": queries(some_texts(5, seed=1))}
    result = run(embed, EmbedConfig(encoder=tiny(), precision="bf16", shard_rows=16), inputs, tmp_path)
    assert result.counters["corpus.bf16.top10"] == 16 * 10
    assert result.counters["corpus.bf16.top10_same"] > 100
    assert any("bf16 gives a cosine of" in message for message in result.messages)
