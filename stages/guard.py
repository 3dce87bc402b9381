"""Measures a round's model on other collections: what training gained or cost where nothing was trained.

    [guard.collections.medquad]
    split = "test"
    dataset = { name = "beir", path = "medquad" }

A collection is a shard. It is read, encoded by the model of the round and searched exactly, one block of documents at a time,
so that neither its texts nor its vectors are ever held or stored as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Literal, Self, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, StringConstraints, model_validator

from stages.cells import Best, merge
from stages.encoding import Encoder, LoadedEncoder, PictureEncoder, refuse_kinds, resolve
from stages.errors import ConfigError, InputError
from stages.guarded import Collection, Guarded, Item, query_hashes, read
from stages.held import once
from stages.indexes.flat import Flat
from stages.measuring import Hits, Measures, Topics, compared, earlier, measured, metrics_table, stored
from stages.registry import OneOf
from stages.schemas import COMPARISONS, GUARD_QUERIES
from stages.settings import speed
from stages.spec import Context, Inputs, Part, Shard, Spec
from stages.text import template_of
from stages.trec import falling

_LEAKS = {
    "queries": "queries have the text of a training query",
    "pairs": "pairs of a query and a relevant document are training pairs",
    "documents": "documents have the text of a document of the collection that is trained on",
}

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]


class GuardConfig(Measures):
    """Which collections are watched, and how they are measured."""

    collections: dict[Name, Guarded] = Field(
        default_factory=dict,
        description="Collections by a name in small letters, digits, - and _. Each round embeds and searches every one.",
    )
    encoder: Annotated[Encoder | None, OneOf("encoders")] = Field(
        None, description="The model of round 0, the one that embed and train are given; needed with a collection."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="Arithmetic of the model, as embed.precision: auto is bf16 on a GPU and fp32 on a CPU."
    )
    block_rows: int = Field(
        8_192,
        ge=1,
        description="Texts or pictures encoded and searched together. More need more memory, fewer more searches.",
    )
    batch_tokens: int | None = speed(None, "Tokens computed together, as embed.batch_tokens.", ge=1)
    limit: int | None = Field(
        None,
        ge=1,
        description="At most this many queries of a collection and ten times as many documents, by stable hash.",
    )
    id_bytes: int = Field(1024, ge=1, le=65_536, description="Longest id in bytes of UTF-8. Ids are held in memory.")

    @model_validator(mode="after")
    def _encoder_for_collections(self) -> Self:
        if self.collections and self.encoder is None:
            raise ValueError("the collections need an encoder, the one of embed and train; best as [encoder] for all")
        return self


def shards(config: GuardConfig, inputs: Inputs) -> tuple[Shard, ...]:
    """A shard for each collection, by name."""
    return tuple(Shard(name, i) for i, name in enumerate(sorted(config.collections)))


def external(config: GuardConfig, inputs: Inputs, device: str) -> Mapping[str, str]:
    """The raw data of each collection, and what identifies the vectors."""
    found = {}
    for name, collection in sorted(config.collections.items()):
        with _named(name):
            found[f"collections.{name}"] = collection.dataset.fingerprint()
    if config.encoder is not None and found:
        found["precision"] = resolve(config.precision, device)
        if "checkpoint" not in inputs:
            found["encoder"] = config.encoder.fingerprint()
    return found


SPEC = Spec(
    name="guard",
    version=1,
    config=GuardConfig,
    inputs=("corpus", "queries", "qrels"),
    optional=("checkpoint", "first_guard_metrics", "previous_guard_metrics"),
    tables=("guard_metrics", "guard_comparisons", "guard_queries"),
    shards=shards,
    external=external,
    resources=frozenset({"gpu", "memory"}),
)


def run(config: GuardConfig, inputs: Inputs, context: Context) -> Iterator[Part]:
    """Yields for each collection the metrics, the comparisons with round 0 and the round before, and its queries.

    Counters and facts carry the collection's name. Raises InputError for a collection that cannot be read or encoded.
    """
    encoder = config.encoder
    if not context.shards or encoder is None:
        return
    if "checkpoint" in inputs:
        encoder = encoder.with_checkpoint(inputs["checkpoint"].path())
    model, precision = encoder, resolve(config.precision, context.device)
    loaded = once(context, "model", lambda: model.load(context.device, precision))
    trained = once(context, "trained", lambda: _Trained(inputs))
    for shard in context.shards:
        with _named(shard.name):
            yield _guard(config, inputs, context, shard, loaded=loaded, trained=trained)


def _guard(
    config: GuardConfig, inputs: Inputs, context: Context, shard: Shard, *, loaded: LoadedEncoder, trained: _Trained
) -> Part:
    name = shard.name

    def log(message: str) -> None:
        context.log(f"guard {name}: {message}")

    template = template_of(inputs["corpus"].schema)
    collection, counters = read(config.collections[name], config.limit, config.id_bytes, template, log)
    refuse_kinds(config.encoder, collection.kinds)
    depth = min(config.depth, counters["documents"])
    truncated = loaded.counts["truncated"]
    hits = _search(config, context, name, loaded=loaded, collection=collection, depth=depth)
    counters["texts.truncated"] = loaded.counts["truncated"] - truncated
    if counters["texts.truncated"]:
        log(f"{counters['texts.truncated']} texts are longer than the model reads; what is beyond was not encoded")
    leaks = trained.leaks(collection)
    for what, count in leaks.items():
        if count:
            log(f"{count} {_LEAKS[what]}")
    counters |= {f"leaked.{what}": count for what, count in leaks.items()}

    split = collection.source.split
    queries = collection.queries
    rows = np.arange(len(queries), dtype=np.int32)
    topics = Topics(rows, np.full(len(rows), split), [query.relevant for query in queries])
    values = measured(config, context, topics, hits, fallen=falling(hits.scores), splits=(split,))
    comparisons: list[dict[str, Any]] = []
    for source, number in earlier(context.round, ("first_guard_metrics", "previous_guard_metrics")).items():
        if source not in inputs:
            log(f"no metrics of round {number}, so this round is not compared with it")
            continue
        names = {"round": context.round, "collection": name, "against_round": number, "against_system": "dense"}
        comparisons += compared(config, log, values, stored(inputs[source], "dense", name), names)
    asked = [{"collection": name, "row": i, "query_id": q.id, "text": q.text} for i, q in enumerate(queries)]
    return Part(
        shard,
        tables={
            "guard_metrics": metrics_table(config, context.round, name, "dense", values).unify_dictionaries(),
            "guard_comparisons": pa.Table.from_pylist(comparisons, schema=COMPARISONS),
            "guard_queries": pa.Table.from_pylist(asked, schema=GUARD_QUERIES),
        },
        counters={f"{name}.{key}": count for key, count in counters.items()},
        facts={name: {"split": split, "depth": depth, **counters}},
    )


def _search(
    config: GuardConfig, context: Context, name: str, *, loaded: LoadedEncoder, collection: Collection, depth: int
) -> Hits:
    """The best documents of each query: what an exact search over all of them finds, block by block.

    Where there are texts and pictures among the documents, a query is searched among those of the other kind.
    """
    from stages.search import certified_search

    queries = _queries(config, loaded, collection)
    among = collection.shown[collection.kept]
    mixed = bool(among.any() and not among.all())
    asked = np.array([query.pixels is not None for query in collection.queries])
    best = Best(np.full((len(queries), depth), -1, dtype=np.int32), np.full((len(queries), depth), -np.inf))
    flat = Flat()
    with context.progress(f"guard {name}", int(collection.kept.sum())) as bar:
        for numbers, items in collection.documents(config.block_rows):
            vectors = _finite(_documents(config, loaded, items, collection.source.prompts), "document")
            shown = collection.shown[numbers]
            for picture in (False, True) if mixed else (None,):
                some = np.arange(len(numbers)) if picture is None else np.flatnonzero(shown == picture)
                who = np.arange(len(queries)) if picture is None else np.flatnonzero(asked != picture)
                if not len(some) or not len(who):
                    continue
                searcher = flat.build([vectors[some]], len(some), vectors.shape[1])
                found = certified_search(searcher, queries[who], vectors[some], depth, flat.exact)
                old = Best(best.rows[who], best.scores[who])
                best.rows[who], best.scores[who] = merge([old, Best(numbers[some][found.rows], found.scores)], depth)
            bar.advance(len(items))
    return Hits("dense", *best)


def _documents(config: GuardConfig, loaded: LoadedEncoder, items: Sequence[Item], prompts: Sequence[str]) -> np.ndarray:
    """Embeddings of documents: float32 (n, d). With prompts the mean over them, of unit vectors, scaled to length 1 again.

    Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (CLIP), 2021, section 3.1.4. Raises
    ConfigError for prompts where a document is a picture.
    """
    if not prompts:
        return _encode(config, loaded, items, "document")
    if not all(isinstance(item, str) for item in items):
        raise ConfigError(
            "prompts are put around texts, and there are pictures among the documents", where="guard.collections",
            try_='direction = "classes", or no prompts',
        )  # fmt: skip
    each = []
    for prompt in prompts:
        texts = [prompt.replace("{}", cast(str, item)) for item in items]
        each.append(_unit(_finite(_encode(config, loaded, texts, "document"), "document")))
    return _unit(np.sum(each, axis=0))


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Scaled to length 1; a vector of zeros stays one."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: np.ndarray = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return scaled


def _queries(config: GuardConfig, loaded: LoadedEncoder, collection: Collection) -> np.ndarray:
    """Embeddings of the queries: float32 (m, d)."""
    blocks: list[np.ndarray] = []
    done = 0
    for items in collection.asked(config.block_rows):
        prompts = [query.prompt for query in collection.queries[done : done + len(items)]]
        blocks.append(_finite(_encode(config, loaded, items, "query", prompts), "query"))
        done += len(items)
    return np.concatenate(blocks)


def _encode(
    config: GuardConfig,
    loaded: LoadedEncoder,
    items: Sequence[Item],
    role: str,
    prompts: Sequence[str | None] | None = None,
) -> np.ndarray:
    """Embeddings of texts and pictures in their order: float32 (n, d)."""
    texts = [i for i, item in enumerate(items) if isinstance(item, str)]
    own = None if prompts is None else [prompts[i] for i in texts]
    found = (
        loaded.encode([cast(str, items[i]) for i in texts], role, own, batch_tokens=config.batch_tokens)
        if texts
        else None
    )
    if found is not None and len(texts) == len(items):
        return found
    pictures = [i for i, item in enumerate(items) if not isinstance(item, str)]
    seen = cast(PictureEncoder, loaded).encode_pictures([cast(bytes, items[i]) for i in pictures], role)
    if found is None:
        return seen
    vectors = np.empty((len(items), found.shape[1]), dtype=np.float32)
    vectors[texts], vectors[pictures] = found, seen
    return vectors


def _finite(vectors: np.ndarray, role: str) -> np.ndarray:
    if not np.isfinite(vectors).all():
        bad = int((~np.isfinite(vectors).all(axis=1)).sum())
        raise InputError(f"{bad} {role} vectors hold values that are not finite", try_="with bf16 precision = fp32")
    return vectors


class _Trained:
    """The texts that are trained on, by hash."""

    def __init__(self, inputs: Inputs) -> None:
        queries = inputs["queries"].read(["text_hash", "split"])
        hashes = queries.column("text_hash").to_numpy()
        self.documents = inputs["corpus"].read(["text_hash"]).column("text_hash").to_numpy()
        self.queries = np.unique(hashes[pc.equal(queries.column("split"), "train").to_numpy()])
        pairs = inputs["qrels"].read(["query_row", "doc_row", "relevance", "split"])
        pairs = pairs.filter(pc.and_(pc.greater(pairs["relevance"], 0), pc.equal(pairs["split"], "train")))
        left, right = (pairs[column].to_numpy() for column in ("query_row", "doc_row"))
        self.pairs = set(zip(hashes[left].tolist(), self.documents[right].tolist(), strict=True))

    def leaks(self, collection: Collection) -> dict[str, int]:
        """How much of a collection is in the training data, by the keys of `_LEAKS`."""
        queries = query_hashes(collection)
        pairs = (
            (asked, int(collection.hashes[number]))
            for asked, query in zip(queries.tolist(), collection.queries, strict=True)
            for number in query.relevant
        )
        documents = collection.hashes[collection.kept]
        return {
            "queries": int(np.isin(queries, self.queries).sum()),
            "pairs": sum(pair in self.pairs for pair in pairs),
            "documents": int(np.isin(documents, self.documents).sum()),
        }


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Says of an error which collection it is about."""
    try:
        yield
    except InputError as error:
        error.what = f"the guard {name!r} cannot be measured: {error.what}"
        raise
