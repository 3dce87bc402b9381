"""`hardrock compare` on real data: which negatives each arm trained on, under what budget, and what is done once."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from pipeline.compare.arms import ARMS
from stages.retrievers.bm25 import Bm25
from stages.text import join_title
from tests.e2e.conftest import ROOT, hardrock

STEPS = 6
NAMES = [arm.name for arm in ARMS]


def table(workspace: Path, name: str):
    folder, prefix = workspace / Path(name).parent, Path(name).name
    return ds.dataset(sorted(map(str, folder.glob(f"{prefix}-*.parquet")))).to_table()


def manifest(workspace: Path, name: str) -> dict:
    return json.loads((workspace / name / "manifest.json").read_text())


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every file that belongs to a result."""
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and not {"logs", "compare"} & set(path.relative_to(folder).parts[:1])
        and path.name not in ("lock", "catalog.duckdb")
    }  # fmt: skip


@pytest.fixture(scope="module")
def compared(project, tmp_path_factory) -> Path:
    """The project with all arms compared, one seed each; `before` holds what its workspace was."""
    folder = tmp_path_factory.mktemp("compared") / "project"
    shutil.copytree(project, folder, symlinks=True)
    before = stamps(folder / "ws")
    done = hardrock("compare", "--workspace", "ws", "--seeds", "1", "--steps", str(STEPS), "--json", cwd=folder)
    (folder / "said.json").write_text(done.stdout)
    (folder / "before.json").write_text(json.dumps(before))
    return folder


def arm(folder: Path, name: str, seed: int = 0) -> Path:
    return folder / "ws" / "compare" / f"{name}-{seed}"


def world(folder: Path):
    """Candidates by query, all positives by query, text hashes, and the least positive's score, from the user's own run."""
    workspace = folder / "ws"
    candidates: dict[int, list[dict]] = {}
    for row in table(workspace, "round-00/mine/candidates").to_pylist():
        candidates.setdefault(row["query_row"], []).append(row)
    positives: dict[int, set[int]] = {}
    for row in table(workspace, "ingest/qrels").to_pylist():
        positives.setdefault(row["query_row"], set()).add(row["doc_row"])
    hashes = table(workspace, "ingest/corpus")["text_hash"].to_pylist()
    least: dict[int, float] = {}
    for row in table(workspace, "round-00/mine/positives").to_pylist():
        least[row["query_row"]] = min(row["score"], least.get(row["query_row"], np.inf))
    return candidates, positives, hashes, least


def sampled(workspace: Path, number: int = 0) -> dict[tuple[int, int], list[int]]:
    found: dict[tuple[int, int], list[int]] = {}
    for row in table(workspace, f"round-{number:02d}/sample/triplets").to_pylist():
        found.setdefault((row["query_row"], row["positive_row"]), []).append(row["negative_row"])
    return found


RULES = {
    "naive": lambda row, least, copy: True,
    "shift": lambda row, least, copy: not copy and row["rank"] > 10,
    "absolute": lambda row, least, copy: not copy and row["score"] <= least - 0.05,
    "relative": lambda row, least, copy: not copy and row["score"] <= least - abs(least) * 0.05,
    "ours": lambda row, least, copy: not copy and row["rank"] <= 50 and row["score"] <= least - abs(least) * 0.05,
}


@pytest.mark.parametrize("name", RULES)
def test_an_arm_trains_on_the_nearest_that_its_rule_keeps(compared, name):
    candidates, positives, hashes, least = world(compared)
    found, checked = sampled(arm(compared, name)), 0
    for query, rows in candidates.items():
        texts = {hashes[doc] for doc in positives[query]}
        kept = [
            row["doc_row"] for row in rows
            if row["doc_row"] not in positives[query]
            and RULES[name](row, least[query], hashes[row["doc_row"]] in texts)
        ]  # fmt: skip
        if len(kept) < 3:
            continue  # such a query may have been searched deeper
        for positive in positives[query]:
            assert found[query, positive] == kept[:3]
            checked += 1
    assert checked > 100


def test_bm25_trains_on_the_first_of_bm25(compared):
    _, positives, hashes, _ = world(compared)
    corpus = table(compared / "ws", "ingest/corpus").to_pylist()
    index = Bm25().build([join_title(row["title"], row["text"]) for row in corpus])
    texts = table(compared / "ws", "ingest/queries")["text"].to_pylist()
    for (query, _), negatives in sampled(arm(compared, "bm25")).items():
        known = {hashes[doc] for doc in positives[query]}
        ranked = index.search([texts[query]], 60)[0][0].tolist()
        assert negatives == [doc for doc in ranked if doc >= 0 and hashes[doc] not in known][:3]


