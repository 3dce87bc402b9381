"""What a run of any size takes on a cluster: one small cell is measured, and the rest is arithmetic (docs/scale.md).

Times are core-seconds of this machine's cores, so they hold for nodes of the same kind. What is measured: embedding a sample
of the corpus, and searching a cell of queries and documents. What is stored is counted in bytes a row.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import numpy as np

from pipeline import environment
from pipeline.plan import Node
from pipeline.room import KEY, VALUE, of
from pipeline.runner import Runner
from pipeline.source import TableSource
from stages import embed, encoding
from stages.errors import ConfigError, YieldError
from stages.export import TEXT_TARGETS
from stages.indexes.exact import Exact
from stages.search import certified_search, vector_blocks
from stages.text import join_title, template_of

SAMPLE = 512
"""Texts that are encoded."""

CELL = (4_096, 32_768)
"""Queries and documents of the search that is measured, at most."""

CANDIDATE, JUDGED, TRIPLET = 16, 24, 24
"""Bytes a row in Parquet where no workspace says better."""

INGEST_BYTES = 42
"""Memory of ingest a document."""

CODE = 2
"""Bytes of a value while it is searched: of bf16; int8 takes one."""

UNPACKED = 4
"""Bytes that export moves for one of text in Parquet: it, unpacked, written by one worker and mapped by those of a node."""

BARE, HASHES = 0.5e9, 16.0
"""Bytes of a worker without a model; bytes that judge reads and holds of each document."""


@dataclass(frozen=True)
class Cell:
    """What one core and one row take. Seconds are core-seconds."""

    dimensions: int
    ingest_document: float  # seconds a document; 0 where it is not known
    embed_document: float
    embed_query: float
    pair: float  # seconds a pair of query and document: product, selection, rescoring
    judge_candidate: float  # seconds; 0 where it is not known
    memory: int  # bytes of a worker with its model
    document_bytes: float  # of text, in Parquet
    query_bytes: float
    candidate_bytes: float
    judged_bytes: float
    cores: int  # of a node like this machine
    node_memory: int  # bytes
    source: str


@dataclass(frozen=True)
class Target:
    """What is asked: rows, and the nodes that do it."""

    docs: int
    queries: int
    nodes: int = 1
    cores: int = 1
    memory: int = 0  # bytes a node
    network: float = 1.25e9  # bytes a second and node, from and to the shared file system


@dataclass(frozen=True)
class Settings:
    """What of the configuration the arithmetic needs."""

    depth: int
    shard_rows: int
    shard_queries: int
    cell_documents: int | None
    negatives: int
    targets: int
    storage: str = "float32"
    shard_triplets: int = 262_144


@dataclass(frozen=True)
class Estimate:
    """What one stage takes. `whole` stages run in one process, however many nodes there are."""

    stage: str
    core_seconds: float
    seconds: float  # on the cluster: the longer of computing and moving bytes
    memory: float  # bytes a node
    stored: float  # bytes
    moved: float  # bytes over the network
    shards: int
    whole: bool = False


def target(text: str, nodes: int, cores: int, memory: int, network: float) -> Target:
    """`docs=1e9,queries=1e8`. Raises ConfigError."""
    found: dict[str, int] = {}
    for pair in text.split(","):
        name, _, value = pair.strip().partition("=")
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if name not in ("docs", "queries") or not 1 <= number < 2**31:
            raise ConfigError(
                f"{pair!r} is not docs=… or queries=… with 1 to 2^31 - 1 rows, the most that a row's number can be",
                where="--target", try_="--target docs=1e9,queries=1e8",
            )  # fmt: skip
        found[name] = round(number)
    if len(found) != 2:
        raise ConfigError("a target has docs and queries", where="--target", got=text, try_="docs=1e9,queries=1e8")
    return Target(found["docs"], found["queries"], nodes, cores, memory, network)


def settings(made: Runner) -> Settings:
    """The part of the configuration that counts."""
    stages: Any = made.configuration.stages
    return Settings(
        stages["mine"].depth, stages["embed"].shard_rows, stages["mine"].shard_queries, stages["mine"].cell_documents,
        stages["sample"].negatives, len(stages["export"].targets or TEXT_TARGETS), stages["embed"].storage,
        stages["export"].shard_triplets,
    )  # fmt: skip


def estimate(cell: Cell, asked: Target, given: Settings) -> list[Estimate]:
    """Each stage of a round up to export, in order."""
    docs, queries, wide = asked.docs, asked.queries, cell.dimensions
    workers, rate = asked.nodes * asked.cores, asked.nodes * asked.network
    depth = min(given.depth, docs)
    vector = float(VALUE[given.storage] * wide)  # bytes
    vectors, texts = (vector + KEY) * (docs + queries), cell.document_bytes * docs + cell.query_bytes * queries
    candidates, judged = queries * depth * cell.candidate_bytes, queries * depth * cell.judged_bytes

    def spread(stage: str, core: float, shards: int, *, memory: float, stored: float, moved: float) -> Estimate:
        """Shards over workers: no faster than the last of them, nor than the network."""
        busy = min(workers, max(shards, 1))
        rounds = math.ceil(shards / workers) if shards else 0
        seconds = max(core / busy, rounds * core / max(shards, 1), moved / rate)
        return Estimate(stage, core, seconds, memory, stored, moved, shards)

    def whole(stage: str, core: float, *, memory: float, stored: float, moved: float) -> Estimate:
        return Estimate(stage, core, max(core, moved / asked.network), memory, stored, moved, 1, True)

    shards = -(-docs // given.shard_rows) + -(-queries // given.shard_rows)
    parts = -(-queries // given.shard_queries)
    codes = min(given.cell_documents or docs, docs)
    block = given.shard_queries * (4.0 * wide + 2 * 12 * depth)
    core = cell.embed_document * docs + cell.embed_query * queries
    triplets = queries * given.negatives * TRIPLET
    exported = queries * (1 + given.negatives) * cell.document_bytes * given.targets
    pieces = spread(
        "export",
        0.0,
        given.targets * -(-queries * given.negatives // given.shard_triplets),
        memory=asked.cores * 2 * BARE,
        stored=exported,
        moved=asked.nodes * UNPACKED * texts + exported,
    )
    return [
        whole("ingest", cell.ingest_document * docs, memory=1e9 + INGEST_BYTES * docs, stored=texts, moved=2 * texts),
        spread("embed", core, shards, memory=asked.cores * cell.memory, stored=vectors, moved=texts + vectors),
        whole("index", 0.0, memory=1e9, stored=4.0 * wide * docs, moved=(3.0 * vector + 4.0 * wide) * docs),
        spread(
            "mine",
            cell.pair * docs * queries,
            parts,
            memory=asked.cores * (cell.memory + CODE * codes * wide + block),
            stored=candidates,
            moved=parts * vector * docs + candidates,
        ),
        spread(
            "judge",
            cell.judge_candidate * queries * depth,
            parts,
            memory=asked.cores * (BARE + HASHES * docs),
            stored=judged,
            moved=parts * HASHES * docs + candidates + judged,
        ),
        spread("sample", 0.0, parts, memory=asked.cores * BARE, stored=triplets, moved=judged + triplets),
        replace(pieces, seconds=pieces.seconds + 2 * exported / asked.network),  # one process joins them
    ]


def advice(found: Sequence[Estimate], cell: Cell, asked: Target, given: Settings) -> Iterator[str]:
    """What stands in the way, and which setting would help."""
    for each in found:
        if asked.memory and each.memory > asked.memory:
            says = f"{each.stage} needs {each.memory / 1e9:,.0f} GB a node of {asked.memory / 1e9:,.0f} GB"
            if each.stage == "mine" and given.cell_documents is None:
                room = asked.memory / asked.cores - cell.memory
                size = int(max(room, 0) * 0.7 / (CODE * cell.dimensions))
                says += f": mine.cell_documents = {max(size // 100_000 * 100_000, 100_000):,} keeps it flat"
            elif not each.whole:
                says += ": fewer workers a node"
            yield says
    mine = next(each for each in found if each.stage == "mine")
    workers = asked.nodes * asked.cores
    moved = mine.moved / (asked.nodes * asked.network)
    if moved > 1.5 * mine.core_seconds / min(workers, mine.shards):
        yield "mine waits for the network: a larger mine.shard_queries reads the corpus less often, in proportion"
    for each in found:
        if each.core_seconds and not each.whole and each.shards < workers:
            yield f"{each.stage} has {each.shards:,} shards for {workers:,} workers: smaller shards would use them all"
    if asked.docs * asked.queries > 1e15:
        yield "an exact search of this size is dear: [index.kind] factory searches a share of the corpus, at a measured recall"


def measure(made: Runner) -> Cell:
    """Encodes a sample of the workspace's corpus and searches a cell. Raises ArtefactError where nothing is ingested."""
    node = Node("embed", 0)
    inputs, config = made.inputs(node), cast(embed.EmbedConfig, made.configuration.stages["embed"])
    loaded = config.encoder.load(made.device, encoding.resolve(config.precision, made.device))
    template, pairs = template_of(inputs["corpus"].schema), _first(inputs["corpus"], ["title", "text"])
    texts = {
        "corpus": [join_title(title, text, template) for title, text in pairs],
        "queries": [text for (text,) in _first(inputs["queries"], ["text"])],
    }
    if not texts["corpus"] or not texts["queries"]:
        raise YieldError("there is nothing to measure with", where="ingest", got="no documents or no queries")
    seconds = [_seconds(lambda name=name, role=role: loaded.encode(texts[name], role)) / len(texts[name])  # type: ignore[misc]
               for name, role in (("corpus", "document"), ("queries", "query"))]  # fmt: skip
    depth = settings(made).depth
    documents = _documents(made, loaded.dimensions)
    queries = documents[np.random.default_rng(0).integers(0, len(documents), CELL[0])]
    queries = queries + np.random.default_rng(1).normal(0, 0.01, queries.shape).astype(np.float32)
    index = Exact().build([documents], *documents.shape)
    pair = _seconds(lambda: certified_search(index, queries, documents, depth, True)) / (len(queries) * len(documents))
    source = f"{len(texts['corpus'])} documents encoded, {len(queries):,} × {len(documents):,} searched here"
    return _cell(made, loaded.dimensions, document=seconds[0], query=seconds[1], pair=pair, source=source)


