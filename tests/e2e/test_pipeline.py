"""The whole pipeline from raw text to a report, in processes of its own, against independent references."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.dataset as ds
import pytest

from tests.e2e.conftest import CONFIG, ROOT, hardrock

TRAINING = ("mine", "teach", "judge", "deepen", "estimate", "sample", "export", "train")

RESULTS = {
    "ingest", "report",
    *(f"round-00/{s}" for s in ("embed", "index", "evaluate", "guard", *TRAINING)),
    *(f"round-01/{s}" for s in ("embed", "index", "evaluate", "guard")),
}  # fmt: skip


def table(workspace: Path, name: str):
    folder, prefix = workspace / Path(name).parent, Path(name).name
    return ds.dataset(sorted(map(str, folder.glob(f"{prefix}-*.parquet")))).to_table()


def content(workspace: Path) -> dict[str, str]:
    """sha256 of every file that a result consists of."""
    return {
        str(path.relative_to(workspace)): hashlib.sha256(path.read_bytes()).hexdigest()
        for name in RESULTS
        for path in (workspace / name).rglob("*")
        if path.is_file() and path.name != "run.json"
    }


def runs(workspace: Path) -> dict[str, str]:
    return {name: (workspace / name / "run.json").read_text() for name in RESULTS}


def test_every_result_is_there_and_nothing_half_done(project):
    workspace = project / "ws"
    assert {str(p.parent.relative_to(workspace)) for p in workspace.rglob("manifest.json")} == RESULTS
    assert list((workspace / ".building").iterdir()) == []
    assert not list(workspace.rglob("*.tmp"))
    assert (workspace / "report" / "index.html").stat().st_size > 5_000
    assert (workspace / "logs" / "hardrock.log").stat().st_size > 0


def test_a_second_run_does_no_work(project):
    before = runs(project / "ws")
    done = hardrock("run", "--workspace", "ws", "--json", cwd=project)
    assert "all fresh, nothing to do" in done.stderr
    assert runs(project / "ws") == before
    said = json.loads(done.stdout)
    assert {one["name"] for one in said["stages"]} == RESULTS
    assert not any(one["ran"] for one in said["stages"])
    mined = next(one for one in said["stages"] if one["name"] == "round-00/mine")
    assert mined["tables"]["candidates"] == table(project / "ws", "round-00/mine/candidates").num_rows
    states = json.loads(hardrock("status", "--json", "--workspace", "ws", cwd=project).stdout)
    assert {s["stage"] for s in states} == RESULTS
    assert all(s["fresh"] for s in states)


def test_it_runs_from_another_folder(project, tmp_path):
    done = hardrock("run", "--config", str(project / "hardrock.toml"), "--workspace", str(project / "ws"), cwd=tmp_path)
    assert "all fresh" in done.stderr


def test_candidates_and_verdicts_are_those_of_brute_force(project):
    """In plain numpy and Python, from the stored vectors and the raw BEIR files alone."""
    workspace = project / "ws"
    corpus = table(workspace, "ingest/corpus").to_pylist()
    queries = table(workspace, "ingest/queries").to_pylist()
    documents = np.array(table(workspace, "round-00/embed/corpus_vectors")["vector"].to_pylist(), dtype=np.float64)
    asked = np.array(table(workspace, "round-00/embed/query_vectors")["vector"].to_pylist(), dtype=np.float64)
    doc_row = {d["doc_id"]: d["row"] for d in corpus}
    text = {d["row"]: " ".join(f"{d['title'] or ''} {d['text']}".lower().split()) for d in corpus}
    positives: dict[str, set[int]] = {}
    for line in (project / "beir/qrels/train.tsv").read_text().strip().split("\n")[1:]:
        query_id, doc_id, _ = line.split("\t")
        positives.setdefault(query_id, set()).add(doc_row[doc_id])
    verdicts = {}
    for row in table(workspace, "round-00/judge/judged").to_pylist():
        verdicts.setdefault(row["query_row"], []).append((row["doc_row"], row["rank"], row["score"], row["verdict"]))
    assert {q["row"] for q in queries if q["query_id"] in positives} == set(verdicts)
    dropped = set()
    for query in queries:
        known = positives.get(query["query_id"])
        if not known:
            continue
        scores = np.round(documents @ asked[query["row"]], 11)
        order = sorted(range(len(corpus)), key=lambda row: (-scores[row], row))[:60]
        least = min(scores[row] for row in known)
        expected = []
        for rank, row in enumerate(order, 1):
            if row in known:
                verdict = "known_positive"
            elif text[row] in {text[p] for p in known} | {query["text"].lower()}:
                verdict = "same_text"
            elif rank > 50:
                verdict = "rank_window"
            elif not scores[row] <= least - abs(least) * 0.05:
                verdict = "relative_margin"
            else:
                verdict = "kept"
            expected.append((row, rank, verdict))
            dropped.add(verdict)
        found = verdicts[query["row"]]
        assert [(row, rank, verdict) for row, rank, _, verdict in found] == expected
        assert np.allclose([score for _, _, score, _ in found], scores[order], atol=1e-10)
    assert dropped == {"kept", "known_positive", "same_text", "rank_window", "relative_margin"}


def test_every_triplet_is_the_best_kept_candidate_of_its_own_query(project):
    workspace = project / "ws"
    kept: dict[int, list[int]] = {}
    rows = [
        *table(workspace, "round-00/judge/judged").to_pylist(),
        *table(workspace, "round-00/deepen/deepened").to_pylist(),
    ]
    for row in rows:
        if row["verdict"] == "kept":
            kept.setdefault(row["query_row"], []).append(row["doc_row"])
    expected = [
        (q["query_row"], q["doc_row"], negative)
        for q in table(workspace, "ingest/qrels").to_pylist()
        if q["split"] == "train"
        for negative in kept.get(q["query_row"], [])[:3]
    ]
    found = table(workspace, "round-00/sample/triplets").to_pylist()
    assert [(t["query_row"], t["positive_row"], t["negative_row"]) for t in found] == expected


def test_a_changed_margin_reruns_judge_and_what_follows(project, tmp_path):
    workspace = tmp_path / "ws"
    shutil.copytree(project / "ws", workspace)
    before = runs(workspace)
    arguments = ("--workspace", str(workspace), "--set", "judge.filters.relative_margin.margin=0.2")
    states = json.loads(hardrock("status", "--json", *arguments, cwd=project).stdout)
    why = {s["stage"]: s["why"] for s in states}
    assert why["round-00/judge"] == ["judge.filters.relative_margin.margin 0.05 → 0.2"]
    assert [s["stage"] for s in states if s["fresh"]] == [
        "ingest",
        "round-00/embed",
        "round-00/index",
        "round-00/evaluate",
        "round-00/guard",
        "round-00/mine",
        "round-00/teach",
    ]
    hardrock("run", *arguments, cwd=project)
    after = runs(workspace)
    assert {name for name in RESULTS if before[name] != after[name]} == {
        "round-00/judge", "round-00/deepen", "round-00/estimate", "round-00/sample", "round-00/export",
        "round-00/train", "round-01/embed", "round-01/index",
        "round-01/evaluate", "round-01/guard", "report",
    }  # fmt: skip


def test_a_stage_that_makes_the_same_files_again_leaves_those_after_it_fresh(project, tmp_path):
    """A wider search changes mine and judge; the best kept candidates, and so the triplets, stay as they are."""
    workspace = tmp_path / "ws"
    shutil.copytree(project / "ws", workspace)
    before, facts = runs(workspace), content(workspace)
    hardrock("run", "--workspace", str(workspace), "--set", "mine.depth=61", cwd=project)
    after = runs(workspace)
    assert (
        content(workspace)["round-00/sample/triplets-00000.parquet"] == facts["round-00/sample/triplets-00000.parquet"]
    )
    assert {name for name in RESULTS if before[name] != after[name]} == {
        "round-00/mine", "round-00/teach", "round-00/judge", "round-00/deepen", "round-00/estimate", "round-00/sample",
        "report",
    }  # fmt: skip


TEXT_TARGETS = (
    "st:triplet",
    "st:ntuple",
    "flagembedding",
    "tevatron",
    "tevatron_passages",
    "dpr",
    "mteb_beir",
    "hf_dataset",
    "gritlm",
)


def test_titles_that_are_joined_in_another_way_are_embedded_anew_and_exported_so(project, tmp_path):
    """The other white space changes no hash of a text, so that only the corpus itself can say it."""
    workspace = tmp_path / "ws"
    shutil.copytree(project / "ws", workspace)
    given = ("--workspace", str(workspace), "--set", 'ingest.title_join="{title}\\n{text}"')
    states = {s["stage"]: s for s in json.loads(hardrock("status", "--json", *given, cwd=project).stdout)}
    assert states["ingest"]["why"] == ['ingest.title_join "{title} {text}" → "{title}\\n{text}"']
    before = runs(workspace)
    done = hardrock("export", "--to", *TEXT_TARGETS, "--verify", *given, cwd=project)
    assert done.stderr.count(" rows equal") == len(TEXT_TARGETS)
    after = runs(workspace)
    assert {"ingest", "round-00/embed"} <= {name for name in RESULTS if before[name] != after[name]}
    corpus = table(workspace, "ingest/corpus").to_pylist()
    wholes = {d["doc_id"]: f"{d['title']}\n{d['text']}" if d["title"] else d["text"] for d in corpus}
    assert sum("\n" in whole for whole in wholes.values()) > 3
    folder = workspace / "round-00/export/exports/st_triplet"
    texts = table(folder, "data/train").to_pylist()
    named = ds.dataset(str(folder / "ids.parquet")).to_table().to_pylist()
    assert [(t["positive"], t["negative"]) for t in texts] == [
        (wholes[n["positive_id"]], wholes[n["negative_id"]]) for n in named
    ]
    with duckdb.connect(str(workspace / "catalog.duckdb"), read_only=True) as connection:
        seen = connection.execute("SELECT negative_id, negative FROM triplets").fetchall()
    assert seen
    assert all(wholes[name] == text for name, text in seen)


TEACHER = """teach.teachers=[{name="encoder", encoder={name="static", document_prompt="about: ",
 model="package:wordllama/weights/l2_supercat_256.safetensors",
 tokenizer="package:wordllama/tokenizers/l2_supercat_tokenizer_config.json"}}]""".replace("\n", "")


def test_a_teacher_scores_once_and_judge_takes_its_word(project, tmp_path):
    workspace = tmp_path / "ws"
    shutil.copytree(project / "ws", workspace)
    given = ("judge", "--workspace", str(workspace), "--set", TEACHER, "--set", "judge.filters.consensus.votes=1")
    hardrock(*given, "--set", "teach.depth=5", cwd=project)
    found = table(workspace, "round-00/teach/teacher_scores").to_pylist()
    candidates = table(workspace, "round-00/mine/candidates").to_pylist()
    positives = table(workspace, "round-00/mine/positives").to_pylist()
    expected = {(c["query_row"], c["doc_row"]) for c in candidates if c["rank"] <= 5}
    assert {(s["query_row"], s["doc_row"]) for s in found} == expected | {
        (p["query_row"], p["positive_row"]) for p in positives
    }
    verdicts = {r["verdict"] for r in table(workspace, "round-00/judge/judged").to_pylist()}
    assert "consensus" in verdicts
    cached = {path: path.read_bytes() for path in (workspace / ".cache").rglob("*.parquet")}
    assert cached
    hardrock(*given, "--set", "teach.depth=20", cwd=project)
    assert {path: path.read_bytes() for path in (workspace / ".cache").rglob("*.parquet")} == cached
    warm = content(workspace)
    shutil.rmtree(workspace / ".cache")
    shutil.rmtree(workspace / "round-00/teach")
    hardrock(*given, "--set", "teach.depth=20", cwd=project)
    assert content(workspace) == warm


@pytest.mark.parametrize("stage", ["embed", pytest.param("mine", marks=pytest.mark.long), "train"])
def test_killed_in_the_middle_it_goes_on_and_ends_the_same(project, tmp_path, stage):
    workspace = tmp_path / "ws"
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", "run", "--workspace", str(workspace)],
        cwd=project, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    building = workspace / ".building" / f"round-00.{stage}"
    waited = time.monotonic() + 120
    wanted = "scratch/*" if stage == "train" else "shards/*.json"
    while time.monotonic() < waited and not list(building.glob(wanted)) and process.poll() is None:
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (workspace / f"round-00/{stage}/manifest.json").exists()
    hardrock("run", "--workspace", str(workspace), cwd=project)
    assert content(workspace) == content(project / "ws")


def test_views_work_from_another_folder_with_any_client(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with duckdb.connect(str(project / "ws" / "catalog.duckdb"), read_only=True) as connection:
        views = {
            name for (name,) in connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
        }
        assert {
            "corpus",
            "queries",
            "qrels",
            "candidates",
            "judged",
            "negatives",
            "dropped",
            "triplets",
            "metrics",
        } <= views
        for view in sorted(views):
            connection.execute(f'SELECT * FROM "{view}" LIMIT 5').fetchall()
        found = connection.execute("SELECT query, positive, negative FROM triplets ORDER BY ALL").fetchall()
    documents = table(project / "ws", "ingest/corpus").to_pylist()
    corpus = {d["row"]: f"{d['title'] or ''} {d['text']}".strip() for d in documents}
    queries = {q["row"]: q["text"] for q in table(project / "ws", "ingest/queries").to_pylist()}
    assert found == sorted(
        (queries[t["query_row"]], corpus[t["positive_row"]], corpus[t["negative_row"]])
        for t in table(project / "ws", "round-00/sample/triplets").to_pylist()
    )


def test_sql_and_show_answer(project):
    done = hardrock("sql", "--workspace", "ws", "--json", "SELECT count(*) AS n FROM triplets", cwd=project)
    assert json.loads(done.stdout)["n"] == table(project / "ws", "round-00/sample/triplets").num_rows
    shown = hardrock("show", "--workspace", "ws", "q0000", cwd=project).stdout
    assert "broken femur initial" in shown
    assert "known_positive" in shown
    lost = hardrock("show", "--workspace", "ws", "broken femur initials", cwd=project, check=False)
    assert lost.returncode == 3
    assert "q0000" in lost.stderr


def test_one_stage_brings_only_what_it_needs(project, tmp_path):
    workspace = tmp_path / "ws"
    hardrock("mine", "--workspace", str(workspace), "--limit", "5", cwd=project)
    assert {str(p.parent.relative_to(workspace)) for p in workspace.rglob("manifest.json")} == {
        "ingest", "round-00/embed", "round-00/index", "round-00/mine"
    }  # fmt: skip
    assert table(workspace, "ingest/corpus").num_rows <= 50


def test_another_round_mines_with_the_trained_model(project, tmp_path):
    workspace = tmp_path / "ws"
    shutil.copytree(project / "ws", workspace)
    before = runs(workspace)
    hardrock("round", "--workspace", str(workspace), cwd=project)
    after = {str(p.parent.relative_to(workspace)) for p in workspace.rglob("manifest.json")}
    assert after - RESULTS == {
        *(f"round-01/{s}" for s in TRAINING),
        *(f"round-02/{s}" for s in ("embed", "index", "evaluate", "guard")),
    }
    assert {name for name in RESULTS if runs(workspace)[name] != before[name]} == {"report"}
    assert set(table(workspace, "round-01/sample/triplets")["round"].to_pylist()) == {1}
    assert "all fresh" in hardrock("run", "--workspace", str(workspace), cwd=project).stderr


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("[mine]\ndepht = 3", "did you mean 'depth'?"),
        ("[jugde]", "did you mean 'judge'?"),
        ("[judge.filters.relative_margn]", "did you mean 'relative_margin'?"),
        ("rounds = -1", "rounds"),
        ("[mine]\ndepth = 'many'", "mine.depth"),
        ("[mine", "TOML"),
    ],
)
def test_a_wrong_configuration_is_told_with_a_suggestion(tmp_path, change, says):
    (tmp_path / "hardrock.toml").write_text(change + "\n" + "\n".join(CONFIG.split("[mine]")[0].split("\n")))
    done = hardrock("status", cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert says in done.stderr
    assert "hardrock.toml" in done.stderr


def test_several_retrievers_and_a_deeper_search(project, tmp_path):
    """A hybrid of the index, BM25 and a run that the evaluate stage wrote; starved queries are searched deeper."""
    workspace = tmp_path / "ws"
    shutil.copytree(project / "ws", workspace)
    lines = "".join(
        f"{q['query_id']} Q0 {d} {rank} {1 / rank} t\n"
        for q in table(workspace, "ingest/queries").to_pylist()
        for rank, d in enumerate(("copy-00000", f"{q['query_id'][1:4]}00"), 1)
    )
    known = {d["doc_id"] for d in table(workspace, "ingest/corpus").to_pylist()}
    given = [line for line in lines.splitlines(keepends=True) if line.split()[2] in known]
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "given.run").write_text("".join(given))
    shutil.copytree(project / "beir", tmp_path / "beir")
    text = CONFIG.replace("[mine]\ndepth = 60", "[mine]\ndepth = 12").replace("max = 50", "max = 200")
    text += """
