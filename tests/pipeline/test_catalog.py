"""The catalog: what its views hold, from where they work, and what they cannot reach."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.catalog import Entry, build, connect, query
from stages.arrays import vector_table
from stages.errors import ArtefactError, ConfigError, StorageError
from stages.text import TITLE_FIRST, join_title, with_template
from tests.export_world import corpus, queries, triplets
from tests.support import table

DOCS = [f"text of document {i}" for i in range(6)]
TITLES = ["Title 0", None, " ", "Title 3", None, None]


def judged(rows: list[tuple[int, int, int, float, int | None, str, str]]) -> pa.Table:
    return table(
        "judged",
        [
            {
                "query_row": q,
                "doc_row": d,
                "rank": rank,
                "score": score,
                "retriever": "dense",
                "positive_row": p,
                "positive_score": None if p is None else 0.9,
                "verdict": verdict,
                "evidence": {"rule": rule, "value": score, "limit": 0.8},
            }
            for q, d, rank, score, p, verdict, rule in rows
        ],
    )


TABLES: dict[tuple[str, int | None], pa.Table] = {
    ("corpus", None): corpus(DOCS, TITLES),
    ("queries", None): queries(["first query", "it's the second"]),
    ("judged", 0): judged([
        (0, 0, 1, 0.9, 0, "known_positive", "known_positive"),
        (0, 3, 2, 0.85, 0, "relative_margin", "relative_margin"),
        (0, 1, 3, 0.5, 0, "kept", "relative_margin"),
        (1, 4, 1, 0.4, None, "relative_margin", "relative_margin"),
    ]),
    ("judged", 1): judged([(0, 2, 1, 0.6, 0, "kept", "relative_margin")]),
    ("positives", 0): table(
        "positives",
        [
            {"query_row": 0, "positive_row": 0, "score": 0.9, "rank": 1},
            {"query_row": 0, "positive_row": 5, "score": 0.1},
            {"query_row": 1, "positive_row": 5},
        ],
    ),
    ("triplets", 0): triplets([(0, 0, 1), (0, 5, 1)]),
    ("triplets", 1): triplets([(0, 0, 2)], round=1),
}  # fmt: skip


def stored(folder: Path, tables: dict[tuple[str, int | None], pa.Table]) -> list[Entry]:
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for (name, round_), rows in tables.items():
        path = folder / f"{name}-{round_}.parquet"
        pq.write_table(rows, path)
        entries.append(Entry(name, round_, (path,)))
    return entries


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    build(folder / "catalog.duckdb", stored(folder, TABLES))
    return folder


def ask(workspace: Path, sql: str) -> list[dict[str, Any]]:
    with connect(workspace / "catalog.duckdb", workspace) as connection:
        names, rows = query(connection, sql)
    return [dict(zip(names, row, strict=True)) for row in rows]


def test_stored_tables_are_as_they_were_stored(workspace):
    for name in ("corpus", "queries"):
        assert ask(workspace, f"FROM {name}") == TABLES[name, None].to_pylist()
    assert ask(workspace, "FROM triplet_rows") == [
        *TABLES["triplets", 0].to_pylist(),
        *TABLES["triplets", 1].to_pylist(),
    ]
    assert ask(workspace, "FROM judged") == [
        {"round": r, **row} for r in (0, 1) for row in TABLES["judged", r].to_pylist()
    ]


def test_negatives_are_the_kept_rows_with_ids_texts_and_evidence(workspace):
    rows = ask(workspace, "FROM negatives ORDER BY round, query_id, rank")
    assert rows == [
        {
            "round": round_,
            "query_id": "q0",
            "query": "first query",
            "doc_id": f"d{d}",
            "document": DOCS[d],
            "rank": rank,
            "score": score,
            "retriever": "dense",
            "positive_id": "d0",
            "positive": "Title 0 text of document 0",
            "positive_score": 0.9,
            "verdict": "kept",
            "rule": "relative_margin",
            "value": score,
            "limit": 0.8,
            "split": "train",
            "query_row": 0,
            "doc_row": d,
            "positive_row": 0,
        }
        for round_, d, rank, score in [(0, 1, 3, 0.5), (1, 2, 1, 0.6)]
    ]
    assert list(rows[0])[:5] == ["round", "query_id", "query", "doc_id", "document"]


def test_dropped_are_all_others_also_those_without_a_positive(workspace):
    rows = ask(workspace, "FROM dropped ORDER BY round, query_id, rank")
    assert [(r["query_id"], r["doc_id"], r["document"], r["positive_id"], r["verdict"]) for r in rows] == [
        ("q0", "d0", "Title 0 text of document 0", "d0", "known_positive"),
        ("q0", "d3", "Title 3 text of document 3", "d0", "relative_margin"),
        ("q1", "d4", "text of document 4", None, "relative_margin"),
    ]
    assert list(rows[0]) == list(ask(workspace, "FROM negatives")[0])


def test_triplets_have_the_texts_of_their_own_ids(workspace):
    rows = ask(workspace, "FROM triplets ORDER BY round, positive_id")
    assert [
        (
            r["round"],
            r["query_id"],
            r["query"],
            r["positive_id"],
            r["positive"],
            r["negative_id"],
            r["negative"],
            r["rank"],
        )
        for r in rows
    ] == [
        (0, "q0", "first query", "d0", "Title 0 text of document 0", "d1", "text of document 1", 2),
        (0, "q0", "first query", "d5", "text of document 5", "d1", "text of document 1", 2),
        (1, "q0", "first query", "d0", "Title 0 text of document 0", "d2", "text of document 2", 3),
    ]
    assert [(r["positive_score"], r["negative_score"], r["sampler"], r["seed"]) for r in rows[:1]] == [
        (1.0, 0.49, "top", 13)
    ]


def test_show_query_gives_positives_first_and_each_document_once(workspace):
    rows = ask(workspace, "FROM show_query('q0')")
    assert [(r["round"], r["verdict"], r["rank"], r["doc_id"], r["positive_id"]) for r in rows] == [
        (0, "positive", 1, "d0", None),
        (0, "positive", None, "d5", None),
        (0, "relative_margin", 2, "d3", "d0"),
        (0, "kept", 3, "d1", "d0"),
        (1, "kept", 1, "d2", "d0"),
    ]
    assert ask(workspace, "FROM show_query('nobody')") == []


def test_drop_reasons(workspace):
    assert ask(workspace, "FROM drop_reasons()") == [
        {"round": 0, "verdict": "relative_margin", "candidates": 2, "share": 0.5, "queries": 2},
        {"round": 0, "verdict": "kept", "candidates": 1, "share": 0.25, "queries": 1},
        {"round": 0, "verdict": "known_positive", "candidates": 1, "share": 0.25, "queries": 1},
        {"round": 1, "verdict": "kept", "candidates": 1, "share": 1.0, "queries": 1},
    ]


def test_a_table_in_several_files_is_their_rows_in_order(tmp_path):
    rows = TABLES["judged", 0]
    paths = []
    for i in range(rows.num_rows):
        paths.append(tmp_path / f"{i}.parquet")
        pq.write_table(rows.slice(i, 1), paths[-1])
    build(tmp_path / "catalog.duckdb", [Entry("judged", 3, tuple(paths))])
    assert ask(tmp_path, "FROM judged") == [{"round": 3, **row} for row in rows.to_pylist()]


def test_vectors_are_visible_by_round(tmp_path):
    import numpy as np

    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    tables = {("corpus_vectors", r): vector_table(np.arange(2), values + r) for r in (0, 1)}
    build(tmp_path / "catalog.duckdb", stored(tmp_path, tables))
    assert [(r["round"], r["row"], list(r["vector"])) for r in ask(tmp_path, "FROM corpus_vectors")] == [
        (r, i, list(values[i] + r)) for r in (0, 1) for i in (0, 1)
    ]


def test_what_does_not_exist_yet_is_absent_and_so_is_what_needs_it(tmp_path):
    entries = stored(tmp_path, {key: TABLES[key] for key in [("corpus", None), ("queries", None), ("triplets", 0)]})
    build(tmp_path / "catalog.duckdb", [*entries, Entry("judged", 0, ())])
    assert [r["name"] for r in ask(tmp_path, "SHOW TABLES")] == [
        "churn", "churn_by_query", "corpus", "queries", "triplet_rows", "triplets",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="cannot be answered"):
        ask(tmp_path, "FROM drop_reasons()")
    build(tmp_path / "catalog.duckdb", [])
    assert ask(tmp_path, "SHOW TABLES") == []


def test_views_and_columns_carry_comments(workspace):
    says = ask(workspace, "SELECT comment FROM duckdb_columns() WHERE table_name = 'corpus' AND column_name = 'doc_id'")
    assert says == [{"comment": "the document's id as it was given"}]
    says = ask(workspace, "SELECT comment FROM duckdb_views() WHERE view_name = 'negatives'")
    assert says == [{"comment": "candidates that every filter kept"}]


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    titles=st.lists(
        st.none()
        | st.text(
            st.characters(exclude_categories=["Cs"]) | st.sampled_from(" \t\n\x0b\x0c\x1c\x85\xa0\u2003\u200b"),
            max_size=4,
        ),
        min_size=1,
        max_size=40,
    ),
    template=st.sampled_from([TITLE_FIRST, "{title}\n{text}", "{text}", "it's {text} {{{title}}}"]),
)
def test_documents_are_joined_with_their_titles_as_they_are_encoded(tmp_path_factory, titles, template):
    folder = tmp_path_factory.mktemp("titles")
    n = len(titles)
    texts = [f"text {i}" if i % 4 else " \t" for i in range(n)]
    documents = corpus(texts, titles)
    tables = {
        ("corpus", None): documents.cast(with_template(documents.schema, template)),
        ("queries", None): queries(["q"]),
        ("triplets", 0): triplets([(0, 0, i) for i in range(n)]),
    }
    build(folder / "catalog.duckdb", stored(folder, tables))
    found = {r["negative_row"]: r["negative"] for r in ask(folder, "SELECT negative_row, negative FROM triplets")}
    assert found == {i: join_title(title, texts[i], template) for i, title in enumerate(titles)}


HOSTILE = [
    "we*ird[1].parquet",
    "q'uo\"te; .parquet",
    "'); DROP VIEW corpus; --.parquet",
    "[!a]?{b,c}.parquet",
    "**.parquet",
    "$1 ? %s.parquet",
    "new\nline\t\u00fc\u5b57.parquet",
    "x=1#y&z.parquet",
]


@pytest.mark.parametrize("folder", ["plain", "year=2024", "w[s]*'; \u00fc", "a#b%20&"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_name_means_that_file_alone(tmp_path, folder, name):
    workspace = tmp_path / folder
    workspace.mkdir()
    for decoy in ("weXird1.parquet", "a.parquet", "ab.parquet", "bb.parquet", "x.parquet"):
        pq.write_table(corpus(["decoy"]), workspace / decoy)
    pq.write_table(corpus([name]), workspace / name)
    build(workspace / "catalog.duckdb", [Entry("corpus", None, (workspace / name,))])
    assert ask(workspace, "FROM corpus") == corpus([name]).to_pylist()
    with duckdb.connect(str(workspace / "catalog.duckdb"), read_only=True) as anyone:
        assert anyone.execute("SELECT text FROM corpus").fetchall() == [(name,)]


@pytest.mark.parametrize("name", ["a\\b.parquet", os.fsdecode(b"\xff.parquet")])
def test_a_path_that_duckdb_cannot_read_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="backslash"):
        build(tmp_path / "catalog.duckdb", [Entry("corpus", None, (tmp_path / name,))])
    assert not list(tmp_path.iterdir())


def test_a_place_where_duckdb_cannot_keep_a_database_is_refused(tmp_path):
    workspace = tmp_path / "what?"
    workspace.mkdir()
    with pytest.raises(ConfigError, match="question mark"):
        build(workspace / "catalog.duckdb", [])
    assert not list(workspace.iterdir())


def test_views_work_from_another_folder_through_relative_paths_and_links(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "disk").mkdir()
    Path("link").symlink_to("disk")
    build(Path("link/catalog.duckdb"), stored(Path("link"), TABLES))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert [r["doc_id"] for r in ask(tmp_path / "link", "FROM negatives ORDER BY round")] == ["d1", "d2"]
    code = "import duckdb, sys; print(duckdb.connect(sys.argv[1], read_only=True).sql(\"FROM show_query('q1')\").fetchall()[0][:2])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "disk/catalog.duckdb")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "(0, 'positive')"


def test_another_client_can_attach_the_catalog(workspace):
    with duckdb.connect() as client:
        client.execute(f"ATTACH '{workspace}/catalog.duckdb' AS hard (READ_ONLY)")
        assert client.execute("SELECT doc_id FROM hard.negatives ORDER BY round").fetchall() == [("d1",), ("d2",)]
        client.execute("USE hard")
        assert len(client.execute("FROM show_query('q0')").fetchall()) == 5


@pytest.mark.parametrize(
    "sql",
    [
        "FROM read_text('{outside}')",
        "FROM read_text('{inside}/../secret.csv')",
        "FROM read_parquet('{outside}')",
        "FROM '{outside}'",
        "FROM glob('{inside}/../*')",
        "FROM read_text('/etc/passwd')",
        "FROM read_csv('{outside}')",
        "FROM read_text('{inside}x/secret.csv')",
    ],
)
def test_nothing_outside_of_the_workspace_can_be_read(workspace, sql):
    outside = workspace.parent / "secret.csv"
    outside.write_text("secret")
    (workspace.parent / "workspacex").mkdir()
    (workspace.parent / "workspacex/secret.csv").write_text("secret")
    with pytest.raises(ConfigError, match="cannot be answered") as raised:
        ask(workspace, sql.format(outside=outside, inside=workspace))
    assert "Permission Error" in str(raised.value)


def test_python_variables_cannot_be_read(workspace):
    secret = pa.table({"a": [1]})
    with pytest.raises(ConfigError, match="cannot be answered"):
        ask(workspace, "FROM secret")
    assert secret.num_rows == 1


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '{inside}/corpus-None.parquet'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{inside}/corpus-None.parquet'",
        "SELECT 1; COPY (SELECT 1) TO '{inside}/corpus-None.parquet'",
        "SET enable_external_access = true",
        "ATTACH '{inside}/other.duckdb'",
        "CREATE TABLE x (a INTEGER)",
        "DROP VIEW corpus",
        "PRAGMA database_list",
        "",
        "-- nothing",
    ],
)
def test_nothing_but_one_select_is_run(workspace, sql):
    before = {path: path.read_bytes() for path in workspace.iterdir()}
    with pytest.raises(ConfigError, match="one SELECT"):
        ask(workspace, sql.format(inside=workspace))
    assert {path: path.read_bytes() for path in workspace.iterdir()} == before


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE x (a INTEGER)",
        "SET threads = 1",
        "SET allowed_directories = ['/']",
        "RESET enable_external_access",
        "INSTALL httpfs",
    ],
)
def test_the_connection_itself_is_locked(workspace, sql):
    with connect(workspace / "catalog.duckdb", workspace) as connection, pytest.raises(duckdb.Error):
        connection.execute(sql)


def test_faults_of_a_query_are_explained(workspace):
    with pytest.raises(ConfigError) as raised:
        ask(workspace, "SELECT doc_idd FROM negatives")
    assert "doc_id" in str(raised.value)
    with pytest.raises(ConfigError, match="cannot be answered"):
        ask(workspace, "SELEC 1")


def test_a_reader_keeps_what_it_has_open_while_the_catalog_is_replaced(workspace):
    database = workspace / "catalog.duckdb"
    with connect(database, workspace) as reader, duckdb.connect(str(database), read_only=True) as client:
        build(database, stored(workspace / "new", {("corpus", None): corpus(["new"])}))
        assert len(query(reader, "FROM negatives")[1]) == 2
        assert client.execute("SELECT count(*) FROM corpus").fetchall() == [(6,)]
        assert [r["text"] for r in ask(workspace, "FROM corpus")] == ["new"]
        assert [r["name"] for r in ask(workspace, "SHOW TABLES")] == ["corpus"]


def test_a_reader_in_another_process_does_not_stop_the_writer(workspace):
    database = workspace / "catalog.duckdb"
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True); print('open', flush=True); input(); print(c.sql('SELECT count(*) FROM corpus').fetchall())"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "open\n"
        build(database, stored(workspace / "new", {("corpus", None): corpus(["new"])}))
        assert reader.communicate("\n")[0] == "[(6,)]\n"
    assert [r["text"] for r in ask(workspace, "FROM corpus")] == ["new"]


def test_a_failed_build_leaves_the_old_catalog_and_nothing_else(workspace):
    before = {path: path.read_bytes() for path in workspace.iterdir()}
    broken = workspace.parent / "broken.parquet"
    broken.write_bytes(b"not Parquet")
    with pytest.raises(ArtefactError, match="cannot be built"):
        build(workspace / "catalog.duckdb", [Entry("corpus", None, (broken,))])
    assert {path: path.read_bytes() for path in workspace.iterdir()} == before
    with pytest.raises(StorageError, match="cannot be written"):
        build(workspace / "missing/catalog.duckdb", [])


def test_no_catalog_and_no_database(tmp_path):
    with pytest.raises(ArtefactError, match="no catalog"):
        connect(tmp_path / "catalog.duckdb", tmp_path)
    (tmp_path / "catalog.duckdb").write_bytes(b"x" * 10_000)
    with pytest.raises(ArtefactError, match="cannot be opened"):
        connect(tmp_path / "catalog.duckdb", tmp_path)