def from_runs(made: Runner) -> Cell:
    """What the stages of the workspace took, from their run.json: real, but with the time that models take to load."""
    runs = {}
    for stage in ("embed", "mine"):
        place = made.workspace.final(Node(stage, 0).name) / "run.json"
        try:
            runs[stage] = json.loads(place.read_bytes())
        except (OSError, ValueError):
            runs[stage] = {"shards_resumed": 1}
        if runs[stage].get("shards_resumed"):
            raise YieldError(
                f"{stage} has not run here in one go", where=str(place), try_="--calibrate measure, or run it",
            )  # fmt: skip
    ingest, mined = made.workspace.manifest("ingest"), made.workspace.manifest("round-00/mine")
    found = made.workspace.manifest("round-00/embed")
    if ingest is None or mined is None or found is None:
        raise YieldError("embed and mine have not run here", try_="--calibrate measure")
    docs, queries = of(ingest, "corpus").rows, of(ingest, "queries").rows
    text = _cpu(runs["embed"]) / (docs + queries)
    pairs = docs * mined.record.counters["queries"]
    wide = int(found.record.facts["dimensions"])
    pair = _cpu(runs["mine"]) / pairs
    return _cell(made, wide, document=text, query=text, pair=pair, source="run.json of embed and mine in the workspace")


