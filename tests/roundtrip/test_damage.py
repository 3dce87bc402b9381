"""An export that was damaged in any way is found, for every target: by its hashes, its loader, and against the triplets."""

from __future__ import annotations

import gzip
import importlib.util
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.errors import ArtefactError
from stages.exporters._common import Texts, _described
from stages.exporters._verify import check
from stages.registry import build
from tests.export_world import TEXT_EXPORTERS, world
from tests.support import source

ROWS = [(q, 6 * q, 6 * q + n) for q in range(4) for n in range(1, 6)]
HERE = [name for name in TEXT_EXPORTERS if name != "colbert" or importlib.util.find_spec("colbert")]
OPTIONS: dict[str, dict[str, Any]] = {
    "flagembedding": {"scores": True}, "flagembedding_reranker": {"scores": True}, "colbert": {"scores": True},
    "contrastors": {"scores": True}, "splade_tsv": {"scores": True},
}  # fmt: skip
WITH_CORPUS = {
    "tevatron": "corpus/corpus.jsonl", "colbert": "collection.tsv", "nemo_automodel": "corpus/train-00000-of-00001.parquet",
    "pylate_kd": "documents/train-00000-of-00001.parquet", "mteb_beir": "corpus/corpus-00000-of-00001.parquet",
    "hf_dataset": "corpus/corpus-00000-of-00001.parquet",
}  # fmt: skip
Rows = list[Any]


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    datasets.disable_progress_bars()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A sound export of a target, written once."""
    written: dict[str, Path] = {}

    def export(name: str) -> Path:
        if name not in written:
            written[name] = tmp_path_factory.mktemp("sound") / name
            target: Any = build("exporters", name, OPTIONS.get(name, {}))
            target.write(world(ROWS)["triplets"], texts(), written[name])
        return written[name]

    return export


def texts() -> Texts:
    inputs = world(ROWS)
    return Texts.read(inputs["queries"], inputs["corpus"], {name: inputs[name] for name in ("qrels", "judged")})


def verify(name: str, folder: Path) -> str:
    return check(build("exporters", name, OPTIONS.get(name, {})), world(ROWS)["triplets"], texts(), folder)


def place(folder: Path) -> Path:
    return next(p for p in sorted((folder / "data").iterdir()) if p.name not in ("counts.json", "offsets.json.gz"))


def read(path: Path) -> Rows:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.name == "train.json":
        found = json.loads(path.read_text("utf-8"))
        return found["data"] if isinstance(found, dict) else found
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) if line[:1] in b"[{" else line.decode() for line in raw.split(b"\n")[:-1]]


def put(path: Path, rows: Rows) -> None:
    """Writes other rows in the format of the file, with what depends on them: a sound file of its format."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path)
        return
    if path.name == "train.json":
        found = json.loads(path.read_text("utf-8"))
        path.write_text(json.dumps({**found, "data": rows} if isinstance(found, dict) else rows), "utf-8")
        return
    lines = [(row if isinstance(row, str) else json.dumps(row)).encode() + b"\n" for row in rows]
    path.write_bytes(gzip.compress(b"".join(lines)) if path.suffix == ".gz" else b"".join(lines))
    if path.name.startswith("shard-"):
        ends = [sum(map(len, lines[: i + 1])) for i in range(len(lines))]
        offsets = path.parent / "offsets.json.gz"
        found = {str(i): [end - len(line), end] for i, (line, end) in enumerate(zip(lines, ends, strict=True))}
        keys = json.loads(gzip.decompress(offsets.read_bytes()))
        offsets.write_bytes(gzip.compress(json.dumps(dict.fromkeys(keys, found)).encode()))


def changed(row: Any) -> Any:
    """The row with another last number: of a document, or of a label."""
    shown = json.dumps(row)
    other = re.sub(r"([\d.]+)([^\d.]*)$", lambda m: ("7.25" if "." in m[1] else str(int(m[1]) ^ 1)) + m[2], shown)
    assert other != shown
    return json.loads(other)


DAMAGE: dict[str, Callable[[Rows], Rows]] = {
    "dropped": lambda rows: [rows[0], *rows[2:]],
    "the last dropped": lambda rows: rows[:-1],
    "swapped": lambda rows: [rows[1], rows[0], *rows[2:]],
    "duplicated": lambda rows: [rows[0], *rows],
    "duplicated at the end": lambda rows: [*rows, rows[-1]],
    "changed": lambda rows: [rows[0], changed(rows[1]), *rows[2:]],
}