def test_random_trains_on_documents_drawn_for_the_query(compared):
    _, positives, hashes, _ = world(compared)
    found = sampled(arm(compared, "random"))
    for (query, _), negatives in found.items():
        drawn = np.random.default_rng([0, query]).choice(len(hashes), 60, replace=False).tolist()
        assert set(negatives) <= set(drawn) - positives[query]
        assert len(set(negatives)) == 3
    assert len({doc for negatives in found.values() for doc in negatives}) > 200


def test_in_batch_trains_on_no_mined_negative_and_on_every_pair(compared):
    facts = manifest(arm(compared, "in_batch"), "round-00/train")["facts"]
    assert facts["negatives"] == 0
    assert facts["rows"] == manifest(arm(compared, "naive"), "round-00/train")["facts"]["rows"]


def test_sentence_transformers_trains_on_what_its_miner_returns(compared):
    import random

    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    from pipeline.compare.miner import DOCUMENTED
    from pipeline.config import load

    stages = load(compared / "hardrock.toml").stages
    encoder, wanted = stages["embed"].encoder, min(stages["train"].negatives, stages["sample"].negatives)
    _, positives, _, _ = world(compared)
    corpus = table(compared / "ws", "ingest/corpus").to_pylist()
    texts = [join_title(row["title"], row["text"]) for row in corpus]
    queries = table(compared / "ws", "ingest/queries").to_pylist()
    pairs = [(q["row"], doc) for q in queries if q["split"] == "train" for doc in sorted(positives[q["row"]])]
    random.seed(0)
    given = mine_hard_negatives(
        Dataset.from_dict({"anchor": [queries[q]["text"] for q, _ in pairs], "positive": [texts[d] for _, d in pairs]}),
        encoder.module("cpu"), corpus=texts, num_negatives=wanted, verbose=False, **DOCUMENTED,
    )  # fmt: skip
    expected = {(row["anchor"], row["positive"], row["negative"]) for row in given}
    found = {
        (queries[query]["text"], texts[positive], texts[negative])
        for (query, positive), negatives in sampled(arm(compared, "sentence_transformers")).items()
        for negative in negatives
    }
    assert found == expected


def test_a_second_round_mines_with_its_own_model(compared):
    workspace = arm(compared, "second_round")
    assert set(table(workspace, "round-01/sample/triplets")["round"].to_pylist()) == {1}
    assert sampled(workspace, 0) == sampled(arm(compared, "ours"))
    assert sampled(workspace, 1) != sampled(workspace, 0)


def test_every_arm_has_the_same_budget(compared):
    from pipeline.config import load

    wanted = load(compared / "hardrock.toml").stages["train"].negatives
    rest = set()
    for one in ARMS:
        trained = [manifest(arm(compared, one.name), f"round-{n:02d}/train") for n in range(one.rounds)]
        assert sum(each["facts"]["steps"] for each in trained) == STEPS
        for each in trained:
            config = dict(each["identity"]["config"])
            config.pop("max_steps")
            assert config.pop("negatives") == (wanted if one.mines else 0)
            assert config.pop("pairs") == "all"
            rest.add(json.dumps(config, sort_keys=True))
    assert len(rest) == 1


def test_the_user_s_results_stay_and_are_used(compared):
    assert {k: tuple(v) for k, v in json.loads((compared / "before.json").read_text()).items()} == stamps(
        compared / "ws"
    )
    for name in NAMES:
        for stage in ("ingest/corpus-00000.parquet", "round-00/embed/corpus_vectors-00000.parquet"):
            assert (arm(compared, name) / stage).stat().st_ino == (compared / "ws" / stage).stat().st_ino
    mined = "round-00/mine/candidates-00000.parquet"
    assert (arm(compared, "shift") / mined).stat().st_ino == (compared / "ws" / mined).stat().st_ino
    assert "all as they were written" in hardrock("verify", "--workspace", "ws", cwd=compared).stdout