def _cell(made: Runner, wide: int, *, document: float, query: float, pair: float, source: str) -> Cell:
    """The measured times, and what the workspace knows of the rest."""
    rows: dict[str, float] = {"corpus": 500.0, "queries": 100.0, "candidates": CANDIDATE, "judged": JUDGED}
    seconds = {"corpus": 0.0, "judged": 0.0}
    for stage, name in (("ingest", "corpus"), ("ingest", "queries"), ("round-00/mine", "candidates"), ("round-00/judge", "judged")):  # fmt: skip
        manifest = made.workspace.manifest(stage)
        size = of(manifest, name) if manifest is not None else None
        if size is not None and size.rows:
            rows[name] = size.bytes / size.rows
            if name in seconds:
                seconds[name] = _cpu_of(made, stage) / size.rows
    hardware = environment.hardware()
    return Cell(
        wide, seconds["corpus"], document, query, pair, seconds["judged"], environment.peak_memory(), rows["corpus"],
        rows["queries"], rows["candidates"], rows["judged"], hardware["cores"], hardware["memory"], source,
    )  # fmt: skip


def _cpu_of(made: Runner, stage: str) -> float:
    """Core-seconds of a stage of the workspace; 0 where they are not known."""
    try:
        run = json.loads((made.workspace.final(stage) / "run.json").read_bytes())
        return 0.0 if run.get("shards_resumed") else _cpu(run)
    except (OSError, ValueError, KeyError):
        return 0.0


def _cpu(run: dict[str, Any]) -> float:
    return float(run["cpu_seconds"]) + sum(float(worker["cpu_seconds"]) for worker in run.get("workers", ()))


def _first(source: Any, columns: list[str]) -> list[tuple[Any, ...]]:
    """Up to `SAMPLE` rows, spread over the table's first batch."""
    batch = next(source.batches(columns), None)
    if batch is None:
        return []
    rows = np.unique(np.linspace(0, batch.num_rows - 1, min(SAMPLE, batch.num_rows)).astype(np.int64))
    return [tuple(row[name] for name in columns) for row in batch.take(rows).to_pylist()]


def _documents(made: Runner, wide: int) -> np.ndarray:
    """Vectors to search, float32 (n, d): of the workspace where it has a good number of them, else at random."""
    manifest = made.workspace.manifest("round-00/embed")
    if manifest is not None and of(manifest, "corpus_vectors").rows >= CELL[1] // 4:
        source = TableSource(made.workspace.final("round-00/embed"), "corpus_vectors", manifest, {})
        found = next(vector_blocks(source, CELL[1]))
        if found.shape[1] == wide:
            return found
    values = np.random.default_rng(0).standard_normal((CELL[1], wide)).astype(np.float32)
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True))


def _seconds(work: Any) -> float:
    """Core-seconds of the second of two calls; the first one allocates and chooses."""
    work()
    start = time.process_time()
    work()
    return max(time.process_time() - start, 1e-9)


def as_json(cell: Cell, asked: Target, found: Sequence[Estimate], says: Sequence[str]) -> dict[str, Any]:
    """All of it as JSON values."""
    return {
        "cell": asdict(cell),
        "target": asdict(asked),
        "stages": [asdict(each) for each in found],
        "advice": list(says),
    }