def described(folder: Path) -> None:
    """Makes `export.json` agree with the files."""
    path = folder / "export.json"
    found = json.loads(path.read_text("utf-8"))
    found["files"] = {name: _described(folder / name) for name in found["files"]}
    path.write_text(json.dumps(found), "utf-8")


@pytest.mark.parametrize("name", HERE)
def test_a_sound_export_is_found_sound(sound, name):
    assert " rows equal" in verify(name, sound(name))


@pytest.mark.parametrize(
    ("how", "both"), [*((how, False) for how in DAMAGE), *((how, True) for how in DAMAGE if how != "changed")]
)
@pytest.mark.parametrize("name", HERE)
def test_damaged_rows_are_found_though_every_hash_agrees(tmp_path, sound, name, how, both):
    folder = shutil.copytree(sound(name), tmp_path / "x")
    path, sidecar = place(folder), folder / "ids.parquet"
    put(path, DAMAGE[how](read(path)))
    if both:
        put(sidecar, DAMAGE[how](read(sidecar)))
    described(folder)
    with pytest.raises(ArtefactError):
        verify(name, folder)


@pytest.mark.parametrize("name", sorted({*HERE} - {"st_pair", "mteb_beir"}))  # these hold none, and say so of each
def test_negatives_that_are_missing_from_data_and_ids_alike_are_found(tmp_path, sound, name):
    """What an exporter with a fault would do: leave out and not say so."""
    inputs = world(ROWS)
    whole = inputs["triplets"].read()
    fewer = source(pa.concat_tables([whole.slice(0, 7), whole.slice(8)]))
    config = OPTIONS.get(name, {})
    if "negatives" in type(build("exporters", name, config)).model_fields:
        config = {**config, "negatives": 4}
    target: Any = build("exporters", name, config)
    target.write(fewer, texts(), tmp_path / name)
    with pytest.raises(ArtefactError, match=r"missing|not in their order"):
        check(target, inputs["triplets"], texts(), tmp_path / name)


@pytest.mark.parametrize("name", WITH_CORPUS)
def test_a_document_that_no_row_names_is_compared(tmp_path, sound, name):
    if name not in HERE:
        pytest.skip("its package is not installed")
    folder = shutil.copytree(sound(name), tmp_path / "x")
    path = folder / WITH_CORPUS[name]
    rows = read(path)
    rows[29] = rows[28] if isinstance(rows[29], str) else {**rows[29], "text": "another"}
    if isinstance(rows[29], str):
        rows[29] = rows[29].replace("28\t", "29\t", 1)
    put(path, rows)
    described(folder)
    with pytest.raises(ArtefactError):
        verify(name, folder)


@pytest.mark.parametrize("name", ["st_triplet", "flagembedding", "hf_dataset"])
def test_every_file_is_held_against_its_hash(tmp_path, sound, name):
    for file in json.loads((sound(name) / "export.json").read_text("utf-8"))["files"]:
        folder = shutil.copytree(sound(name), tmp_path / file.replace("/", "-"))
        with (folder / file).open("ab") as opened:
            opened.write(b"\n")
        with pytest.raises(ArtefactError, match="not what was exported") as raised:
            verify(name, folder)
        assert raised.value.where.endswith(file)
        (folder / file).unlink()
        with pytest.raises(ArtefactError, match="missing"):
            verify(name, folder)


def test_a_file_that_the_trainer_would_read_as_well_is_found(tmp_path, sound):
    folder = shutil.copytree(sound("flagembedding"), tmp_path / "x")
    shutil.copy(folder / "data/train.jsonl", folder / "data/more.jsonl")
    with pytest.raises(ArtefactError, match=r"not in export\.json"):
        verify("flagembedding", folder)


@pytest.mark.parametrize("column", ["query_id", "positive_ids", "negative_ids", "negative_scores", "ranks"])
def test_a_sidecar_with_another_value_is_found(tmp_path, sound, column):
    folder = shutil.copytree(sound("gritlm"), tmp_path / "x")
    rows = read(folder / "ids.parquet")
    rows[0][column], rows[1][column] = rows[1][column], rows[0][column]
    put(folder / "ids.parquet", rows)
    described(folder)
    with pytest.raises(ArtefactError):
        verify("gritlm", folder)
