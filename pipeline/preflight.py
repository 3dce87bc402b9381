"""What can be known before anything is computed: whether the data are sound, whether splits leak, what a run will take."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import environment, forecast
from pipeline.config import Configuration
from pipeline.inputs import bring
from pipeline.room import model_bytes, model_config
from stages import embed, encoding, ingest
from stages.errors import HardrockError
from stages.export import TEXT_TARGETS
from stages.spec import WHOLE, Bar
from stages.text import joined

_TRIES = 3  # of a measurement; the quickest counts, for what others do on the machine only adds
SAMPLE = 256  # texts of each table that the probe encodes
_SHOWN = 5
_OVERHEAD = 400 << 20  # bytes of an ingest that do not grow: interpreter, libraries, rows of one part
_CHARACTERS_A_TOKEN = 4  # about
_PASS_ROWS = 16  # of gradient caching on a processor
_ID_BYTES = 70  # a document in ingest: id, offset, line, row, hash and its copy while it is sorted, slots


@dataclass(frozen=True)
class Finding:
    """Something about the data. An error stops a run, or makes what it measures worthless."""

    level: str  # error or warning
    what: str
    count: int
    says: str
    examples: tuple[str, ...] = ()


@dataclass
class Data:
    """What one reading of the data set leaves: hashes, counts, and a uniform sample of the texts."""

    counters: dict[str, int] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    rejects: dict[str, list[str]] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    documents: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))  # text_hash by row
    queries: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))  # text_hash by row
    splits: np.ndarray = field(default_factory=lambda: np.empty(0, object))  # split of each query
    query_ids: list[str] = field(default_factory=list)
    qrels: np.ndarray = field(default_factory=lambda: np.empty((0, 3), np.int64))  # query row, document row, relevance
    sample: dict[str, list[str]] = field(default_factory=dict)
    characters: dict[str, int] = field(default_factory=dict)
    pictures: dict[str, int] = field(default_factory=dict)  # rows of each table that are pictures
    images: list[bytes] = field(default_factory=list)  # the first pictures, encoded
    image_bytes: int = 0
    seconds: float = 0.0  # of the reading
    id_bytes: float = 0.0  # of the ids of a query and a document together, on average


class _Context:
    shards = (WHOLE,)

    def __init__(self, messages: list[str]) -> None:
        self._messages = messages

    @contextmanager
    def progress(self, says: str, total: int) -> Iterator[Bar]:
        yield _Still()

    def log(self, message: str) -> None:
        self._messages.append(message)


class _Still:
    def advance(self, amount: int = 1) -> None: ...


def read(config: ingest.IngestConfig) -> Data:
    """Reads the data set once, with every bad row set aside and counted. Raises InputError where it cannot be read on."""
    patient = config.model_copy(update={"on_bad_row": "quarantine", "missing_judgements_allowed": 2**31})
    start = time.perf_counter()
    data, hashes = Data(), {"corpus": [np.empty(0, np.int64)], "queries": [np.empty(0, np.int64)]}
    sizes = dict.fromkeys(hashes, 0)
    splits, qrels = [np.empty(0, object)], [np.empty((0, 3), np.int64)]
    for part in ingest.run(patient, {}, cast(Any, _Context(data.messages))):
        for name, table in part.tables.items():
            if name in hashes:
                hashes[name].append(table.column("text_hash").to_numpy())
                _take_sample(data, name, table)
                sizes[name] += pc.sum(pc.binary_length(table.column(1))).as_py() or 0  # its ids
            if name == "queries":
                splits.append(np.array(table.column("split").to_pylist(), dtype=object))
                data.query_ids.extend(table.column("query_id").to_pylist())
            elif name == "qrels":
                qrels.append(
                    np.stack([table.column(c).to_numpy() for c in ("query_row", "doc_row", "relevance")], axis=1)
                )
            elif name == "rejects":
                _take_rejects(data, table)
            elif name == "pictures":
                data.images += table.column("image").slice(0, SAMPLE - len(data.images)).to_pylist()
                data.image_bytes += table.column("image").nbytes
        data.counters.update(part.counters)
        data.facts.update(part.facts)
    data.documents, data.queries = (np.concatenate(hashes[name]) for name in ("corpus", "queries"))
    data.splits, data.qrels = np.concatenate(splits), np.concatenate(qrels)
    data.id_bytes = sum(
        sizes[name] / max(len(rows), 1) for name, rows in (("corpus", data.documents), ("queries", data.queries))
    )
    data.seconds = time.perf_counter() - start
    return data


def _take_sample(data: Data, name: str, table: pa.Table) -> None:
    """Keeps the texts whose hashes are smallest: a uniform sample, and the same at every reading."""
    there = table.column("picture")
    data.pictures[name] = data.pictures.get(name, 0) + table.num_rows - there.null_count
    table = table.filter(there.is_null())
    texts = table.column("text").to_pylist()
    if name == "corpus":
        texts = joined(table)
    data.characters[name] = data.characters.get(name, 0) + sum(map(len, texts))
    keys = table.column("text_hash").to_numpy().view(np.uint64)
    kept = np.argsort(keys, kind="stable")[:SAMPLE]
    pool = data.sample.setdefault(f"{name} keyed", []) + [f"{keys[i]:020d}{texts[i]}" for i in kept]  # type: ignore[str-bytes-safe]
    data.sample[f"{name} keyed"] = pool = sorted(pool)[:SAMPLE]
    data.sample[name] = [text[20:] for text in pool]


def _take_rejects(data: Data, table: pa.Table) -> None:
    for row in table.to_pylist():
        examples = data.rejects.setdefault(row["table"], [])
        data.rejected[row["table"]] = data.rejected.get(row["table"], 0) + 1
        if len(examples) < _SHOWN:
            place = [f"{row['file']} line {row['line']}" if row["line"] else row["file"]]
            place += [f"column {row['column']!r}"] if row["column"] else []
            place += [f"id {row['id']!r}"] if row["id"] is not None else []
            examples.append(f"{', '.join(place)}: {row['reason']}; {row['mend']}")


def findings(data: Data, configuration: Configuration) -> list[Finding]:
    """Everything that is wrong with the data, errors first."""
    config = cast(ingest.IngestConfig, configuration.stages["ingest"])
    count = data.counters
    found: list[Finding] = []
    missing = count["qrels.missing_document"] + count["qrels.missing_query"]
    for table, rejected in data.rejected.items():
        number = rejected - (missing if table == "qrels" else 0)
        if number > 0:
            level = "error" if config.on_bad_row == "fail" else "warning"
            found.append(
                Finding(
                    level, f"{table}.rejected", number, f"rows of {table} cannot be used", tuple(data.rejects[table])
                )
            )
    if missing:
        level = "error" if missing > config.missing_judgements_allowed else "warning"
        says = (
            f"judgements name documents or queries that are not there; allowed are {config.missing_judgements_allowed}"
        )
        found.append(Finding(level, "qrels.missing", missing, says, tuple(data.rejects.get("qrels", ()))))
    found += _leaks(data)
    asked = ["train"] if configuration.rounds else []
    for split in [*asked, *getattr(configuration.stages["evaluate"], "splits", ())]:
        if not data.facts.get("splits", {}).get(split, {}).get("queries_with_positives"):
            found.append(
                Finding(
                    "error", f"splits.{split}", 0, f"queries with a positive in the split {split}, which a run needs"
                )
            )
    for name, says in (
        ("corpus.same_text", "documents have the text of another one: all of them count as positives where one does"),
        ("queries.same_text", "queries have the text of another one"),
        ("queries.unjudged", "queries without any judgement are left out"),
        ("queries.without_positives", "queries have judgements but no relevant document"),
        ("corpus.title_only", "documents have a title and no text"),
        ("qrels.repeated", "judgements stand there more than once"),
    ):  # fmt: skip
        if count.get(name):
            found.append(Finding("warning", name, count[name], says))
    return sorted(found, key=lambda finding: finding.level)


def _leaks(data: Data) -> list[Finding]:
    """Test queries whose text is one of training, and test positives whose text is one."""
    train, test = data.splits == "train", data.splits == "test"
    found = []
    if rows := np.flatnonzero(test & np.isin(data.queries, data.queries[train])).tolist():
        examples = tuple(data.query_ids[row] for row in rows[:_SHOWN])
        says = "queries of test have the text of a query of train: what is measured on them was learnt"
        found.append(Finding("error", "leak.queries", len(rows), says, examples))
    positives = data.qrels[data.qrels[:, 2] > 0]
    texts = data.documents[positives[:, 1]]
    leaked = np.isin(texts, texts[train[positives[:, 0]]]) & test[positives[:, 0]]
    if leaked.any():
        queries = np.unique(positives[leaked, 0])
        says = "queries of test have a positive with the text of a positive of train: usual where a corpus is shared"
        examples = tuple(data.query_ids[row] for row in queries[:_SHOWN].tolist())
        found.append(Finding("warning", "leak.positives", len(queries), says, examples))
    return found


def estimate(data: Data, configuration: Configuration, device: str, place: Path) -> dict[str, Any]:
    """Time, memory and disk of a run, from encoding a sample of the texts and one product of matrices. Raises ResourceError.

    Seconds and bytes, meant to be right within a factor of two; what teachers and guards take is not in them.
    """
    config = cast(embed.EmbedConfig, configuration.stages["embed"])
    found = {"picture" for count in data.pictures.values() if count} | {
        "text" for texts in data.sample.values() if texts
    }
    encoding.refuse_kinds(config.encoder, frozenset(found))
    loaded = config.encoder.load(device, encoding.resolve(config.precision, device))
    seconds = {
        name: _seconds_a_row(loaded, data, name, role) for name, role in (("corpus", "document"), ("queries", "query"))
    }
    train: Any = configuration.stages["train"]
    work = _work(data, configuration, loaded)
    taken = work.negatives if train.negatives is None else min(work.negatives, train.negatives)
    steps = getattr(train, "max_steps", None)
    trained = min(work.pairs * train.epochs, steps * train.batch_size if steps else np.inf)
    time_of = forecast.seconds(
        work,
        encode=seconds["corpus"] * work.documents + seconds["queries"] * work.queries,
        step=seconds["queries"] + seconds["corpus"] * (1 + taken),
        mine=2.0 * work.searched * work.documents * work.dimensions / _products_a_second(),
        read=data.seconds,
        trained=float(trained),
    )
    existing = next(p for p in (place.absolute(), *place.absolute().parents) if p.exists())
    return {
        "sample": {name: len(data.sample[name]) or len(data.images) for name in ("corpus", "queries")},
        "texts_a_second": {name: round(1 / each_, 1) for name, each_ in seconds.items()},
        "seconds": {name: round(value, 1) for name, value in time_of.items()},
        "memory": max(_OVERHEAD + _ID_BYTES * work.documents, forecast.memory(work, environment.peak_memory())),
        "memory_of_machine": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "disk": forecast.disk(work) + data.image_bytes,
        "disk_free": shutil.disk_usage(existing).free,
    }  # fmt: skip


def _work(data: Data, configuration: Configuration, loaded: encoding.LoadedEncoder) -> forecast.Work:
    """The rows of a run, as the data and the configuration have them."""
    stages: Any = configuration.stages
    evaluate, train = stages["evaluate"], data.splits == "train"
    documents, queries = len(data.documents), len(data.queries)
    relevant = data.qrels[data.qrels[:, 2] > 0]
    tested = np.isin(data.splits, getattr(evaluate, "splits", ()))
    texts = not any(data.pictures.values())
    return forecast.Work(
        documents=documents,
        queries=queries,
        searched=int(train.sum()),
        tested=int(np.count_nonzero(tested)),
        pairs=int(train[relevant[:, 0]].sum()),
        qrels=len(data.qrels),
        dimensions=loaded.dimensions,
        depth=stages["mine"].depth,
        cutoff=evaluate.depth,
        negatives=stages["sample"].negatives,
        targets=len(TEXT_TARGETS if stages["export"].targets is None else stages["export"].targets),
        rounds=configuration.rounds,
        systems=1 + bool(texts and evaluate.bm25),
        document_bytes=data.characters["corpus"] / max(documents, 1),
        query_bytes=data.characters["queries"] / max(queries, 1),
        id_bytes=data.id_bytes,
        weights=model_bytes(str(getattr(stages["embed"].encoder, "model", ""))),
        activations=_activations(data, stages, loaded),
    )


def _activations(data: Data, stages: Any, loaded: encoding.LoadedEncoder) -> int:
    """Of a batch of training, padded to about the longest of its documents. Queries are short and left out."""
    train, sampled = stages["train"], stages["sample"].negatives
    taken = sampled if train.negatives is None else min(sampled, train.negatives)
    documents = (train.pass_rows or _PASS_ROWS) if train.cached else train.batch_size * (1 + taken)
    limits = (train.max_tokens, getattr(loaded, "max_tokens", None))
    longest = max(map(len, data.sample["corpus"]), default=0) // _CHARACTERS_A_TOKEN
    tokens = min([longest, *(limit for limit in limits if limit is not None)])
    config = model_config(str(getattr(stages["embed"].encoder, "model", "")))
    return forecast.activations(config, tokens, documents)


def _seconds_a_row(loaded: encoding.LoadedEncoder, data: Data, name: str, role: str) -> float:
    """Of a table's texts and pictures, as often as each is there."""
    pictures, texts = (
        data.pictures[name],
        len(data.documents if name == "corpus" else data.queries) - data.pictures[name],
    )
    whole = 0.0
    if texts:
        whole += texts * _seconds_an_item(partial(loaded.encode, role=role), data.sample[name])
    if pictures:
        encode = cast(encoding.PictureEncoder, loaded).encode_pictures
        whole += pictures * _seconds_an_item(partial(encode, role=role), data.images)
    return whole / max(texts + pictures, 1)


