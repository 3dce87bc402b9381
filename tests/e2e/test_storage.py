"""Workspaces whose vectors are stored in fewer bytes, from raw text to triplets, training and metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline import config, plan
from pipeline.lock import locked
from pipeline.plan import Node
from pipeline.runner import Runner
from pipeline.source import TableSource
from pipeline.store import Workspace
from pipeline.verify import faults
from stages.arrays import matrix
from tests.e2e.conftest import CONFIG, write_beir

pytestmark = pytest.mark.slow

FORMS = {"float32": "", "float16": "", "int8": "", "int8, 128": "dimensions = 128\n"}


def read(workspace: Workspace, stage: str, name: str) -> pa.Table:
    manifest = workspace.manifest(f"round-00/{stage}")
    return TableSource(workspace.final(f"round-00/{stage}"), name, manifest, {}).read()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Workspace]:
    """A workspace a form, as far as exports and metrics; that of int8 to the end."""
    folder = tmp_path_factory.mktemp("storage")
    write_beir(folder / "beir")
    found = {}
    for form, more in FORMS.items():
        text = CONFIG.replace("[embed]\n", f'[embed]\nstorage = "{form.partition(",")[0]}"\n')
        path = folder / "hardrock.toml"
        path.write_text(text.replace("\n[ingest.dataset]", f"{more}\n[ingest.dataset]", 1))
        found[form] = Workspace(folder / form.replace(", ", "-"))
        runner = Runner(config.load(path), found[form], "cpu")
        with locked(found[form].root):
            runner.run(plan.nodes(1) if form == "int8" else plan.upstream({Node("export", 0), Node("evaluate", 0)}, 1))
    return found


def candidates(workspace: Workspace, first: int) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for row in read(workspace, "mine", "candidates").to_pylist():
        if row["rank"] <= first:
            found.setdefault(row["query_row"], []).append(row["doc_row"])
    return found


def ndcg(workspace: Workspace) -> float:
    (value,) = (
        row["value"]
        for row in read(workspace, "evaluate", "metrics").to_pylist()
        if (row["system"], row["measure"], row["cutoff"], row["split"], row["query_row"]) == ("dense", "nDCG", 10, "test", None)
    )  # fmt: skip
    return float(value)


@pytest.mark.parametrize(("form", "bytes_", "same", "off"), [("float16", 0.55, 0.99, 0.005), ("int8", 0.3, 0.95, 0.03)])
def test_a_whole_workspace_finds_what_float32_finds(
    made: Any, form: str, bytes_: float, same: float, off: float
) -> None:
    whole, narrow = made["float32"], made[form]
    sizes = [
        sum(one.bytes for one in w.manifest("round-00/embed").record.tables["corpus_vectors"]) for w in (whole, narrow)
    ]
    assert sizes[1] < bytes_ * sizes[0]
    wanted, found = (candidates(workspace, 10) for workspace in (whole, narrow))
    assert wanted.keys() == found.keys()
    assert np.mean([len({*wanted[q]} & {*found[q]}) / len(wanted[q]) for q in wanted]) > same
    assert abs(ndcg(narrow) - ndcg(whole)) < off
    asked = [set(read(workspace, "sample", "triplets")["query_row"].to_pylist()) for workspace in (whole, narrow)]
    assert len(asked[0] & asked[1]) > 0.9 * len(asked[0])
    assert (narrow.final("round-00/export") / "exports/st_triplet/export.json").is_file()


@pytest.mark.parametrize("form", list(FORMS))
def test_scores_are_those_of_the_stored_vectors(made: Any, form: str) -> None:
    """And the best 60 are those of a flat search over the same vectors."""
    documents, queries = (matrix(read(made[form], "embed", f"{kind}_vectors")) for kind in ("corpus", "query"))
    assert documents.shape[1] == (128 if "128" in form else 256)
    rows = read(made[form], "mine", "candidates")
    query, doc, score = (rows[name].to_numpy() for name in ("query_row", "doc_row", "score"))
    exact = queries.astype(np.float64) @ documents.astype(np.float64).T
    assert np.abs(exact[query, doc] - score).max() < 1e-9
    for asked in np.unique(query):
        best = np.sort(exact[asked])[::-1][:60]
        assert np.abs(score[query == asked] - best).max() < 1e-9


def test_a_run_to_the_end_trains_on_it_and_every_byte_is_proven(made: Any) -> None:
    assert made["int8"].manifest("round-01/evaluate") is not None
    assert made["int8"].manifest("report") is not None
    stored = made["int8"].manifest("round-01/embed").record.tables["corpus_vectors"]
    assert sum(one.bytes for one in stored) / sum(one.rows for one in stored) < 310
    for workspace in made.values():
        assert [str(fault) for fault in faults(workspace)[2]] == []
