from pathlib import Path

import faiss
import numpy as np
import pytest

from stages.errors import ArtefactError
from stages.indexes.flat import Flat

CORPUS = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)


def test_it_finds_the_nearest_before_and_after_saving(tmp_path: Path) -> None:
    built = Flat().build([CORPUS[:20], CORPUS[20:]], 50, 8)
    Flat().save(built, tmp_path / "corpus.faiss")
    loaded = Flat().load(tmp_path / "corpus.faiss", 50, 8)
    expected = np.argsort(-(CORPUS @ CORPUS.T), axis=1)[:, :5]
    for searcher in (built, loaded):
        scores, rows = searcher.search(CORPUS, 5)
        np.testing.assert_array_equal(rows, expected)
        assert (scores.dtype, rows.dtype) == (np.float32, np.int64)
    assert Flat().exact


def test_a_damaged_index_is_refused_before_it_takes_memory(tmp_path: Path) -> None:
    place = tmp_path / "corpus.faiss"
    Flat().save(Flat().build([CORPUS], 50, 8), place)
    sound = place.read_bytes()
    before = faiss.get_deserialization_vector_byte_limit()
    at = sound.rindex((50 * 8 * 4 // 4).to_bytes(8, "little"))
    for damaged in (sound[: len(sound) // 2], sound[:at] + (2**36).to_bytes(8, "little") + sound[at + 8 :], b""):
        place.write_bytes(damaged)
        with pytest.raises(ArtefactError, match=r"corpus\.faiss"):
            Flat().load(place, 50, 8)
    assert faiss.get_deserialization_vector_byte_limit() == before


@pytest.mark.parametrize(("rows", "dimensions"), [(51, 8), (50, 9)])
def test_an_index_of_another_shape_is_refused(tmp_path: Path, rows: int, dimensions: int) -> None:
    Flat().save(Flat().build([CORPUS], 50, 8), tmp_path / "corpus.faiss")
    with pytest.raises(ArtefactError, match=f"50 vectors of 8 values, expected {rows} of {dimensions}"):
        Flat().load(tmp_path / "corpus.faiss", rows, dimensions)


def test_other_metrics_and_missing_files_are_refused(tmp_path: Path) -> None:
    other = faiss.IndexFlatL2(8)
    other.add(CORPUS)
    faiss.write_index(other, str(tmp_path / "l2.faiss"))
    for name in ("l2.faiss", "none.faiss"):
        with pytest.raises(ArtefactError, match=name):
            Flat().load(tmp_path / name, 50, 8)
