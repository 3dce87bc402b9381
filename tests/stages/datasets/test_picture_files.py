"""Tars of WebDataset and rows of Hugging Face's Image feature, through ingest, with what breaks them."""

import gzip
import io
import json
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline import initial
from stages import export, ingest
from stages.datasets._tar_samples import MEMBER_BYTES
from stages.errors import ConfigError, InputError
from stages.settings import parse
from tests.pictured_world import IMAGES, TO_IMAGE, same, world
from tests.pictures import PNG, noise, png
from tests.stages.datasets.test_image_folder import pairs
from tests.support import Result, run

SAMPLES: list[dict[str, bytes]] = [
    {"0001.png": png(1), "0001.txt": b"a dog\n", "0001.json": b'{"group": "dog", "label": "animal"}'},
    {"sub/0002.jpg": png(2), "sub/0002.json": b'{"caption": ["a cat", "a small cat"], "label": 3}'},
    {"0003.PNG": png(3), "0003.cls": b"thing", "0003.txt": b"a car"},
]


def tar(path: Path, samples: list[dict[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as file:
        for name, content in (item for sample in samples for item in sample.items()):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


def read(out: Path, on_bad_row: str = "fail", **dataset: Any) -> Result:
    return run(ingest, ingest.IngestConfig(dataset=dataset, on_bad_row=on_bad_row), {}, out)  # type: ignore[arg-type]


ALL = {("a dog", "0001"), ("a cat", "sub/0002"), ("a small cat", "sub/0002"), ("a car", "0003")}


@pytest.mark.parametrize("name", ["one.tar", "one.tar.gz"])
def test_samples_of_a_tar_are_pictures_with_captions_groups_and_classes(name: str, tmp_path: Path) -> None:
    path = tar(tmp_path / name, SAMPLES)
    result = read(tmp_path, name="webdataset", path=str(path))
    assert {(text, picture) for text, picture, _ in pairs(result)} == ALL
    assert result["corpus"]["group"].to_pylist() == ["dog", None, None]
    assert result["corpus"]["label"].to_pylist() == ["animal", "3", "thing"]
    assert result["pictures"]["image"].to_pylist() == [png(1), png(2), png(3)]


def test_tars_in_folders_of_splits_are_split_so(tmp_path: Path) -> None:
    tar(tmp_path / "in/train-000.tar", SAMPLES[:1])
    tar(tmp_path / "in/test/000.tar", SAMPLES[1:])
    result = read(tmp_path, name="webdataset", path=str(tmp_path / "in"), direction="both")
    assert {(pair[0], pair[2]) for pair in pairs(result)} == {
        ("a dog", "train"), ("0001", "train"), *((one, "test") for one in ("a cat", "a small cat", "a car", "sub/0002", "0003")),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sample", "says"),
    [
        ({"1.a.png": png(5), "1.a.txt": b"x"}, "the key has a dot"),
        ({"7.txt": b"x"}, "a sample without a picture; it has .txt"),
        ({"7.png": PNG[:200], "7.txt": b"x"}, "cut off"),
        ({"7.png": png(5), "7.json": b"[1]"}, "not a JSON object"),
        ({"7.png": png(5), "7.json": b"{"}, "the member .json cannot be read"),
        ({"7.png": png(5), "7.txt": b"\xff"}, "the member .txt cannot be read"),
        ({"7.png": png(5), "7.PNG": png(6)}, "comes twice"),
    ],
)
def test_a_sample_that_cannot_be_used_is_named(sample: dict[str, bytes], says: str, tmp_path: Path) -> None:
    path = tar(tmp_path / "one.tar", [*SAMPLES, sample])
    with pytest.raises(InputError) as error:
        read(tmp_path, name="webdataset", path=str(path))
    assert says in str(error.value)
    assert f"{path} line 4" in str(error.value)
    result = read(tmp_path, "quarantine", name="webdataset", path=str(path))
    assert {(text, picture) for text, picture, _ in pairs(result)} == ALL
    assert result.counters["corpus.read"] == result.counters["corpus.kept"] + result.counters["corpus.rejected"] == 4


def test_a_tar_that_breaks_off_or_is_a_bomb_is_refused(tmp_path: Path) -> None:
    path = tar(tmp_path / "one.tar", SAMPLES)
    path.write_bytes(path.read_bytes()[:1700])
    with pytest.raises(InputError, match="cut off or damaged"):
        read(tmp_path, name="webdataset", path=str(path))
    (tmp_path / "two.tar").write_bytes(b"this is no tar")
    with pytest.raises(InputError, match="cut off or damaged"):
        read(tmp_path, name="webdataset", path=str(tmp_path / "two.tar"))
    whole = tar(tmp_path / "three.tar.gz", SAMPLES).read_bytes()
    for cut in range(40):
        (tmp_path / "four.tar.gz").write_bytes(whole[:3] + b"\x1f" + whole[4:cut])  # a head with all its parts
        with pytest.raises(InputError, match=r"cut off or damaged|no row is left"):
            read(tmp_path, name="webdataset", path=str(tmp_path / "four.tar.gz"))
    huge = tarfile.TarInfo("9.png")
    huge.size = MEMBER_BYTES * 5
    with gzip.open(tmp_path / "bomb.tar.gz", "wb", compresslevel=1) as file:
        file.write(huge.tobuf())
        for _ in range(5):
            file.write(bytes(MEMBER_BYTES))
        file.write(bytes(1024))
    with pytest.raises(InputError, match="far more than it is"):
        read(tmp_path, name="webdataset", path=str(tmp_path / "bomb.tar.gz"))


@pytest.mark.parametrize("group", ["[1, 2]", "{}", "7"])
def test_a_group_that_is_no_text_is_named_and_its_picture_set_aside(group: str, tmp_path: Path) -> None:
    bad = {"0009.png": png(9), "0009.json": f'{{"group": {group}}}'.encode()}
    path = tar(tmp_path / "one.tar", [*SAMPLES, bad])
    given = {"name": "webdataset", "path": str(path), "direction": "views", "dev": 0.0, "test": 0.0}
    with pytest.raises(InputError, match="group"):
        read(tmp_path / "a", **given)
    result = read(tmp_path / "b", "quarantine", **given)
    whole = read(tmp_path / "c", **{**given, "path": str(tar(tmp_path / "two.tar", SAMPLES))})
    assert result["corpus"]["doc_id"].to_pylist() == whole["corpus"]["doc_id"].to_pylist()
    assert result["qrels"].num_rows == whole["qrels"].num_rows


def test_no_member_is_written_anywhere(tmp_path: Path) -> None:
    path = tar(tmp_path / "in/one.tar", [{"../../escaped.png": png(1), "../../escaped.txt": b"x"}, *SAMPLES])
    read(tmp_path / "out", name="webdataset", path=str(path))
    assert not list(tmp_path.rglob("escaped*"))


def rows() -> list[dict[str, Any]]:
    return [
        {"image": noise(i), "caption": f"picture {i}", "label": i % 2, "group": f"g{i // 2}"} for i in range(6)
    ]  # fmt: skip


def dataset() -> datasets.Dataset:
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "caption": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
            "group": datasets.Value("string"),
        }
    )
    return datasets.Dataset.from_list(rows(), features=features)


@pytest.mark.parametrize("form", ["parquet", "saved", "splits"])
def test_an_image_feature_is_read_as_datasets_writes_it(form: str, tmp_path: Path) -> None:
    place = tmp_path / "in"
    if form == "saved":
        dataset().save_to_disk(place)
    elif form == "splits":
        place.mkdir()
        dataset().select(range(4)).to_parquet(place / "train-00000-of-00001.parquet")
        dataset().select(range(4, 6)).to_parquet(place / "test-00000-of-00001.parquet")
    else:
        place.mkdir()
        dataset().to_parquet(place / "data.parquet")
    result = read(tmp_path, name="image_rows", path=str(place))
    found = {(text, picture.rpartition("/")[2]) for text, picture, _ in pairs(result)}
    per_file = 4 if form == "splits" else 6
    assert found == {(f"picture {i}", str(i % per_file + 1)) for i in range(6)}
    assert result["corpus"]["label"].to_pylist() == [
        ("dog" if int(t.split()[1]) % 2 else "cat") for t in result["corpus"]["text"].to_pylist()
    ]
    assert result["pictures"].num_rows == 6
    if form == "splits":
        assert {split for _, _, split in pairs(result)} == {"train", "test"}
    guess = initial.recognise(str(place))
    assert guess.name == "image_rows"


def test_pictures_may_lie_beside_the_rows_and_what_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(png(1))
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    values = [
        {"bytes": None, "path": "a.png"},
        {"bytes": b"broken", "path": None},
        None,
        {"bytes": None, "path": "../x.png"},
    ]

    def write(images: list[Any]) -> None:
        table = pa.table({"image": pa.array(images, kind), "text": [f"t{i}" for i in range(len(images))]})
        pq.write_table(table, tmp_path / "in/data.parquet")

    for count, says in ((2, "not a picture"), (3, "the row has no picture"), (4, "leads out of the folder")):
        write([values[0], values[count - 1]])
        with pytest.raises(InputError) as error:
            read(tmp_path, name="image_rows", path=str(tmp_path / "in"))
        assert says in str(error.value)
        assert "data.parquet line 2, column 'image'" in str(error.value)
    write(values[:1])
    member = ingest.IngestConfig(dataset={"name": "image_rows", "path": str(tmp_path / "in")}).dataset  # type: ignore[arg-type]
    before = member.fingerprint()
    assert read(tmp_path, name="image_rows", path=str(tmp_path / "in"))["pictures"]["image"].to_pylist() == [png(1)]
    (tmp_path / "in/a.png").write_bytes(png(2))
    again = ingest.IngestConfig(dataset={"name": "image_rows", "path": str(tmp_path / "in")}).dataset  # type: ignore[arg-type]
    assert again.fingerprint() != before


def test_columns_are_asked_for_when_they_cannot_be_told(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [b"x"], "b": [b"y"], "text": ["t"]}), tmp_path / "two.parquet")
    with pytest.raises(ConfigError, match="several columns of pictures"):
        read(tmp_path, name="image_rows", path=str(tmp_path / "two.parquet"))
    pq.write_table(pa.table({"text": ["t"]}), tmp_path / "none.parquet")
    with pytest.raises(ConfigError, match="no column holds pictures"):
        read(tmp_path, name="image_rows", path=str(tmp_path / "none.parquet"))


