"""Texts and pictures to vectors: corpus and queries, a shard at a time.

A shard is encoded by itself: identical texts or pictures in it once, in batches that never reach into another shard. So a shard's
vectors hang on its rows and the model, not on which shards were done before a kill. Texts and pictures that the workspace's earlier
result has are not encoded again (docs/decisions/0011-vectors-of-unchanged-texts.md).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Annotated, Any, Literal, TypeVar, cast

import numpy as np
import pyarrow as pa
from pydantic import Field

from stages.arrays import cosines, matrix, same_top, vector_table
from stages.encoding import Encoder, LoadedEncoder, PictureEncoder, Prepared, Preparing, refuse_kinds, resolve
from stages.errors import InputError
from stages.held import once
from stages.pictures import images, kinds
from stages.registry import OneOf
from stages.reuse import MADE_WITH, Earlier, earlier, keyed, keys, picture_keys
from stages.settings import Settings, speed
from stages.spec import Context, Inputs, Part, Shard, Source, Spec, cut
from stages.text import joined

T = TypeVar("T")
R = TypeVar("R")

EXACT = 64
"""Texts of a table that are encoded in fp32 as well, where bf16 is used."""

LEAST_COSINE = 0.9995
"""To fp32, that bf16 is meant to keep."""


class EmbedConfig(Settings):
    """How texts and pictures become vectors."""

    encoder: Annotated[Encoder, OneOf("encoders")] = Field(
        description="the model; nearly all of the cost of this stage"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="arithmetic of the model: auto is bf16 on a GPU and fp32 on a CPU; bf16 is several times as fast on a processor that has it, at a "
        "cosine of .9999 to fp32, and changes about 1% of the ten nearest",
    )
    shard_rows: int = Field(
        8_192,
        ge=1,
        description="texts or pictures a shard, which is what a kill can lose; identical ones are found within one",
    )
    storage: Literal["float32", "float16", "int8"] = Field(
        "float32",
        description="how a value of a vector is stored: float16 halves the disk, int8 with a scale for each vector quarters it. Searches "
        "are exact over what is stored; docs/embedding.md says what each changes",
    )
    reuse: bool = speed(
        True,
        "take the vectors of texts and pictures that the workspace's earlier result has, made by the same model; false encodes all again",
    )
    batch_tokens: int | None = speed(
        None,
        "tokens computed together; none is 1,024 on a CPU, 2,048 there with a model of another shape than BERT's, and 65,536 on a GPU. "
        "Memory grows with it, and another number can change a vector's last bits",
        ge=1,
    )


def shards(config: EmbedConfig, inputs: Inputs) -> tuple[Shard, ...]:
    """Shards of the corpus, then of the queries; each gives only the table that it is named after."""
    return (
        *cut("corpus_vectors", inputs["corpus"].rows, config.shard_rows),
        *cut("query_vectors", inputs["queries"].rows, config.shard_rows),
    )


def external(config: EmbedConfig, inputs: Inputs, device: str) -> Mapping[str, str]:
    """What identifies the vectors beside configuration and inputs. A checkpoint is an input, and then the weights are its own."""
    found = {"precision": resolve(config.precision, device)}
    return found if "checkpoint" in inputs else {"encoder": config.encoder.fingerprint(), **found}


SPEC = Spec(
    name="embed",
    version=2,
    config=EmbedConfig,
    inputs=("corpus", "queries", "pictures"),
    optional=("checkpoint",),
    tables=("corpus_vectors", "query_vectors"),
    shards=shards,
    external=external,
    resources=frozenset({"gpu", "memory"}),
)


def run(config: EmbedConfig, inputs: Inputs, context: Context) -> Iterator[Part]:
    """Yields the vectors of each shard.

    Raises InputError for what has a useless vector, ResourceError for the model, ConfigError where it cannot take what there is.
    """
    if not context.shards:
        return
    encoder = config.encoder
    found = once(context, "kinds", lambda: kinds(inputs["corpus"]) | kinds(inputs["queries"]))
    refuse_kinds(encoder, found)
    pictured = "picture" in found
    if "checkpoint" in inputs:
        encoder = encoder.with_checkpoint(inputs["checkpoint"].path())
    for note in encoder.notes():
        context.log(note)
    precision = resolve(config.precision, context.device)
    loaded = once(context, "model", lambda: encoder.load(context.device, precision))
    facts: dict[str, Any] = {"dimensions": loaded.dimensions, "max_tokens": loaded.max_tokens, "precision": precision}
    if pictured and (pictures := _count_pictures(inputs["corpus"])):
        facts["pictures"] = pictures
    if isinstance(loaded, Preparing):
        for note in loaded.notes:
            context.log(note)
        facts[MADE_WITH] = _made_with(config, encoder, loaded)
    final = shards(config, inputs)[-1]
    for table, name, columns in (
        ("corpus", "corpus_vectors", ["row", "doc_id", "title", "text", "picture"]),
        ("queries", "query_vectors", ["row", "query_id", "text", "prompt", "picture"]),
    ):
        mine = [shard for shard in context.shards if shard.name == name]
        if not mine:
            continue
        known = _earlier(config, context, name, facts.get(MADE_WITH))
        work = _Work(config, encoder, loaded, table, known, inputs["pictures"] if pictured else None, context.log)
        truncated = reused = 0
        with context.progress(f"embed {table}", sum(s.stop - s.start for s in mine)) as bar:
            for shard, made in ahead(work.prepare, _slices(inputs[table], columns, mine)):
                stored, counts = work.finish(made, shard)
                truncated += counts["truncated"]
                reused += counts["reused"]
                bar.advance(stored.num_rows)
                yield Part(
                    shard,
                    tables={name: stored},
                    counters={f"{table}.{key}": count for key, count in counts.items()},
                    facts=facts if shard == final else {},
                )
        if reused:
            context.log(f"{table}: {reused} vectors are those of the earlier result")
        if truncated:
            context.log(
                f"{table}: {truncated} texts have more than {loaded.max_tokens} tokens; what is beyond was not encoded"
            )


def _count_pictures(source: Source) -> int:
    return sum(batch.num_rows - batch.column("picture").null_count for batch in source.batches(["picture"]))


def _made_with(config: EmbedConfig, encoder: Encoder, loaded: Preparing) -> str:
    """What a vector hangs on beside its text; batches, too, where they can change its last bits."""
    parts = [encoder.fingerprint(), loaded.arithmetic, config.storage, SPEC.version, config.batch_tokens or "default"]
    return sha256(json.dumps(parts).encode()).hexdigest()


def _earlier(config: EmbedConfig, context: Context, name: str, made_with: str | None) -> Earlier | None:
    if made_with is None or not config.reuse:
        return None
    return once(context, f"earlier {name}", lambda: earlier(context, name, made_with))


@dataclass
class _Made:
    """A shard on its way. `fresh`: places of what has to be encoded; `tokens`: the texts among these, made ready."""

    rows: pa.Table
    texts: list[str]
    prompts: list[str | None] | None
    shown: np.ndarray  # int64 (n,), the row of the picture that stands at a place; -1 for a text
    keys: np.ndarray | None = None
    found: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    stored: pa.Table | None = None
    fresh: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    tokens: Prepared | None = None

    @property
    def fresh_texts(self) -> np.ndarray:
        """Places of the texts among the fresh ones."""
        return np.flatnonzero(self.shown[self.fresh] < 0)

    def of_fresh(self, places: np.ndarray) -> tuple[list[str], list[str | None] | None]:
        """Texts and prompts at these places among the fresh ones."""
        chosen = self.fresh[places].tolist()
        return [self.texts[i] for i in chosen], None if self.prompts is None else [self.prompts[i] for i in chosen]


@dataclass
class _Work:
    """One table's shards: `prepare` runs ahead in another thread, `finish` computes."""

    config: EmbedConfig
    encoder: Encoder
    loaded: LoadedEncoder
    table: str
    known: Earlier | None
    pictures: Source | None
    """Where pictures are; None where corpus and queries are texts alone."""
    log: Callable[[str], None]

    @property
    def role(self) -> str:
        return "document" if self.table == "corpus" else "query"

    def prepare(self, rows: pa.Table) -> _Made:
        """Texts and pictures, what the earlier result has of them, and the tokens of the other texts."""
        texts, prompts = rows.column("text").to_pylist(), None
        if self.table == "corpus":
            texts = joined(rows)
        else:
            prompts = rows.column("prompt").to_pylist()
        shown = rows.column("picture").combine_chunks().cast(pa.int64()).fill_null(-1).to_numpy()
        made = _Made(rows, texts, prompts, shown, fresh=np.arange(len(texts)))
        if isinstance(self.loaded, Preparing):
            made.keys = self._keys(made)
            if self.known is not None:
                made.found, made.stored = self.known.take(made.keys)
                made.fresh = np.setdiff1d(made.fresh, made.found, assume_unique=True)
            if self.pictures is None or len(made.fresh_texts):
                fresh, own = made.of_fresh(made.fresh_texts)
                made.tokens = self.loaded.prepare(fresh, self.role, own)
        return made

    def _keys(self, made: _Made) -> np.ndarray:
        """What identifies each text with its prompt, and each picture: uint64 (n, 2)."""
        # The role's own prompt is part of the encoder's fingerprint; a null here means that one.
        asked = ["" if prompt is None else f"={prompt}" for prompt in made.prompts or [None] * len(made.texts)]
        found = keys(asked, made.texts)
        pictured = made.shown >= 0
        if pictured.any():
            wanted, back = np.unique(made.shown[pictured], return_inverse=True)
            blocks = [picture_keys(some) for _, some in images(cast(Source, self.pictures), wanted)]
            found[pictured] = np.concatenate(blocks)[back]
        return found

    def finish(self, made: _Made, shard: Shard) -> tuple[pa.Table, dict[str, int]]:
        """The stored vectors of a shard, and what was counted meanwhile."""
        loaded, count = self.loaded, len(made.texts)
        before = dict(loaded.counts)
        values = self._values(made)
        texts = int(np.count_nonzero(made.shown < 0))
        counts = {
            "texts": texts,
            "pictures": count - texts,
            **{key: total - before[key] for key, total in loaded.counts.items()},
        }
        fresh = made.rows if len(made.fresh) == count else made.rows.take(pa.array(made.fresh))
        _check(values, self.table, fresh)
        stored = vector_table(fresh.column("row").to_numpy(), values, self.config.storage)
        _check_stored(stored, self.table, fresh, self.config.storage)
        counts |= self._costs(made, values, stored, shard) | {"reused": len(made.found)}
        if made.keys is not None:
            cut_short = np.zeros(len(made.fresh), dtype=bool)
            if made.tokens is not None:
                cut_short[made.fresh_texts] = made.tokens.truncated
            stored = keyed(stored, made.keys[made.fresh], cut_short)
            counts["repeated"] = count - len(np.unique(made.keys, axis=0))
        if made.stored is not None:
            old = made.stored.add_column(
                0, stored.schema.field("row"), made.rows.column("row").take(pa.array(made.found))
            )
            counts["truncated"] += int(np.count_nonzero(old.column("truncated")))
            stored = pa.concat_tables([stored, old.cast(stored.schema)])
            stored = stored.take(pa.array(np.argsort(np.concatenate([made.fresh, made.found]), kind="stable")))
        return stored, counts

    def _values(self, made: _Made) -> np.ndarray:
        """The vectors of what is fresh in a shard (n, d): of its pictures, each of them once, and of its texts."""
        shown = made.shown[made.fresh]
        if self.pictures is None or (len(shown) and (shown < 0).all()):
            return self._of_texts(made)
        values = np.empty((len(shown), self.loaded.dimensions), dtype=np.float32)
        if (shown < 0).any():
            values[shown < 0] = self._of_texts(made)
        if (shown >= 0).any():
            wanted, back = np.unique(shown[shown >= 0], return_inverse=True)
            self.loaded.counts["repeated"] += len(back) - len(wanted)
            encode = cast(PictureEncoder, self.loaded).encode_pictures
            found = [encode(some, self.role) for _, some in images(self.pictures, wanted)]
            values[shown >= 0] = np.concatenate(found)[back]
        return values

    def _of_texts(self, made: _Made) -> np.ndarray:
        how: dict[str, Any] = {"batch_tokens": self.config.batch_tokens, "log": self.log}
        if made.tokens is not None and isinstance(self.loaded, Preparing):
            return self.loaded.embed(made.tokens, **how)
        texts, prompts = made.of_fresh(made.fresh_texts)
        return self.loaded.encode(texts, self.role, prompts, **how)

    def _costs(self, made: _Made, values: np.ndarray, stored: pa.Table, shard: Shard) -> dict[str, int]:
        """What storage and bf16 change among the ten nearest, on samples. A table's first shard stands for bf16."""
        counts: dict[str, int] = {}
        if self.config.storage != "float32":
            kept, asked = same_top(values, matrix(stored))
            counts |= {f"{self.config.storage}.top10": asked, f"{self.config.storage}.top10_same": kept}
        among = made.fresh_texts
        if isinstance(self.loaded, Preparing) and "bf16" in self.loaded.arithmetic and shard.index == 0 and len(among):
            places = among[np.unique(np.linspace(0, len(among) - 1, min(EXACT, len(among))).astype(np.int64))]
            texts, prompts = made.of_fresh(places)
            exact = self.loaded.exact(texts, self.role, prompts)
            kept, asked = same_top(exact, values[places], len(places))
            counts |= {"bf16.top10": asked, "bf16.top10_same": kept}
            cosine = float(cosines(exact, values[places]).min())
            self.log(
                f"{self.table}: bf16 gives a cosine of {cosine:.6f} to fp32 at worst among {len(places)} texts, and "
                f"{kept / max(asked, 1):.1%} of the same ten nearest"
            )
            if cosine < LEAST_COSINE:
                self.log(f"{self.table}: that is below {LEAST_COSINE}; precision = fp32 is exact")
        return counts


