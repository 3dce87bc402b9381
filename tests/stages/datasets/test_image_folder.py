"""Folders of pictures, through ingest: who belongs to whom in each direction, and what is said of what is broken."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import ingest, intake
from stages.datasets.image_folder import recognise
from stages.errors import ConfigError, InputError
from stages.imaging import rgb
from tests.pictures import BROKEN, noise, png
from tests.support import Result, run

ROWS = [
    {"file_name": "train/a.png", "text": "a red dog", "group": "dog", "label": "animal"},
    {"file_name": "train/b.png", "text": "A  red dog", "group": "dog", "label": "animal"},
    {"file_name": "test/c.png", "text": ["a cat", "a small cat"], "group": "cat", "label": "animal"},
    {"file_name": "test/d.png", "text": "a car", "group": "cat", "label": "thing"},
]


def folder(place: Path, rows: list[dict[str, Any]] | None = None) -> Path:
    rows = ROWS if rows is None else rows
    for number, row in enumerate(rows):
        path = place / row["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(number))
    (place / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return place


def read(place: Path, out: Path, on_bad_row: str = "fail", **fields: Any) -> Result:
    dataset = {"name": "image_folder", "path": str(place), **fields}
    return run(ingest, ingest.IngestConfig(dataset=dataset, on_bad_row=on_bad_row), {}, out)  # type: ignore[arg-type]


def pairs(result: Result) -> set[tuple[str, str, str]]:
    """What belongs together: what a query shows, what its document shows, and the split."""
    queries, corpus = result["queries"].to_pylist(), result["corpus"].to_pylist()

    def named(row: dict[str, Any], key: str) -> str:
        return row["text"] if row["picture"] is None else row[key]

    return {
        (named(queries[r["query_row"]], "query_id"), named(corpus[r["doc_row"]], "doc_id"), r["split"])
        for r in result["qrels"].to_pylist()
        if r["relevance"] > 0
    }


TEXTS = {
    ("a red dog", "train/a.png", "train"),
    ("a red dog", "train/b.png", "train"),
    ("a cat", "test/c.png", "test"),
    ("a small cat", "test/c.png", "test"),
    ("a car", "test/d.png", "test"),
}
BACK = {(picture, text, split) for text, picture, split in TEXTS}
VIEWS = {
    ("train/a.png", "train/a.png", "train"),
    ("train/b.png", "train/b.png", "train"),
    ("test/c.png", "test/d.png", "test"),
    ("test/d.png", "test/c.png", "test"),
}
GROUPS = VIEWS | {("train/a.png", "train/b.png", "train"), ("train/b.png", "train/a.png", "train")}
CLASSES = {
    ("train/a.png", "one animal", "train"),
    ("train/b.png", "one animal", "train"),
    ("test/c.png", "one animal", "test"),
    ("test/d.png", "one thing", "test"),
}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"direction": "text_to_image"}, TEXTS),
        ({"direction": "image_to_text"}, BACK),
        ({"direction": "both"}, TEXTS | BACK),
        ({"direction": "views"}, VIEWS),
        ({"direction": "views", "group_positives": True}, GROUPS),
        ({"direction": "classes", "prompt": "one {}"}, CLASSES),
    ],
)
def test_each_direction_has_its_pairs(fields: dict[str, Any], expected: set[Any], tmp_path: Path) -> None:
    assert pairs(read(folder(tmp_path / "in"), tmp_path, **fields)) == expected


def test_a_corpus_of_both_kinds_holds_pictures_first(tmp_path: Path) -> None:
    result = read(folder(tmp_path / "in"), tmp_path, direction="both")
    assert result["corpus"]["picture"].to_pylist() == [0, 1, 2, 3] + [None] * 4
    assert result["corpus"]["text"].to_pylist()[4:] == ["a red dog", "a cat", "a small cat", "a car"]
    assert result["corpus"]["group"].to_pylist()[:4] == ["dog", "dog", "cat", "cat"]
    assert result["corpus"]["label"].to_pylist()[:4] == ["animal"] * 3 + ["thing"]
    assert result["queries"]["picture"].to_pylist() == [None] * 4 + [0, 1, 2, 3]


def test_pictures_are_stored_once_as_they_were_given(tmp_path: Path) -> None:
    place = folder(tmp_path / "in")
    (place / "train/b.png").write_bytes(png(0))
    result = read(place, tmp_path)
    assert result["corpus"]["picture"].to_pylist() == [0, 0, 1, 2]
    assert result["pictures"]["image"].to_pylist() == [png(0), png(2), png(3)]
    assert result["pictures"]["width"].to_pylist() == [12] * 3
    hashes = result["corpus"]["text_hash"].to_pylist()
    assert hashes[0] == hashes[1] != hashes[2]
    assert result["pictures"]["pixels"].to_pylist()[0] == hashes[0]
    assert np.array_equal(rgb(result["pictures"]["image"][1].as_py()), noise(2))


def test_captions_lie_beside_pictures_or_are_the_names_of_folders(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/2.png", "dog/1.PNG"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(len(name) + ord(name[0])))
    (tmp_path / "in/cat/2.txt").write_text("a second\n cat\n")
    (tmp_path / "in/readme.md").write_text("no caption")
    result = read(tmp_path / "in", tmp_path, dev=0, test=0)
    assert pairs(result) == {
        ("cat", "cat/1.png", "train"),
        ("a second cat", "cat/2.png", "train"),
        ("dog", "dog/1.PNG", "train"),
    }
    assert result["corpus"]["label"].to_pylist() == ["cat", "cat", "dog"]
    assert any("1 files are neither" in message for message in result.messages)


def test_pictures_of_one_group_are_in_one_split(tmp_path: Path) -> None:
    rows = [{"file_name": f"{i}.png", "text": f"picture {i}", "group": f"g{i % 20}"} for i in range(60)]
    found = pairs(read(folder(tmp_path / "in", rows), tmp_path))
    splits: dict[int, set[str]] = {}
    for _, document, split in found:
        splits.setdefault(int(document.removesuffix(".png")) % 20, set()).add(split)
    assert all(len(one) == 1 for one in splits.values())
    assert {next(iter(one)) for one in splits.values()} == {"train", "dev", "test"}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_picture_stops_the_run_or_is_set_aside_with_its_judgements(name: str, tmp_path: Path) -> None:
    data, says = BROKEN[name]
    place = folder(tmp_path / "in")
    (place / "train/b.png").write_bytes(data)
    with pytest.raises(InputError) as error:
        read(place, tmp_path)
    message = str(error.value)
    assert f"{place / 'metadata.jsonl'} line 2, column 'file_name', id 'train/b.png'" in message
    assert says in message
    assert "try:" in message
    result = read(place, tmp_path, "quarantine", direction="both")
    assert pairs(result) == {p for p in TEXTS | BACK if "train/b.png" not in p}
    rejects = {(r["table"], r["id"]) for r in result["rejects"].to_pylist()}
    assert rejects >= {("corpus", "train/b.png"), ("queries", "train/b.png")}
    for table in ("corpus", "queries", "qrels"):
        kept, rejected = (result.counters[f"{table}.{key}"] for key in ("kept", "rejected"))
        assert result.counters[f"{table}.read"] == kept + rejected


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"file_name": "../out.png", "text": "x"}, "leads out of the folder"),
        ({"file_name": "/etc/passwd", "text": "x"}, "leads out of the folder"),
        ({"text": "x"}, "name of the picture's file is missing"),
        ({"file_name": "\ud800.png", "text": "x"}, "lone surrogate"),
        ({"file_name": "a" * 300 + ".png", "text": "x"}, "longer than a name of a file can be"),
        ({"file_name": "a/" * 3000 + "b.png", "text": "x"}, "longer than a name of a file can be"),
        ({"file_name": "none.png", "text": "x"}, "No such file"),
        ({"file_name": "train/a.png", "text": 7}, "the number 7 where a caption belongs"),
    ],
)
def test_a_row_that_names_no_picture_is_refused_with_its_line(row: dict[str, Any], says: str, tmp_path: Path) -> None:
    place = folder(tmp_path / "in", ROWS[2:])
    (place / "train").mkdir()
    (place / "train/a.png").write_bytes(png(9))
    with (place / "metadata.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    with pytest.raises(InputError) as error:
        read(place, tmp_path)
    assert says in str(error.value)
    assert "metadata.jsonl line 3" in str(error.value)


def test_limits_are_those_of_the_configuration(tmp_path: Path) -> None:
    place = folder(tmp_path / "in")
    for limits, says in (
        ({"max_pixels": 95}, "12 × 8 pixels; the limit is 95"),
        ({"max_bytes": 10}, "more than 10 bytes"),
    ):
        config = ingest.IngestConfig(dataset={"name": "image_folder", "path": str(place)}, pictures=limits)  # type: ignore[arg-type]
        with pytest.raises(InputError, match=says):
            run(ingest, config, {}, tmp_path)


def test_processes_give_what_one_gives(tmp_path: Path) -> None:
    place = folder(tmp_path / "in", [{"file_name": f"{i:02}.png", "text": f"picture {i}"} for i in range(70)])
    (place / "33.png").write_bytes(b"broken")
    results = [
        run(
            ingest,
            ingest.IngestConfig(
                dataset={"name": "image_folder", "path": str(place)},
                on_bad_row="quarantine",
                pictures={"workers": workers},  # type: ignore[arg-type]
            ),
            {},
            tmp_path,
        )
        for workers in (0, 2)
    ]
    for name in ("corpus", "queries", "qrels", "pictures", "rejects"):
        assert results[0][name].equals(results[1][name])
    assert results[0].counters == results[1].counters
    assert results[0].counters["pictures.kept"] == 69


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not there"):
        read(tmp_path / "none", tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.txt").write_text("x")
    with pytest.raises(InputError, match="no picture"):
        read(tmp_path / "in", tmp_path)
    with pytest.raises(ConfigError, match="no column 'captoin'"):
        read(folder(tmp_path / "two"), tmp_path, caption="captoin")


def test_folders_of_pictures_are_recognised(tmp_path: Path) -> None:
    guess = recognise(str(folder(tmp_path / "in")))
    assert guess is not None
    assert guess.score == 85
    (tmp_path / "in/metadata.jsonl").unlink()
    guess = recognise(str(tmp_path / "in"))
    assert guess is not None
    assert guess.score == 50
    assert recognise(str(tmp_path / "none")) is None


def test_a_picture_is_decoded_once_and_with_a_limit_only_where_it_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = folder(tmp_path / "in", [{"file_name": f"{i:02}.png", "text": f"picture {i}"} for i in range(30)])
    decoded: list[bytes] = []
    real = intake.prove

    def counting(content: Any, limits: Any) -> Any:
        decoded.append(content)
        return real(content, limits)

    monkeypatch.setattr(intake, "prove", counting)
    result = read(place, tmp_path, direction="both")
    assert len(decoded) == 30
    assert result["queries"]["picture"].to_pylist()[30:] == list(range(30))
    decoded.clear()
    config = ingest.IngestConfig(dataset={"name": "image_folder", "path": str(place)}, limit=1)  # type: ignore[arg-type]
    result = run(ingest, config, {}, tmp_path)
    assert len(decoded) == result["corpus"].num_rows == result["pictures"].num_rows == 10