[[mine.retrievers]]
name = "dense"
[[mine.retrievers]]
name = "bm25"
[[mine.retrievers]]
name = "run"
label = "given"
path = "runs/given.run"
[mine.fusion]
name = "scores"
[deepen]
wanted = 3
"""
    (tmp_path / "hardrock.toml").write_text(text)
    hardrock("sample", "--workspace", "ws", cwd=tmp_path)
    candidates = table(workspace, "round-00/mine/candidates").to_pylist()
    assert {row["retriever"] for row in candidates} == {"scores"}
    by = {entry["retriever"] for row in candidates for entry in row["found_by"]}
    assert by == {"dense", "bm25", "given"}
    judged = table(workspace, "round-00/judge/judged").to_pylist()
    added = table(workspace, "round-00/deepen/deepened").to_pylist()
    assert added
    assert not {(r["query_row"], r["doc_row"]) for r in judged} & {(r["query_row"], r["doc_row"]) for r in added}
    sampled = {(t["query_row"], t["negative_row"]) for t in table(workspace, "round-00/sample/triplets").to_pylist()}
    kept = {(r["query_row"], r["doc_row"]) for r in [*judged, *added] if r["verdict"] == "kept"}
    assert sampled <= kept
    assert sampled & {(r["query_row"], r["doc_row"]) for r in added}
    found = json.loads(
        hardrock("sql", "--workspace", "ws", "--json", "SELECT count(*) AS n FROM judged", cwd=tmp_path).stdout
    )
    assert found["n"] == len(judged) + len(added)
    (tmp_path / "runs" / "given.run").write_text("".join(given[:-1]))
    states = json.loads(hardrock("status", "--json", "--workspace", "ws", cwd=tmp_path).stdout)
    assert {s["stage"]: s["why"] for s in states}["round-00/mine"] == ["given changed"]