def ahead(prepare: Callable[[T], R], items: Iterable[tuple[Shard, T]]) -> Iterator[tuple[Shard, R]]:
    """What `prepare` makes of each item, one item ahead in a thread of its own."""
    with ThreadPoolExecutor(1, "tokenize") as pool:
        waiting = None
        for shard, item in items:
            following = (shard, pool.submit(prepare, item))
            if waiting is not None:
                yield waiting[0], waiting[1].result()
            waiting = following
        if waiting is not None:
            yield waiting[0], waiting[1].result()


def _check(vectors: np.ndarray, table: str, rows: pa.Table) -> None:
    """Raises InputError when a vector (n, d) is not finite, or zero: such a vector would be mined as anybody's negative."""
    for what, bad in (
        ("values that are not finite", ~np.isfinite(vectors).all(axis=1)),
        ("nothing but zeros", ~vectors.any(axis=1)),
    ):
        if bad.any():
            first = np.flatnonzero(bad)[:5]
            ids = rows.column("doc_id" if table == "corpus" else "query_id").take(pa.array(first)).to_pylist()
            text = rows.column("text")[int(first[0])].as_py()
            raise InputError(
                f"{int(bad.sum())} vectors hold {what}",
                where=f"{table}: {', '.join(repr(str(i)[:80]) for i in ids)}{' …' if bad.sum() > len(ids) else ''}",
                got=f"the first one's text is {text[:80]!r}",
                try_="remove these rows, or take a model that knows their tokens or pictures; with bf16 try precision = fp32",
            )


