"""What our exporters write is read back by our data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.initial import recognise
from stages.errors import InputError
from stages.exporters._common import Texts
from stages.registry import build
from tests.export_world import corpus, judgements, queries, triplets, world
from tests.stages.datasets.reading import ingested, judged
from tests.support import few, source

ROWS = [(q, 6 * q, 6 * q + n) for q in range(4) for n in range(1, 6)]
TRIPLETS = {(f"text of query {q}", f"text of document {p}", 1) for q, p, _ in ROWS} | {
    (f"text of query {q}", f"text of document {n}", 0) for q, _, n in ROWS
}
READERS = [
    ("flagembedding", "flagembedding", "", {}),
    ("tevatron", "tevatron", "", {}),
    ("tevatron_passages", "tevatron", "data", {}),
    ("dpr", "dpr", "data", {}),
    ("st_triplet", "huggingface", "data", {}),
    ("st_ntuple", "pairs", "data", {}),
    ("st_ntuple_scores", "pairs", "data", {}),
    ("st_margin_mse", "pairs", "data", {}),
    ("st_labelled_pair", "pairs", "data", {"label": "label"}),
]


def exported(target: str, folder: Path) -> Path:
    inputs = world(ROWS)
    member: Any = build("exporters", target, {})
    needed = {name: inputs[name] for name in getattr(member, "needs", ())}
    member.write(inputs["triplets"], Texts.read(inputs["queries"], inputs["corpus"], needed), folder)
    return folder


@pytest.mark.parametrize(("target", "reader", "inner", "fields"), READERS)
def test_triplets_come_back(tmp_path: Path, target: str, reader: str, inner: str, fields: dict[str, Any]) -> None:
    folder = exported(target, tmp_path / "out")
    place = folder / (inner or ("data" if reader != "tevatron" else ""))
    assert judged(ingested(reader, place, tmp_path, **fields)) == TRIPLETS
    if not fields:
        assert recognise(str(place)).name in (reader, "huggingface")


@pytest.mark.parametrize("reader", ["mteb", "beir"])
def test_a_retrieval_data_set_comes_back(tmp_path: Path, reader: str) -> None:
    result = ingested(reader, exported("mteb_beir", tmp_path / "out"), tmp_path)
    assert {pair for pair in TRIPLETS if pair[2]} <= judged(result)
    assert [r["doc_id"] for r in result.rows("corpus")] == [f"d{i}" for i in range(30)]


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    ["1", "0001", "null", "NA", "[]", '["a"]', "{}", "a\tb\r\nc", " ends ", "\u2028x\x85", "\ufeff", '"', "2020-01-01"]
)
RETRIEVAL = [("mteb_beir", "mteb", "", {}), ("mteb_beir", "beir", "", {})]


@settings(
    max_examples=few(10),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(texts=st.tuples(text, text, text), ids=st.tuples(text, text), count=st.integers(1, 3))
@pytest.mark.parametrize(("target", "reader", "inner", "fields"), [*READERS, *RETRIEVAL])
def test_any_text_any_id_and_any_count_come_back_equal_or_are_refused(  # noqa: PLR0917
    tmp_path_factory: Any, target: str, reader: str, inner: str, fields: dict[str, Any],
    texts: tuple[str, str, str], ids: tuple[str, str], count: int,
) -> None:  # fmt: skip
    query, positive, negative = texts
    found = [f"{positive}+", *(f"{negative}-{i}" for i in range(count))]
    rows = [(0, 0, i + 1) for i in range(count)]
    inputs = {"corpus": named(corpus(found), ids[0]), "queries": named(queries([f"{query}?"]), ids[1]),
              "triplets": source(triplets(rows)), **judgements(rows)}  # fmt: skip
    folder = tmp_path_factory.mktemp("x")
    config = {"negatives": 1} if "negatives" in type(build("exporters", target, {})).model_fields else {}
    member: Any = build("exporters", target, config)
    needed = {name: inputs[name] for name in getattr(member, "needs", ())}
    try:
        member.write(inputs["triplets"], Texts.read(inputs["queries"], inputs["corpus"], needed), folder / "out")
    except InputError as error:
        assert any(word in str(error) for word in ("NUL", "timestamps", "TSV", "blank"))  # noqa: PT017
        return
    place = folder / "out" / (inner or ("data" if reader not in ("tevatron", "mteb", "beir") else ""))
    result = judged(ingested(reader, place, folder, **fields))
    wanted = {(f"{query}?", found[0], 1)}
    if target != "mteb_beir":
        wanted |= {(f"{query}?", one, 0) for one in found[1 : 1 + (1 if config else count)]}
    assert result == wanted


def named(table: pa.Table, name: str) -> Any:
    """The table with other ids, which are its second column."""
    ids = [f"{name}{i}" for i in range(table.num_rows)]
    return source(table.set_column(1, table.schema.field(1), pa.array(ids, pa.large_string())))
