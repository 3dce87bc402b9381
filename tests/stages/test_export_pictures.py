"""Pictures as other trainers read them: open_clip's TSV and WebDataset, read back by their loaders; and what is refused."""

import csv
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages import export
from stages.errors import ArtefactError, InputError, YieldError
from stages.export import ExportConfig, sorted_out
from stages.exporters._common import Texts
from stages.exporters._verify import check
from stages.registry import build
from stages.settings import parse
from tests.export_world import contents, triplets
from tests.pictured_world import CREDIT, TO_IMAGE, same, world
from tests.pictures import packed
from tests.support import Table, few, run, source


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


def test_a_data_set_for_the_hub_has_pictures_of_the_feature_image_in_small_row_groups(tmp_path: Path) -> None:
    import datasets

    datasets.disable_progress_bars()
    inputs = world("ppppptp", "ttp", [*TO_IMAGE[:4], (2, 5, 1), (2, 6, 0)])
    config = parse(ExportConfig, {"targets": {"hf_pictures": {"license": "cc-by-sa-4.0"}}}, "export")
    folder = run(export, config, inputs, tmp_path).files["exports/hf_pictures"]
    assert "12 rows equal" in checked("hf_pictures", inputs, folder)  # 5 pairs and 7 documents
    assert (folder / "ATTRIBUTION.txt").read_text() == CREDIT["attribution"] + "\n"
    found = {
        n: datasets.load_dataset(str(folder), n, cache_dir=str(tmp_path / "c"))
        for n in ("pairs", "corpus", "hard_negatives")
    }
    pairs, corpus, negatives = found["pairs"]["train"], found["corpus"]["corpus"], found["hard_negatives"]["train"]
    assert isinstance(pairs.features["image"], datasets.Image)
    assert pairs["caption"] == ["caption q0", "caption q1", "caption q1", "caption d5", "caption q2"]
    for image, picture in zip(pairs["image"], (0, 1, 2, 5, 5), strict=True):
        assert same(packed(image.convert("RGB")), picture)
    assert corpus["_id"] == [f"d{i}" for i in range(7)]
    assert [image is None for image in corpus["image"]] == [False] * 5 + [True, False]
    assert same(packed(corpus["image"][4].convert("RGB")), 4)
    assert negatives[0] == {"query_id": "q0", "positive_id": "d0", "negative_ids": ["d1", "d2"]}


def test_the_viewer_reads_a_hundred_pictures_at_a_time(tmp_path: Path) -> None:
    inputs = world("pppppp", "t" * 8, [(q, d, (d + 1) % 6) for q in range(8) for d in range(6)])
    triples = [inputs["triplets"].read()] * 6
    texts = Texts.read(inputs["queries"], inputs["corpus"], {"pictures": inputs["pictures"]})
    member: Any = build("exporters", "hf_pictures", {"rows_per_file": 150})
    member.write(source(*triples), texts, tmp_path / "out")
    files = sorted((tmp_path / "out/data").glob("*.parquet"))
    metadata = [pq.ParquetFile(file).metadata for file in files]
    sizes = [[one.row_group(i).num_rows for i in range(one.num_row_groups)] for one in metadata]
    assert sizes == [[100, 50], [100, 38]]
    assert [file.name for file in files] == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]


TARGETS = ("open_clip", "webdataset", "hf_pictures")
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    [
        "2020-01-01",
        "1",
        "0001",
        "1.0",
        "1e5",
        "true",
        "null",
        "NA",
        "",
        " ",
        "a\tb\r\nc",
        ' "x',
        "\u2028x\x85",
        "None",
        "-inf",
    ]
)


@settings(
    max_examples=few(12),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(captions=st.tuples(words, words, words), ids=st.tuples(words, words))
@pytest.mark.parametrize("name", TARGETS)
def test_any_caption_and_any_id_come_back_equal_or_are_left_out_with_a_reason(
    tmp_path_factory: pytest.TempPathFactory, name: str, captions: tuple[str, str, str], ids: tuple[str, str]
) -> None:
    inputs = world("pppppp", "ttt", TO_IMAGE)
    for table_, column, values in (
        ("queries", "text", [*captions]), ("queries", "query_id", [f"{ids[0]}{i}" for i in range(3)]),
        ("corpus", "doc_id", [f"{ids[1]}{i}" for i in range(6)]),
    ):  # fmt: skip
        whole = inputs[table_].read()
        at = whole.schema.get_field_index(column)
        inputs[table_] = source(whole.set_column(at, whole.schema.field(at), pa.array(values, pa.large_string())))
    texts = Texts.read(inputs["queries"], inputs["corpus"], {"pictures": inputs["pictures"]})
    folder = tmp_path_factory.mktemp("x") / name
    member: Any = build("exporters", name, {})
    try:
        summary = member.write(inputs["triplets"], texts, folder)
    except (InputError, YieldError) as error:
        assert any(word in str(error) for word in ("NUL", "that_pandas_changes"))  # noqa: PT017
        return
    assert f"{summary.rows + (6 if name == 'hf_pictures' else 0)} rows equal" in check(
        member, inputs["triplets"], texts, folder
    )


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


@pytest.mark.parametrize("name", TARGETS)
def test_a_picture_that_is_another_one_is_found(name: str, tmp_path: Path) -> None:
    inputs = world("pppppp", "ttt", TO_IMAGE)
    other = {**inputs, "triplets": source(triplets([(q, p if q else 1, n) for q, p, n in TO_IMAGE]))}
    member: Any = build("exporters", name, {})
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