def _check_stored(stored: pa.Table, table: str, rows: pa.Table, storage: str) -> None:
    """Raises InputError for values that float16 cannot hold: beyond 65,504, or all so small that nothing is left."""
    if storage != "float16":
        return
    values = matrix(stored)
    bad = ~np.isfinite(values).all(axis=1) | ~values.any(axis=1)
    if bad.any():
        ids = rows.column("doc_id" if table == "corpus" else "query_id").take(pa.array(np.flatnonzero(bad)[:5]))
        raise InputError(
            f"{int(bad.sum())} vectors do not fit in float16, which ends at 65,504",
            where=f"{table}: {', '.join(repr(str(i)[:80]) for i in ids.to_pylist())}",
            try_="embed.storage = float32 or int8, or encoder.normalise = true",
        )


def _slices(source: Source, columns: Sequence[str], wanted: Sequence[Shard]) -> Iterator[tuple[Shard, pa.Table]]:
    """The rows of each shard, in one pass that begins at the first and holds one. The shards are ascending."""
    start = wanted[0].start if wanted else 0
    batches = source.batches(columns, start=start)
    held: list[pa.RecordBatch] = []
    for shard in wanted:
        while start + sum(b.num_rows for b in held) < shard.stop:
            held.append(next(batches))
            while held and start + held[0].num_rows <= shard.start:
                start += held.pop(0).num_rows
        yield shard, pa.Table.from_batches(held).slice(shard.start - start, shard.stop - shard.start)
