"""Texts and pictures to vectors: corpus and queries, a shard at a time.

A shard is encoded by itself: identical texts or pictures in it once, in batches of similar length that never reach into another
shard. So a shard's vectors hang on its texts and the model, not on which shards were done before a kill.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Literal, cast

import numpy as np
import pyarrow as pa
from pydantic import Field

from stages.arrays import vector_table
from stages.encoding import Encoder, LoadedEncoder, PictureEncoder, refuse_kinds, resolve
from stages.errors import InputError
from stages.held import once
from stages.pictures import images, kinds
from stages.registry import OneOf
from stages.settings import Settings, speed
from stages.spec import Context, Inputs, Part, Shard, Source, Spec, cut
from stages.text import join_title


class EmbedConfig(Settings):
    """How texts and pictures become vectors."""

    encoder: Annotated[Encoder, OneOf("encoders")] = Field(
        description="the model; nearly all of the cost of this stage"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="arithmetic of the model: auto is bf16 on a GPU and fp32 on a CPU; bf16 is about twice as fast, at a cosine of .9999 to fp32",
    )
    shard_rows: int = Field(
        8_192,
        ge=1,
        description="texts or pictures a shard, which is what a kill can lose; identical ones are found within one",
    )
    batch_tokens: int | None = speed(
        None, "tokens a batch, padding included; none is 2,048 on a CPU and 65,536 on a GPU. Memory grows with it", ge=1
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
    once(context, "kinds", lambda: refuse_kinds(encoder, kinds(inputs["corpus"]) | kinds(inputs["queries"])))
    if "checkpoint" in inputs:
        encoder = encoder.with_checkpoint(inputs["checkpoint"].path())
    for note in encoder.notes():
        context.log(note)
    precision = resolve(config.precision, context.device)
    loaded = once(context, "model", lambda: encoder.load(context.device, precision))
    facts = {"dimensions": loaded.dimensions, "max_tokens": loaded.max_tokens, "precision": precision}
    pictures = sum(
        batch.num_rows - batch.column("picture").null_count for batch in inputs["corpus"].batches(["picture"])
    )
    facts |= {"pictures": pictures} if pictures else {}
    final = shards(config, inputs)[-1]
    for table, name, columns in (
        ("corpus", "corpus_vectors", ["row", "doc_id", "title", "text", "picture"]),
        ("queries", "query_vectors", ["row", "query_id", "text", "prompt", "picture"]),
    ):
        mine = [shard for shard in context.shards if shard.name == name]
        truncated = 0
        with context.progress(f"embed {table}", sum(s.stop - s.start for s in mine)) as bar:
            for shard, rows in _slices(inputs[table], columns, mine):
                encoding = _Encoding(loaded, table, config.batch_tokens, context.log)
                vectors, counts = encoding.vectors(rows, inputs["pictures"])
                truncated += counts["truncated"]
                bar.advance(len(vectors))
                yield Part(
                    shard,
                    tables={name: vector_table(np.arange(shard.start, shard.stop, dtype=np.int32), vectors)},
                    counters={
                        f"{table}.texts": rows.column("picture").null_count,
                        f"{table}.pictures": len(vectors) - rows.column("picture").null_count,
                        **{f"{table}.{key}": count for key, count in counts.items()},
                    },
                    facts=facts if shard == final else {},
                )
        if truncated:
            context.log(
                f"{table}: {truncated} texts have more than {loaded.max_tokens} tokens; what is beyond was not encoded"
            )


class _Encoding:
    """How the rows of a table are encoded."""

    def __init__(self, loaded: LoadedEncoder, table: str, batch_tokens: int | None, log: Callable[[str], None]) -> None:
        self._loaded, self._table, self._tokens, self._log = loaded, table, batch_tokens, log
        self._role = "document" if table == "corpus" else "query"

    def vectors(self, rows: pa.Table, pictures: Source) -> tuple[np.ndarray, dict[str, int]]:
        """The vectors of a shard (n, d), checked, and what was counted meanwhile."""
        before = dict(self._loaded.counts)
        shown = rows.column("picture").combine_chunks().to_numpy(zero_copy_only=False)  # NaN where the text is encoded
        texts = np.isnan(shown) if shown.dtype.kind == "f" else np.zeros(len(shown), dtype=bool)
        if texts.all():
            vectors = self._texts(rows)
        else:
            vectors = np.empty((len(shown), self._loaded.dimensions), dtype=np.float32)
            if texts.any():
                vectors[texts] = self._texts(rows.filter(pa.array(texts)))
            wanted, back = np.unique(shown[~texts].astype(np.int64), return_inverse=True)
            self._loaded.counts["repeated"] += len(back) - len(wanted)
            vectors[~texts] = self._pictures(wanted, pictures)[back]
        _check(vectors, self._table, rows)
        return vectors, {key: count - before[key] for key, count in self._loaded.counts.items()}

    def _texts(self, rows: pa.Table) -> np.ndarray:
        texts = rows.column("text").to_pylist()
        if self._table == "corpus":
            titles, prompts = rows.column("title").to_pylist(), None
            texts = [join_title(title, text) for title, text in zip(titles, texts, strict=True)]
        else:
            prompts = rows.column("prompt").to_pylist()
        return self._loaded.encode(texts, self._role, prompts, batch_tokens=self._tokens, log=self._log)

    def _pictures(self, wanted: np.ndarray, pictures: Source) -> np.ndarray:
        encode = cast(PictureEncoder, self._loaded).encode_pictures
        return np.concatenate([encode(some, self._role) for _, some in images(pictures, wanted)])


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
