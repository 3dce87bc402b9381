"""A real, small run: 600 documents about five things, queries with several positives, duplicates, three splits."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PARTS = ("femur", "tibia", "skull", "rib", "wrist", "ankle", "pelvis", "shoulder", "spine", "hand", "jaw", "knee")
SIDES = ("left", "right", "unspecified side")
KINDS = ("fracture", "burn", "open wound", "dislocation", "infection")
STAGES = ("initial encounter", "subsequent encounter", "sequela")
WORDS = {
    "fracture": "broken",
    "burn": "scald of the",
    "open wound": "cut on the",
    "dislocation": "displaced",
    "infection": "septic",
}


def write_beir(folder: Path, seed: int = 0) -> Path:
    """A BEIR folder. A query is a lay phrase; its positives are the documents of its kind and part, on all sides."""
    chance = random.Random(seed)
    documents = [
        {"_id": f"{k}{p:02d}{s}{e}", "title": "" if chance.random() < 0.8 else kind, "text": f"{kind} of {side} {part}, {stage}"}
        for k, kind in enumerate(KINDS) for p, part in enumerate(PARTS)
        for s, side in enumerate(SIDES) for e, stage in enumerate(STAGES)
    ]  # fmt: skip
    documents += [{"_id": f"copy-{d['_id']}", "title": d["title"], "text": d["text"].upper()} for d in documents[::9]]
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text("".join(json.dumps(d) + "\n" for d in documents))
    queries, splits = [], {"train": [], "dev": [], "test": []}
    for k, kind in enumerate(KINDS):
        for p, part in enumerate(PARTS):
            split = ("train", "train", "train", "dev", "test")[(k + p) % 5]
            for e, stage in enumerate(STAGES):
                queries.append({"_id": f"q{k}{p:02d}{e}", "text": f"{WORDS[kind]} {part} {stage.split()[0]}"})
                splits[split] += [(f"q{k}{p:02d}{e}", f"{k}{p:02d}{s}{e}", 1) for s in range(chance.randint(1, 3))]
    (folder / "queries.jsonl").write_text("".join(json.dumps(q) + "\n" for q in queries))
    for split, rows in splits.items():
        lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in rows)]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return folder


CONFIG = """
[encoder]
name = "static"
model = "package:wordllama/weights/l2_supercat_256.safetensors"
tokenizer = "package:wordllama/tokenizers/l2_supercat_tokenizer_config.json"

[ingest.dataset]
name = "beir"
path = "beir"

[embed]
shard_rows = 256

[mine]
depth = 60
shard_queries = 40

[judge.filters.known_positive]
[judge.filters.same_text]
[judge.filters.rank_window]
max = 50
[judge.filters.relative_margin]
margin = 0.05

[sample]
negatives = 3
min_yield = 0.1

[export.targets.st_triplet]
[export.targets.st_ntuple]
negatives = 2
[export.targets.flagembedding]

[train]
batch_size = 16
learning_rate = 0.05
checkpoint_steps = 3

[evaluate]
depth = 100
"""


def hardrock(*arguments: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not check or done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture(scope="session")
def project(tmp_path_factory) -> Path:
    """A folder with a data set, a configuration, and a workspace `ws` that was run to the end."""
    folder = tmp_path_factory.mktemp("project")
    write_beir(folder / "beir")
    (folder / "hardrock.toml").write_text(CONFIG)
    hardrock("run", "--workspace", "ws", cwd=folder)
    return folder
