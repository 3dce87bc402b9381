"""Pictures as other trainers read them: open_clip's TSV and WebDataset, read back by their loaders; and what is refused."""

import csv
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages import export
from stages.errors import ArtefactError
from stages.export import ExportConfig, sorted_out
from stages.exporters._common import Texts
from stages.exporters._verify import check
from stages.exporters.open_clip import OpenClip
from stages.exporters.webdataset import Webdataset
from stages.registry import build
from stages.settings import parse
from tests.export_world import contents, triplets
from tests.pictured_world import CREDIT, TO_IMAGE, same, world
from tests.support import Table, run, source


def checked(name: str, inputs: dict[str, Any], folder: Path) -> str:
    texts = Texts.read(inputs["queries"], inputs["corpus"], {"pictures": inputs["pictures"]})
    return check(build("exporters", name, {}), inputs["triplets"], texts, folder)


def test_captions_and_pictures_go_to_open_clip_and_webdataset_by_themselves(tmp_path: Path) -> None:
    inputs = world("pppppp", "ttt", TO_IMAGE)
    result = run(export, ExportConfig(), inputs, tmp_path)
    assert list(result.files) == ["exports/open_clip", "exports/webdataset"]
    one, two = result.files.values()
    with (one / "data/train.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["title"] for row in rows] == ["caption q0", "caption q1", "caption q1", "caption q2"]
    for row, picture in zip(rows, (0, 1, 2, 5), strict=True):
        assert same((one / row["filepath"]).read_bytes(), picture)
    assert {Path(row["filepath"]).suffix for row in rows} == {".png", ".jpg"}
    assert result.counters["open_clip.escaped.pictures_written_as_png"] == 2
    found = pq.read_table(one / "ids.parquet").to_pylist()
    assert [(r["query_id"], r["positive_id"], r["negative_ids"]) for r in found] == [
        ("q0", "d0", ["d1", "d2"]), ("q1", "d1", ["d3"]), ("q1", "d2", ["d5"]), ("q2", "d5", ["d0"]),
    ]  # fmt: skip
    for name, folder in (("open_clip", one), ("webdataset", two)):
        assert "4 rows equal" in checked(name, inputs, folder)
        assert (folder / "ATTRIBUTION.txt").read_text() == CREDIT["attribution"] + "\n"
    assert json.loads((two / "data/sizes.json").read_text()) == {"00000.tar": 4}
    with tarfile.open(two / "data/00000.tar") as tar:
        assert tar.getnames()[:3] == ["000000000.png", "000000000.txt", "000000000.json"]
        member = tar.extractfile("000000000.json")
        assert member is not None
        assert json.load(member) == {"query_id": "q0", "positive_id": "d0", "negative_ids": ["d1", "d2"]}


def test_pictures_that_search_captions_and_both_directions_are_pairs_as_well(tmp_path: Path) -> None:
    inputs = world("pptt", "tp", [(0, 1, 0), (1, 3, 2)])
    result = run(export, ExportConfig(), inputs, tmp_path)
    with (result.files["exports/open_clip"] / "data/train.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["title"] for row in rows] == ["caption q0", "caption d3"]
    for row, picture in zip(rows, (1, 6), strict=True):
        assert same((result.files["exports/open_clip"] / row["filepath"]).read_bytes(), picture)
    for name in ("open_clip", "webdataset"):
        assert "2 rows equal" in checked(name, inputs, result.files[f"exports/{name}"])


def test_pictures_alone_go_to_webdataset(tmp_path: Path) -> None:
    inputs = world("pppp", "ppp", [(0, 0, 1), (1, 1, 2)], caption="")
    for row in ("corpus", "queries"):
        whole = inputs[row].tables[0]
        blank = whole.set_column(
            whole.schema.get_field_index("text"),
            whole.schema.field("text"),
            pa.array([""] * whole.num_rows, pa.large_string()),
        )
        inputs[row] = Table([blank])
    result = run(export, ExportConfig(), inputs, tmp_path)
    assert list(result.files) == ["exports/webdataset"]
    with tarfile.open(result.files["exports/webdataset"] / "data/00000.tar") as tar:
        assert tar.getnames() == ["000000000.png", "000000000.json", "000000001.png", "000000001.json"]
    assert "2 rows equal" in checked("webdataset", inputs, result.files["exports/webdataset"])


def test_targets_that_cannot_hold_what_there_is_are_refused_and_fail_nothing(tmp_path: Path) -> None:
    config = parse(ExportConfig, {"targets": {"st_triplet": {}, "webdataset": {}}}, "export")
    result = run(export, config, world("pppppp", "ttt", TO_IMAGE), tmp_path)
    assert list(result.files) == ["exports/webdataset"]
    assert result.counters["st_triplet.refused"] == 1
    assert any(m.startswith("st_triplet: refused, it holds texts alone") for m in result.messages)
    config = parse(ExportConfig, {"targets": {"flagembedding": {}}}, "export")
    result = run(export, config, world("pppppp", "ttt", TO_IMAGE), tmp_path / "two")
    assert not result.files
    assert "refused" in result.facts["exports"]["flagembedding"]
    config = parse(ExportConfig, {"targets": {"open_clip": {}, "webdataset": {}}}, "export")
    assert set(sorted_out(config, world("tttttt", "ttt", TO_IMAGE))[1]) == {"open_clip", "webdataset"}
    assert set(sorted_out(config, world("pppppp", "ppp", TO_IMAGE))[1]) == {"open_clip"}


def test_tabs_and_quotes_in_captions_are_changed_and_counted(tmp_path: Path) -> None:
    inputs = world("pppppp", "ttt", TO_IMAGE, caption='a "big"\tred\ndog')
    result = run(export, ExportConfig(), inputs, tmp_path)
    assert result.counters["open_clip.escaped.quotes_in_texts"] == 8
    assert result.counters["open_clip.escaped.tabs_and_line_ends_in_texts"] == 8
    import pandas

    frame = pandas.read_csv(result.files["exports/open_clip"] / "data/train.tsv", sep="\t")
    assert frame["title"].tolist()[0] == "a 'big' red dog q0"
    assert "4 rows equal" in checked("open_clip", inputs, result.files["exports/open_clip"])
    assert "4 rows equal" in checked("webdataset", inputs, result.files["exports/webdataset"])


def test_any_sharding_gives_the_same_bytes_and_tars_are_cut(tmp_path: Path) -> None:
    inputs = world("pppppp", "ttt", TO_IMAGE)
    whole = inputs["triplets"].read()
    cut = {**inputs, "triplets": source(*(whole.slice(i, 2) for i in range(0, 5, 2)))}
    config = parse(ExportConfig, {"targets": {"open_clip": {}, "webdataset": {"samples_per_tar": 3}}}, "export")
    one, two = (run(export, config, given, tmp_path / name) for name, given in (("one", inputs), ("two", cut)))
    for name, folder in one.files.items():
        assert contents(folder) == contents(two.files[name])
    assert json.loads((one.files["exports/webdataset"] / "data/sizes.json").read_text()) == {
        "00000.tar": 3,
        "00001.tar": 1,
    }


def test_a_caption_that_pandas_takes_for_a_number_or_for_missing_is_left_out_and_counted(tmp_path: Path) -> None:
    inputs = world("pppppp", "tttttttt", [(q, q % 6, (q + 1) % 6) for q in range(8)])
    whole = inputs["queries"].read()
    captions = pa.array(["NA", "0001", "7", " ", "true", "1.50", "a dog", "-nan"], pa.large_string())
    at = whole.schema.get_field_index("text")
    inputs["queries"] = source(whole.set_column(at, whole.schema.field(at), captions))
    result = run(export, parse(ExportConfig, {"targets": {"open_clip": {}}}, "export"), inputs, tmp_path)
    assert result.counters["open_clip.left_out.pairs_with_a_caption_that_pandas_changes"] == 6
    assert result.counters["open_clip.left_out.negatives_of_pairs_left_out"] == 6
    assert "2 rows equal" in checked("open_clip", inputs, result.files["exports/open_clip"])


@pytest.mark.parametrize("name", ["open_clip", "webdataset"])
def test_a_picture_that_is_another_one_is_found(name: str, tmp_path: Path) -> None:
    inputs = world("pppppp", "ttt", TO_IMAGE)
    other = {**inputs, "triplets": source(triplets([(q, p if q else 1, n) for q, p, n in TO_IMAGE]))}
    member: Any = OpenClip() if name == "open_clip" else Webdataset()
    texts = Texts.read(inputs["queries"], inputs["corpus"], {"pictures": inputs["pictures"]})
    member.write(inputs["triplets"], texts, tmp_path / "out")
    swapped = inputs["pictures"].read()
    pixels = swapped.column("pixels").to_pylist()
    pixels[0], pixels[1] = pixels[1], pixels[0]
    at = swapped.schema.get_field_index("pixels")
    swapped = swapped.set_column(at, swapped.schema.field("pixels"), pa.array(pixels, pa.int64()))
    wrong = Texts.read(inputs["queries"], inputs["corpus"], {"pictures": source(swapped)})
    with pytest.raises(ArtefactError, match="not what was mined"):
        check(member, inputs["triplets"], wrong, tmp_path / "out")
    with pytest.raises(ArtefactError):
        check(member, other["triplets"], texts, tmp_path / "out")