def test_formats_of_pictures_are_recognised(tmp_path: Path) -> None:
    tar(tmp_path / "tars/000.tar", SAMPLES)
    assert initial.recognise(str(tmp_path / "tars")).name == "webdataset"
    found = initial.recognise(str(tmp_path / "tars/000.tar"))
    assert found.name == "webdataset"
    written = tomllib.loads(initial.configuration(found, "tars", tmp_path / "hardrock.toml", "unused"))
    assert written["encoder"] == {"name": "two_tower"}
    assert "export" not in written
    (tmp_path / "folder/cat").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "folder/cat/1.png")
    assert initial.recognise(str(tmp_path / "folder")).name == "image_folder"
    (tmp_path / "folder/metadata.jsonl").write_text(json.dumps({"file_name": "cat/1.png", "text": "a cat"}) + "\n")
    assert initial.recognise(str(tmp_path / "folder")).name == "image_folder"


def test_a_table_of_open_clip_is_read_and_comes_back_from_its_export(tmp_path: Path) -> None:
    exported = run(export, parse(export.ExportConfig, {"targets": {"open_clip": {}}}, "export"),
                   world("pppppp", "ttt", TO_IMAGE), tmp_path / "out").files["exports/open_clip"]  # fmt: skip
    found = initial.recognise(str(exported / "data/train.tsv"))
    assert (found.name, found.guess.fields["folder"]) == ("open_clip", str(exported))
    result = read(tmp_path, name="open_clip", **found.guess.fields)
    pictures = result["pictures"]["image"].to_pylist()
    told = {(text, same_as(pictures, row)) for text, row in shown(result)}
    assert told == {("caption q0", 0), ("caption q1", 1), ("caption q1", 2), ("caption q2", 5)}


