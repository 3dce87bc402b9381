"""The real pipeline made light: a dozen documents, a hashed encoder and a training without torch. One run takes a moment."""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from pipeline import config, environment, plan
from pipeline.fingerprint import digest
from pipeline.runner import Runner
from pipeline.store import Workspace
from stages import train
from stages.encoders.static import Static
from stages.registry import Member
from stages.schemas import TRAINING_LOG
from stages.spec import Context, Inputs, Part

TABLES: dict[str, dict[str, Any]] = {
    "embed": {"shard_rows": 6},
    "index": {"recall_depth": 5},
    "mine": {"depth": 8, "shard_queries": 2},
    "judge": {"filters": {"known_positive": {}, "same_text": {}, "rank_window": {"max": 7}}},
    "sample": {"negatives": 2, "min_yield": 0.01},
    "export": {"targets": {"st_triplet": {}, "flagembedding": {}}, "shard_triplets": 8},
    "evaluate": {"depth": 100},
}
if os.environ.get("FAULTS_CONFIGURATION"):
    TABLES |= tomllib.loads(Path(os.environ["FAULTS_CONFIGURATION"]).read_text())
"""Tables of the light configuration. FAULTS_CONFIGURATION is a TOML file with others in their place."""

NAMES = [
    "ingest",
    *(f"round-00/{s}" for s in (*plan.OPENING, *plan.TRAINING)),
    *(f"round-01/{s}" for s in plan.OPENING),
    "report",
]


class Hashed(Member):
    """Vectors drawn from a hash of each text or picture."""

    seed: int = 0
    query_prompt: str = ""

    encodes: ClassVar[frozenset[str]] = frozenset({"text", "picture"})

    def fingerprint(self) -> str:
        return digest([self.seed, self.query_prompt])

    def load(self, device: str, precision: str) -> Any:
        return SimpleNamespace(
            dimensions=16, max_tokens=None, counts={"truncated": 0, "repeated": 0, "halved": 0}, encode=self.encode,
            encode_pictures=self.encode_pictures,
        )  # fmt: skip

    def encode(self, texts: Sequence[str], role: str, prompts: Any = None, **_: Any) -> np.ndarray:
        words = {word for text in texts for word in text.split()}
        known = {word: self._draw(word) for word in sorted(words)}
        sums = np.array([np.sum([known[word] for word in text.split()], axis=0) for text in texts])
        return (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)

    def encode_pictures(self, images: Sequence[bytes], role: str) -> np.ndarray:
        return self.encode([hashlib.sha256(image).hexdigest() for image in images], role)

    def _draw(self, word: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256(f"{self.seed} {word}".encode()).digest()[:8], "little")
        return np.random.default_rng(seed).normal(size=16)

    def with_checkpoint(self, path: Path) -> Hashed:
        return Hashed(seed=json.loads((path / "config.json").read_text())["seed"])

    def notes(self) -> list[str]:
        return []


def _train(config: Any, inputs: Inputs, context: Context) -> Iterator[Part]:
    """As a training does it: states in the scratch folder on the way, a folder in the end."""
    print_of_it = digest(inputs["triplets"].read().drop_columns(["sampler"]).to_pylist())
    for step in range(3):
        (context.scratch / f"state-{step}").write_bytes(print_of_it.encode() * 50)
    table = pa.Table.from_pylist(
        [{"step": 1, "epoch": 1.0, "loss": 0.5, "learning_rate": 0.1, "masked": 0.0}], schema=TRAINING_LOG
    )
    for shard in context.shards:
        facts = {"rows": 1, "negatives": 1, "steps": 3, "epochs": 1.0, "loss": 0.5, "masked": 0.0}
        yield Part(
            shard,
            {"training_log": table},
            {"checkpoint": partial(_save, int(print_of_it[:6], 16))},
            {"pairs": 1},
            facts,
        )


def _save(seed: int, folder: Path) -> None:
    (folder / "inner").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"seed": seed}))
    (folder / "inner" / "model.safetensors").write_bytes(b"weights" * 500)


_real = plan.module
LIGHT = SimpleNamespace(SPEC=replace(train.SPEC), run=_train)


