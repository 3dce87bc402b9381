"""Vectors of unchanged pictures come from the earlier result, whatever their rows are now, and changed ones alone are encoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import embed
from stages.arrays import matrix
from stages.embed import EmbedConfig
from stages.encoders.efficientnet_lite import EfficientnetLite
from stages.encoders.two_tower import TwoTower
from stages.reuse import MADE_WITH, keys, picture_keys
from tests.models import queries
from tests.pictures import png
from tests.support import Result, Table, run, source, table

BOTH = {"size": 16, "dimensions": 8}


class Counting:
    """Counts the pictures and texts that a real encoder is asked for."""

    def __init__(self, encoder: Any) -> None:
        self.encoder, self.pictures, self.texts = encoder, 0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.encoder, name)

    def load(self, device: str, precision: str) -> Any:
        loaded = self.encoder.load(device, precision)
        see, read = loaded.encode_pictures, loaded.embed

        def seeing(images: Any, role: str) -> Any:
            self.pictures += len(images)
            return see(images, role)

        def reading(prepared: Any, **how: Any) -> Any:
            self.texts += len(prepared.items)
            return read(prepared, **how)

        loaded.encode_pictures, loaded.embed = seeing, reading
        return loaded


def world(documents: list[int | str], asked: list[str]) -> dict[str, Any]:
    """A number stands for the picture of that number, a text for itself. The rows of pictures are in the order of their numbers."""
    seen = sorted({one for one in documents if isinstance(one, int)})
    pictures = [
        {"row": i, "image": png(one, width=16, height=16), "format": "PNG", "width": 16, "height": 16, "pixels": one}
        for i, one in enumerate(seen)
    ]
    rows = [
        {"row": i, "doc_id": f"d{i}", "text": one if isinstance(one, str) else f"picture {one}", "text_hash": i,
         "picture": seen.index(one) if isinstance(one, int) else None}
        for i, one in enumerate(documents)
    ]  # fmt: skip
    return {
        "corpus": source(table("corpus", rows)),
        "queries": queries(asked),
        "pictures": source(*(table("pictures", pictures[i : i + 40]) for i in range(0, len(pictures), 40))),
    }


def made(config: EmbedConfig, inputs: dict[str, Any], folder: Path, earlier: Result | None = None) -> Result:
    tables = {} if earlier is None else {n: Table(t.tables, earlier.facts) for n, t in earlier.tables.items()}
    return run(embed, config, inputs, folder, earlier=tables)


@pytest.mark.parametrize("storage", ["float32", "int8"])
def test_one_changed_percent_is_one_encoded_percent(tmp_path: Path, storage: str) -> None:
    """200 pictures, of which two change, one goes and rows move; texts among them, and the queries, stay as they were."""
    texts = [f"text {i}" for i in range(10)]
    asked = ["a red dog", "a blue cat"]
    before = [*range(100), *texts, *range(100, 200), 7, 7]
    after = [500, *range(60), *range(61, 100), *texts, *range(100, 199), 501, 7]
    counting = Counting(TwoTower(**BOTH))
    config = EmbedConfig(encoder=counting, shard_rows=64, storage=storage)
    first = made(config, world(before, asked), tmp_path)
    assert (counting.pictures, counting.texts) == (201, 12)  # picture 7 once in each of two shards
    counting.pictures = counting.texts = 0
    second = made(config, world(after, asked), tmp_path, first)
    assert (counting.pictures, counting.texts) == (2, 0)
    assert second.counters["corpus.reused"] == len(after) - 2
    assert (second.counters["corpus.pictures"], second.counters["corpus.texts"]) == (len(after) - 10, 10)
    assert (second.counters["queries.reused"], second.counters["queries.texts"]) == (2, 2)
    assert second["query_vectors"].equals(first["query_vectors"])
    old, new = matrix(first["corpus_vectors"]), matrix(second["corpus_vectors"])
    stayed = [(before.index(one), place) for place, one in enumerate(after) if one in before]
    assert len(stayed) == len(after) - 2
    assert all(np.array_equal(old[was], new[now]) for was, now in stayed)  # to the bit, as they are stored
    full = made(config, world(after, asked), tmp_path)
    assert second["corpus_vectors"].schema.equals(full["corpus_vectors"].schema)
    assert second["corpus_vectors"]["key"].equals(full["corpus_vectors"]["key"])
    assert np.abs(new - matrix(full["corpus_vectors"])).max() < (1e-5 if storage == "float32" else 0.02)


def test_a_model_of_pictures_alone_reuses_them_too(tmp_path: Path) -> None:
    inputs = world(list(range(20)), ["another one"])
    inputs["queries"] = source(
        table(
            "queries",
            [{"row": i, "query_id": f"q{i}", "text": "", "split": "train", "source": "given", "text_hash": i, "picture": i} for i in range(3)],
        )
    )  # fmt: skip
    counting = Counting(EfficientnetLite(size=64))
    config = EmbedConfig(encoder=counting)
    first = made(config, inputs, tmp_path)
    assert counting.pictures == 23
    second = made(config, inputs, tmp_path, first)
    assert counting.pictures == 23
    for name in ("corpus_vectors", "query_vectors"):
        assert second[name].equals(first[name])


def test_another_model_sees_all_again(tmp_path: Path) -> None:
    inputs = world([1, 2, 3], ["a"])
    first = made(EmbedConfig(encoder=TwoTower(**BOTH)), inputs, tmp_path)
    for other in ({"seed": 5}, {"dropout": 0.5}, {"size": 24}):
        second = made(EmbedConfig(encoder=TwoTower(**{**BOTH, **other})), inputs, tmp_path, first)
        assert second.facts[MADE_WITH] != first.facts[MADE_WITH]
        assert (second.counters["corpus.reused"], second.counters["queries.reused"]) == (0, 0)


def test_a_picture_is_no_text() -> None:
    image = png(1)
    (key,) = picture_keys([image])
    assert key.tobytes() == picture_keys([bytes(bytearray(image))])[0].tobytes()
    assert key.tobytes() != picture_keys([png(2)])[0].tobytes()
    texts = [image.decode("latin-1"), ""]
    assert key.tobytes() not in {one.tobytes() for one in keys(["", "=picture"], texts)}