def test_the_table_is_what_the_trials_measured(compared):
    rows = json.loads((compared / "said.json").read_text())["arms"]
    assert rows == pq.read_table(compared / "ws/compare/compare.parquet").to_pylist()
    assert list(dict.fromkeys(row["arm"] for row in rows)) == NAMES

    def values(name: str) -> dict[int, float]:
        last = 2 if name == "second_round" else 1
        return {
            row["query_row"]: row["value"]
            for row in table(arm(compared, name), f"round-{last:02d}/evaluate/metrics").to_pylist()
            if row["measure"] == "nDCG" and row["system"] == "dense" and row["query_row"] is not None
        }

    for row in rows:
        if row["measure"] != "nDCG":
            continue
        own, base = values(row["arm"]), values("in_batch")
        assert row["value"] == pytest.approx(np.mean(list(own.values())))
        assert row["low"] <= row["value"] <= row["high"]
        if row["arm"] == "in_batch":
            assert row["in_batch_difference"] is None
        else:
            difference = np.mean([own[query] - base[query] for query in own])
            assert row["in_batch_difference"] == pytest.approx(difference)
            assert 0 < row["in_batch_p_value"] <= 1
    by = {row["arm"]: row for row in rows}
    assert by["in_batch"]["leak_rate"] is None
    assert by["sentence_transformers"]["leak_rate"] is None
    assert by["naive"]["leak_rate"] == 1.0 > by["relative"]["leak_rate"]
    assert by["relative"]["leak_low"] <= by["relative"]["leak_rate"] <= by["relative"]["leak_high"] < 1.0
    page = (compared / "ws/compare/compare.md").read_text()
    assert re.search(r"^\| naive \|.*\| 100% \(\d+%–100%\) \|", page, re.M)
    assert all(re.search(rf"^\| {name} \|", page, re.M) for name in NAMES)


def test_the_catalog_shows_the_arms(compared):
    done = hardrock("sql", "--workspace", "ws", "--json", "SELECT DISTINCT arm FROM compare", cwd=compared)
    assert {json.loads(line)["arm"] for line in done.stdout.splitlines()} == set(NAMES)


def test_a_second_call_computes_nothing(compared):
    before = {path: path.stat().st_mtime_ns for path in (compared / "ws/compare").rglob("run.json")}
    arguments = ("--workspace", "ws", "--seeds", "1", "--steps", str(STEPS), "--json")
    done = hardrock("compare", *arguments, cwd=compared)
    assert "stages run" not in done.stderr
    assert "finds" not in done.stderr
    assert done.stdout == (compared / "said.json").read_text()
    assert before == {path: path.stat().st_mtime_ns for path in (compared / "ws/compare").rglob("run.json")}


def weights(workspace: Path, name: str) -> list[dict]:
    return [manifest(workspace / "compare" / name, "round-00/train")["files"]["checkpoint"]]


@pytest.mark.long
def test_a_killed_one_goes_on_and_ends_the_same(project, tmp_path):
    arguments = ("--seeds", "2", "--steps", "20", "--json", "--arms", "in_batch", "naive")
    for folder in ("whole", "killed"):
        shutil.copytree(project, tmp_path / folder, symlinks=True)
    whole = json.loads(hardrock("compare", "--workspace", "ws", *arguments, cwd=tmp_path / "whole").stdout)["arms"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", "compare", "--workspace", "ws", *arguments],
        cwd=tmp_path / "killed", env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    killed = tmp_path / "killed/ws"
    scratch, waited = killed / "compare/naive-0/.building/round-00.train/scratch", time.monotonic() + 120
    while time.monotonic() < waited and not list(scratch.glob("*")) and process.poll() is None:
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / "compare/naive-0/round-00/train").exists()
    trained = (killed / "compare/in_batch-0/round-00/train/run.json").stat().st_mtime_ns
    again = hardrock("compare", "--workspace", "ws", *arguments, cwd=tmp_path / "killed")
    assert (killed / "compare/in_batch-0/round-00/train/run.json").stat().st_mtime_ns == trained
    timed = ("train_minutes", "minutes")
    found = [{k: v for k, v in row.items() if k not in timed} for row in json.loads(again.stdout)["arms"]]
    assert found == [{k: v for k, v in row.items() if k not in timed} for row in whole]
    for name in ("in_batch-0", "naive-0", "in_batch-1", "naive-1"):
        assert weights(killed, name) == weights(tmp_path / "whole/ws", name)
    assert weights(killed, "naive-0") != weights(killed, "naive-1")


def test_an_unknown_arm_is_told_with_a_suggestion(project, tmp_path):
    done = hardrock("compare", "--workspace", str(tmp_path / "ws"), "--arms", "in_bach", cwd=project, check=False)
    assert done.returncode == 2
    assert "did you mean 'in_batch'?" in done.stderr