def same_as(pictures: list[bytes], row: int) -> int:
    """Which of the pictures of the world it is."""
    return next(i for i in range(len(IMAGES)) if same(pictures[row], i))


def shown(result: Result) -> set[tuple[str, int]]:
    """Query and row of the picture of each judgement."""
    texts, rows = result["queries"]["text"].to_pylist(), result["corpus"]["picture"].to_pylist()
    return {(texts[r["query_row"]], rows[r["doc_row"]]) for r in result.rows("qrels") if r["relevance"] > 0}


@pytest.mark.parametrize(
    ("row", "says"),
    [(b"../a.png\tx", "leads out of the folder"), (b"none.png\tx", "line 3"), (b"a.png", "1 cells where the header has 2"),
     (b"/etc/a.png\tx", "leads out of the folder"), (b"\tx", "the name of the picture's file is missing")],
)  # fmt: skip
def test_a_table_of_open_clip_with_a_fault_is_told_with_its_line(row: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(png(1))
    (tmp_path / "in/t.tsv").write_bytes(b"filepath\ttitle\na.png\ta \xc3\xa9 dog\n" + row + b"\n")
    given = {"name": "open_clip", "path": str(tmp_path / "in/t.tsv")}
    with pytest.raises(InputError, match=says) as caught:
        read(tmp_path, **given)
    assert "t.tsv line 3" in str(caught.value)
    result = read(tmp_path, "quarantine", **given)
    assert {(r["file"], r["line"]) for r in result.rows("rejects")} == {("t.tsv", 3)}
    assert "a é dog" in result["queries"]["text"].to_pylist()
    with pytest.raises(ConfigError, match="there is no column 'path'"):
        read(tmp_path, **given, image_key="path")
