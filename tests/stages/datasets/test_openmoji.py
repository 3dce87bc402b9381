"""The emoji: which variants are one concept, and what ingest makes of them."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages import ingest
from stages.datasets._captioned import Shown
from stages.datasets._drawings import drawing
from stages.datasets._emoji import concept
from stages.datasets.openmoji import Openmoji
from stages.errors import InputError
from stages.imaging import Limits, prove
from stages.records import Wrong
from tests.support import run


@pytest.fixture(scope="module")
def emoji() -> list[Shown]:
    return [item for item in Openmoji().shown() if isinstance(item, Shown)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1F6B4-200D-2642-FE0F", "1F6B4-1F3FF-200D-2640-FE0F"),  # man biking, woman biking dark skin tone
        ("1F468-200D-1F692", "1F9D1-1F3FB-200D-1F692"),  # firefighters
        ("1F3C3-200D-27A1-FE0F", "1F3C3-200D-2640-FE0F-200D-27A1-FE0F"),  # running, facing right
        ("1F468-200D-1F469-200D-1F467", "1F468-200D-1F466"),  # families
        ("1F46B", "1F9D1-1F3FB-200D-1F91D-200D-1F9D1-1F3FF"),  # holding hands
        ("1F491", "1F469-1F3FB-200D-2764-FE0F-200D-1F468-1F3FF"),  # couple with heart
        ("1F934", "1F478-1F3FD"),  # prince, princess
        ("2764-FE0F", "2764"),
    ],
)
def test_variants_are_one_concept(one: str, other: str) -> None:
    assert concept(one) == concept(other)


def test_other_things_are_other_concepts() -> None:
    codes = (
        "1F6B4",
        "1F6B5",
        "1F468-200D-1F692",
        "1F468-200D-1F680",
        "1F1E9-1F1EA",
        "1F1EB-1F1F7",
        "2640",
        "2642",
        "1F3FB",
        "1F3FF",
    )
    assert len({concept(code) for code in codes}) == len(codes)


def test_all_named_drawings_are_there_with_concept_and_class(emoji: list[Shown]) -> None:
    assert len(emoji) == 3_953
    assert 1_650 < len({one.group for one in emoji}) < 1_720
    biking = {one.id: one for one in emoji if "biking" in one.captions[0] and "mountain" not in one.captions[0]}
    assert len(biking) == 18
    assert {one.group for one in biking.values()} == {"1F6B4"}
    assert {one.label for one in biking.values()} == {"person-sport"}
    assert biking["1F6B4-200D-2642-FE0F"].captions == ("man biking", "biking man")
    assert sum(one.label is None for one in emoji) < 30


def test_a_drawing_becomes_a_square_on_white(tmp_path: Path) -> None:
    high = "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 10 20'><rect width='10' height='20' fill='#123456'/></svg>"
    (tmp_path / "high.svg").write_text(high)
    content = drawing(tmp_path / "high.svg", 32, "high.svg").content
    assert callable(content)
    pixels = np.asarray(Image.open(io.BytesIO(content(1 << 20))))
    assert pixels.shape == (32, 32, 3)
    assert (pixels[:, 9:23] == (0x12, 0x34, 0x56)).all()
    assert (pixels[:, [0, 6, 25, 31]] == 255).all()
    (tmp_path / "bad.svg").write_text("<svg")
    content = drawing(tmp_path / "bad.svg", 32, "bad.svg").content
    found = prove(content, Limits(1 << 20, 10**6))
    assert isinstance(found, Wrong)
    assert "SVG that cannot be rendered" in found.reason


def test_a_limit_gives_a_small_collection_with_its_attribution(tmp_path: Path) -> None:
    config = ingest.IngestConfig(dataset={"name": "openmoji", "size": 32}, limit=3, pictures={"workers": 0})  # type: ignore[arg-type]
    result = run(ingest, config, {}, tmp_path)
    assert "CC BY-SA 4.0" in result.facts["attribution"]
    assert result["queries"].num_rows == 9
    assert set(result["pictures"]["width"].to_pylist()) == {32}
    corpus = result["corpus"].to_pylist()
    queries = result["queries"].to_pylist()
    for row in result["qrels"].to_pylist():
        assert queries[row["query_row"]]["text"] in captions_of(corpus[row["doc_row"]]["doc_id"])


def captions_of(code: str) -> tuple[str, ...]:
    return next(one.captions for one in Openmoji()._named if one.code == code)


def test_what_is_missing_is_an_error_and_not_an_empty_collection(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Openmoji, "_named", [])
    with pytest.raises(InputError, match="no row is left"):
        run(ingest, ingest.IngestConfig(dataset={"name": "openmoji"}), {}, tmp_path)  # type: ignore[arg-type]