def lighten(put: Callable[[Any, str, Any], None] = setattr) -> None:
    """Puts the light training in the place of the real one, and leaves git and packages alone."""
    put(plan, "module", lambda stage: LIGHT if stage == "train" else _real(stage))
    put(environment, "git_state", lambda: None)
    put(environment, "versions", dict)


def train_really() -> None:
    """Takes back the light training."""
    plan.module = _real


def write_model(data: Path) -> None:
    """A static encoder of real weights beside the data: then this is what is trained, and by the real training."""
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    texts = [json.loads(line)["text"] for name in ("corpus", "queries") for line in (data / f"{name}.jsonl").open()]
    words = sorted({word for text in texts for word in text.split()})
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0} | {word: i for i, word in enumerate(words, 1)}, "[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(data / "tokenizer.json"))
    table = np.random.default_rng(0).normal(size=(len(words) + 1, 16)).astype(np.float32)
    save_file({"embedding.weight": table}, data / "model.safetensors")


def is_real(data: Path) -> bool:
    return (data / "model.safetensors").exists()


def write_data(folder: Path, train: int = 5) -> Path:
    """A BEIR folder of 14 documents and 9 queries, or of as many as it takes for `train` to train with."""
    words = ["femur", "tibia", "skull", "rib", "wrist", "ankle", "pelvis"]
    folder.joinpath("qrels").mkdir(parents=True)
    documents = [
        {"_id": f"d{i}{k}", "title": "", "text": f"{kind} of the {word} {i}"}
        for i, word in enumerate(words)
        for k, kind in enumerate(("fracture", "burn"))
    ]
    queries = [{"_id": f"q{i}", "text": f"{('broken', 'burnt')[i % 2]} {words[i % 7]}"} for i in range(train + 4)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(d) + "\n" for d in documents))
    (folder / "queries.jsonl").write_text("".join(json.dumps(q) + "\n" for q in queries))
    for split, numbers in {
        "train": range(train),
        "dev": range(train, train + 2),
        "test": range(train + 2, train + 4),
    }.items():
        rows = [f"q{i}\td{i % 7}{i % 2}\t1" for i in numbers]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *rows]) + "\n")
    return folder


def write_pictures(folder: Path) -> dict[str, Any]:
    """A folder of captioned pictures, and the tables of the configuration that read, mine and export them."""
    from tests.pictures import png

    rows = [
        {"file_name": f"{split}/{kind}{i}.png", "text": f"a {kind} of number {i}", "group": f"{kind}{i}"}
        for split, numbers in {"train": range(5), "dev": range(5, 7), "test": range(7, 9)}.items()
        for i in numbers
        for kind in ("dog", "cat")
    ]
    for number, row in enumerate(rows):
        path = folder / row["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(number))
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "ingest": {"dataset": {"name": "image_folder", "path": str(folder)}},
        "export": {"targets": {"webdataset": {}, "open_clip": {}}},
    }


def configuration(data: Path, rounds: int = 1, **changes: Any) -> config.Configuration:
    """The light configuration; `changes` are whole tables."""
    encoder: Member = Hashed()
    training: dict[str, Any] = {}
    if is_real(data):
        encoder = Static(model=str(data / "model.safetensors"), tokenizer=str(data / "tokenizer.json"))
        training = {"batch_size": 2, "epochs": 2.0, "checkpoint_steps": 2}
    tables = {"train": training, **TABLES, "ingest": {"dataset": {"name": "beir", "path": str(data)}}, **changes}
    stages = {
        s: plan.spec(s).config.model_validate(
            tables.get(s, {}) | ({"encoder": encoder} if s in ("embed", "train") else {})
        )
        for s in plan.STAGES
    }
    return config.Configuration(data, rounds, stages)


def runner(data: Path, workspace: Path, ignore_space: bool = False, **changes: Any) -> Runner:
    return Runner(configuration(data, **changes), Workspace(workspace), "cpu", ignore_space)


def content(workspace: Path, until: int | None = None) -> dict[str, str]:
    """sha256 of every file that the results, or the first of them, consist of."""
    return {
        str(path.relative_to(workspace)): hashlib.sha256(path.read_bytes()).hexdigest()
        for name in NAMES[:until]
        for path in (workspace / name).rglob("*")
        if path.is_file() and path.name != "run.json"
    }
