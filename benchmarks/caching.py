"""Peak memory of a training step with gradient caching, by the texts of a pass.

Each size is a process of its own that takes one step and says the most memory that it ever held, which the model, the
optimizer's states, the batch and the loss's own matrices are part of.

    python -m benchmarks.caching --batch 4096 --rows 16 32 64
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.hardware import describe
from benchmarks.training import MODEL, Surroundings, inputs

STATIC = {
    "model": "package:wordllama/weights/l2_supercat_256.safetensors",
    "tokenizer": "package:wordllama/tokenizers/l2_supercat_tokenizer_config.json",
}


def once(asked: argparse.Namespace) -> dict[str, float]:
    """One step in this process: peak memory in GiB, and CPU seconds."""
    from stages import train
    from stages.encoders.sentence_transformers import SentenceTransformers
    from stages.encoders.static import Static

    encoder: Any = Static(**STATIC) if asked.static else SentenceTransformers(model=MODEL)
    rows = asked.one or None
    config = train.TrainConfig(
        encoder=encoder, batch_size=asked.batch, max_steps=1, max_tokens=asked.tokens, checkpoint_steps=0,
        negatives=asked.negatives, cached=rows is not None, pass_rows=rows,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        for _ in train.run(config, inputs(asked.batch), Surroundings(Path(folder))):
            pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"peak": peak, "cpu": time.process_time() - start}


def main() -> None:
    """Measures and prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4096, help="queries a batch")
    parser.add_argument("--negatives", type=int, default=1, help="negatives a query")
    parser.add_argument("--tokens", type=int, default=16, help="tokens of a text at most")
    parser.add_argument("--rows", type=int, nargs="+", default=[16, 32, 64], help="texts of a pass; 0: no caching")
    parser.add_argument("--static", action="store_true", help="a static model in the place of MiniLM")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one is not None:
        sys.stdout.write(json.dumps(once(asked)) + "\n")
        return
    sys.stdout.write(
        f"batch {asked.batch}, {asked.negatives} negatives, {asked.tokens} tokens at most\n{describe(1)}\n\n"
    )
    sys.stdout.write("| Texts of a pass | Peak, GiB | CPU s |\n|---:|---:|---:|\n")
    for rows in asked.rows:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.caching", *sys.argv[1:], "--one", str(rows)],
            env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"{rows} texts a pass failed:\n{done.stderr[-4_000:]}")
        found = json.loads(done.stdout.splitlines()[-1])
        sys.stdout.write(f"| {rows or 'all, no caching'} | {found['peak']:.2f} | {found['cpu']:.1f} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