def _seconds_an_item(encode: Callable[[Any], Any], some: Sequence[Any]) -> float:
    encode(some[:8])  # the first call allocates
    return min(_seconds(lambda: encode(some)) for _ in range(_TRIES)) / len(some)


def _products_a_second() -> float:
    one = np.ones((1024, 1024), dtype=np.float32)
    one @ one
    return 2 * 1024**3 / min(_seconds(lambda: one @ one) for _ in range(_TRIES))


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def too_large(estimated: Mapping[str, Any]) -> list[Finding]:
    """Whether a run is likely to end for want of disk or memory."""
    found = []
    if estimated["disk"] > estimated["disk_free"]:
        found.append(
            Finding("error", "disk", estimated["disk"], f"bytes are needed, and {estimated['disk_free']:,} are free")
        )
    if estimated["memory"] > estimated["memory_of_machine"]:
        says = f"bytes of memory are needed, and the machine has {estimated['memory_of_machine']:,}"
        found.append(Finding("error", "memory", estimated["memory"], says))
    return found


def check(
    configuration: Configuration, device: str, place: Path, probe: bool
) -> tuple[Data | None, list[Finding], dict[str, Any] | None]:
    """All of it. What the data set's own reading refuses is one finding among the others."""
    try:
        for origin in configuration.origins.get("ingest", ()):
            bring(origin)
        data = read(cast(ingest.IngestConfig, configuration.stages["ingest"]))
    except HardrockError as error:
        if error.exit_code != 3:
            raise
        return (
            None,
            [Finding("error", "input", 1, error.what, (" ".join(str(error).split("\n", 1)[-1].split()),))],
            None,
        )
    found = findings(data, configuration)
    estimated = estimate(data, configuration, device, place) if probe else None
    return data, [*found, *(too_large(estimated) if estimated else [])], estimated
