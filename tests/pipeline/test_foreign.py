"""Indexes from elsewhere are opened in a process of their own: hostile ones kill that one alone, and never reach a workspace."""

from __future__ import annotations

import struct
from pathlib import Path

import faiss
import numpy as np
import pytest

from pipeline import foreign
from pipeline.foreign import refuse_hostile
from pipeline.objects import Objects, Place
from pipeline.remote import pull, push
from pipeline.store import Workspace
from stages.errors import ArtefactError
from stages.indexes.exact import Exact
from stages.spec import Part, Shard
from tests.pipeline.test_store import complete, identity

VECTORS = np.random.default_rng(0).standard_normal((300, 16)).astype(np.float32)


def index(kind: str = "Flat") -> bytes:
    made = faiss.index_factory(16, kind, faiss.METRIC_INNER_PRODUCT)
    made.train(VECTORS)
    made.add(VECTORS)
    return faiss.serialize_index(made).tobytes()


def astray() -> bytes:
    """A graph whose neighbours are documents far beyond the last."""
    made = faiss.index_factory(16, "HNSW8", faiss.METRIC_INNER_PRODUCT)
    made.add(VECTORS)
    whole = faiss.serialize_index(made).tobytes()
    neighbours = faiss.vector_to_array(made.hnsw.neighbors).tobytes()
    assert whole.count(neighbours) == 1
    return whole.replace(neighbours, struct.pack("<i", 2**30) * (len(neighbours) // 4))


def greedy() -> bytes:
    """A file of 20 kB that says it has 2⁴⁰ vectors."""
    return index().replace(struct.pack("<q", VECTORS.size), struct.pack("<q", 1 << 40))


HOSTILE = {
    "neighbours that are not there": astray,
    "more than all memory": greedy,
    "none": lambda: b"\x80\x04K\x01.",
    "half": lambda: index("HNSW8")[:5000],
}


@pytest.mark.parametrize("kind", ["Flat", "HNSW8"])
def test_a_sound_index_passes(tmp_path: Path, kind: str) -> None:
    (tmp_path / "corpus.faiss").write_bytes(index(kind))
    refuse_hostile(tmp_path / "corpus.faiss", "elsewhere")


def test_the_exact_index_holds_vectors_and_nothing_else(tmp_path: Path) -> None:
    index = Exact()
    built = index.build([VECTORS], *VECTORS.shape)
    index.save(built, tmp_path / "corpus.faiss")
    refuse_hostile(tmp_path / "corpus.faiss", "elsewhere")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_index_is_refused_and_this_process_lives(tmp_path: Path, name: str) -> None:
    path = tmp_path / "corpus.faiss"
    path.write_bytes(HOSTILE[name]())
    with pytest.raises(ArtefactError, match="could not open and search") as caught:
        refuse_hostile(path, "s3://bucket/objects/1, round-00/index/corpus.faiss")
    assert "s3://bucket/objects/1, round-00/index/corpus.faiss" in str(caught.value)
    assert caught.value.got


def test_an_endless_search_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "SECONDS", 0.01)
    (tmp_path / "corpus.faiss").write_bytes(index())
    with pytest.raises(ArtefactError, match="could not open and search"):
        refuse_hostile(tmp_path / "corpus.faiss", "elsewhere")


def test_a_hostile_index_is_not_pulled(tmp_path: Path) -> None:
    """Its hash is right: whoever pushed it made the manifest too."""
    obstore = pytest.importorskip("obstore")
    store = Objects(Place.of("s3://bucket/some/place"), store=obstore.store.MemoryStore())
    theirs, ours = Workspace(tmp_path / "theirs"), Workspace(tmp_path / "ours")
    bad = Part(Shard("whole", 0), files={"corpus.faiss": lambda path: path.write_bytes(astray())})
    complete(theirs, "round-00/index", [bad], identity("index"))
    push(theirs, store)
    for _ in range(2):  # the second finds the file that the first has fetched
        with pytest.raises(ArtefactError, match="could not open and search"):
            pull(ours, store)
    assert not ours.final("round-00/index").exists()
