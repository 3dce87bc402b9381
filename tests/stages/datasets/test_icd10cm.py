from __future__ import annotations

import importlib.util
from collections import defaultdict
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from stages import ingest
from stages.datasets import _icd10cm_xml, icd10cm
from stages.datasets.icd10cm import Icd10cm
from stages.errors import ConfigError, InputError, ResourceError
from stages.registry import build
from stages.text import normalise
from tests import support
from tests.stages.data import config, relevant

DEFAULT = (1, 3, 4, 5, 6, 9, 10, 11, 14, 17)
installed = pytest.mark.skipif(
    importlib.util.find_spec("simple_icd_10_cm") is None, reason="simple-icd-10-cm is not installed"
)

XML = """<?xml version="1.0" encoding="utf-8"?>
<ICD10CM.tabular><version>2026</version>
<chapter><name>1</name><desc>One</desc><sectionIndex/>
 <section id="A00-A01"><desc>Section</desc><inclusionTerm><note>not a query</note></inclusionTerm>
  <diag><name>A00</name><desc>Sore finger</desc>
   <sevenChrDef><extension char="A">initial encounter</extension></sevenChrDef>
   <inclusionTerm><note>Aching  finger\tNOS</note><note>SORE finger</note></inclusionTerm>
   <includes><note>not a query either</note></includes>
   <diag><name>A00.1</name><desc>Sore thumb</desc>
    <inclusionTerm><note>Aching thumb</note></inclusionTerm>
    <inclusionTerm><note>Digital pain</note></inclusionTerm>
    <diag><name>A00.11</name><desc>Sore left thumb</desc></diag></diag></diag>
 </section></chapter>
<chapter><name>2</name><desc>Two</desc>
 <section id="B00"><diag><name>B00</name><desc>Sore toe</desc>
   <inclusionTerm><note>digital PAIN</note></inclusionTerm></diag></section></chapter>
</ICD10CM.tabular>"""


def package(
    folder: Path, monkeypatch: pytest.MonkeyPatch, xml: str = XML, *, name: str = "icd10c-tabular-X.xml"
) -> None:
    (folder / "data").mkdir()
    (folder / "data" / name).write_text(xml)
    spec = ModuleSpec("simple_icd_10_cm", None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    monkeypatch.setattr(_icd10cm_xml, "find_spec", lambda name: spec)


def test_documents_are_codes_with_the_code_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, monkeypatch)
    assert [(d.id, d.text, d.group) for d in Icd10cm().documents()] == [
        ("A00", "Sore finger", None), ("A00.1", "Sore thumb", "A00"), ("A00.11", "Sore left thumb", "A00.1"), ("B00", "Sore toe", None),
    ]  # fmt: skip


def test_queries_are_inclusion_terms_that_differ_from_the_description(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path, monkeypatch)
    assert [(q.id, q.text) for q in Icd10cm().queries()] == [
        ("A00/1", "Aching finger NOS"), ("A00.1/1", "Aching thumb"), ("A00.1/2", "Digital pain"),
    ]  # fmt: skip
    assert [(j.query_id, j.doc_id, j.relevance) for j in Icd10cm().judgements()] == [
        ("A00/1", "A00", 1), ("A00.1/1", "A00.1", 1), ("A00.1/2", "A00.1", 1), ("A00.1/2", "B00", 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("splits", "both"), [({"A00": "test", "B00": "test"}, "test"), ({"A00": "test", "B00": "dev"}, "train")]
)
def test_a_query_in_several_splits_is_in_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, splits: dict[str, str], both: str
) -> None:
    package(tmp_path, monkeypatch)
    monkeypatch.setattr(icd10cm, "split_of", splits.__getitem__)
    found = {j.query_id: j.split for j in Icd10cm().judgements()}
    assert found == {"A00/1": "test", "A00.1/1": "test", "A00.1/2": both}
    assert {j.query_id: j.split for j in Icd10cm(chapters=(2,)).judgements()} == {"A00.1/2": both}


def test_chapters_take_away_and_change_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, monkeypatch)
    second = Icd10cm(chapters=(2,))
    assert [d.id for d in second.documents()] == ["B00"]
    assert [(j.query_id, j.doc_id) for j in second.judgements()] == [("A00.1/2", "B00")]


@installed
def test_the_whole_of_it(tmp_path: Path) -> None:
    result = support.run(ingest, config({"name": "icd10cm"}), {}, tmp_path)
    assert result["corpus"].num_rows == 46_881
    assert result["queries"].num_rows == 12_533
    texts = {r["doc_id"]: r["text"] for r in result.rows("corpus")}
    query_texts = {r["query_id"]: r["text"] for r in result.rows("queries")}
    pairs = {(query_texts[q], d) for q, d, _, _ in relevant(result)}
    assert ("High frequency deafness", "H91.9") in pairs
    assert texts["H91.9"] == "Unspecified hearing loss"
    assert ("Uremia of newborn", "P96.0") in pairs
    assert all(normalise(text) != normalise(texts[code]) for text, code in pairs)
    assert len({normalise(text) for text in query_texts.values()}) == len(query_texts)
    assert result.counters["corpus.rejected"] == result.counters["queries.without_positives"] == 0


@installed
def test_the_default_part(tmp_path: Path) -> None:
    result = support.run(ingest, config({"name": "icd10cm", "chapters": DEFAULT}), {}, tmp_path)
    assert result["corpus"].num_rows == 10_269
    assert {split: f["queries"] for split, f in result.facts["splits"].items()} == {
        "train": 4242,
        "dev": 692,
        "test": 1051,
    }
    rows = result.rows("corpus")
    ids = {r["doc_id"] for r in rows}
    assert all(r["group"] in ids and r["doc_id"].startswith(r["group"]) for r in rows if r["group"] is not None)
    assert {len(r["doc_id"]) for r in rows if r["group"] is None} == {3}


@installed
def test_no_category_is_trained_on_and_tested_but_by_queries_of_several(tmp_path: Path) -> None:
    result = support.run(ingest, config({"name": "icd10cm"}), {}, tmp_path)
    codes, split_of = defaultdict(set), {}
    for query, doc, _, split in relevant(result):
        codes[query].add(doc[:3])
        split_of[query] = split
    own = defaultdict(set)
    for query, categories in codes.items():
        if len(categories) == 1:
            own[next(iter(categories))].add(split_of[query])
    assert all(len(splits) == 1 for splits in own.values())
    shares = [sum(s == split for s in split_of.values()) / len(split_of) for split in ("train", "dev", "test")]
    assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.03)


def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_icd10cm_xml, "find_spec", lambda name: None)
    with pytest.raises(ResourceError) as caught:
        Icd10cm().fingerprint()
    assert "pip install simple-icd-10-cm==1.5.0" in str(caught.value)


def test_package_without_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, monkeypatch, name="other.xml")
    with pytest.raises(ResourceError, match="no single tabular list"):
        list(Icd10cm().documents())


def test_broken_xml_is_placed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, monkeypatch, XML[:700])
    with pytest.raises(InputError, match="broken XML") as caught:
        list(Icd10cm().documents())
    assert "icd10c-tabular-X.xml line" in str(caught.value)


def test_another_release_is_refused_when_one_is_pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, monkeypatch)
    with pytest.raises(ResourceError, match="not the one asked for"):
        Icd10cm(sha256="0" * 64).fingerprint()


def test_unknown_chapter_is_refused() -> None:
    with pytest.raises(ConfigError, match="no chapter 23"):
        build("datasets", "icd10cm", {"chapters": [1, 23]})
