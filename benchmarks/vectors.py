"""Vectors and texts to measure with: clustered on the sphere, so that neighbours are near, as those of a text encoder are.

A document is the sum of a topic, a subtopic of it and noise; a query is a document
and more or less noise; mostly that document is its positive. Topics lie in a
space of fewer dimensions than the vectors have, as embeddings do. Each block has a generator of its own, so the first
vectors of a larger corpus of the same seed are not those of a smaller one, but any corpus is the same in each run.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

BLOCK = 65_536
TOPICS, SUBTOPICS, RANK = 256, 16, 64
HARD = 0.15
"""Share of the queries whose positive is another document of the subtopic, so that many documents score above it."""
WORDS = 24
"""Words of a text: about the length of a short passage."""


def write(folder: Path, queries: int, documents: int, dimensions: int, seed: int) -> None:
    """Writes documents.npy and queries.npy, float32 of length 1, and positives.npy, int64 (queries,), one a query."""
    folder.mkdir(parents=True, exist_ok=True)
    shape = (documents, dimensions)
    corpus = np.lib.format.open_memmap(folder / "documents.npy", mode="w+", dtype=np.float32, shape=shape)
    topics, subtopics = _topics(dimensions, seed)
    group = np.empty(documents, dtype=np.int64)
    for number, start in enumerate(range(0, documents, BLOCK)):
        generator = np.random.default_rng([seed, 1, number])
        stop = min(start + BLOCK, documents)
        topic = np.minimum(generator.zipf(1.3, stop - start), TOPICS) - 1
        sub = generator.integers(0, SUBTOPICS, stop - start)
        noise = generator.standard_normal((stop - start, dimensions), dtype=np.float32) / np.sqrt(dimensions)
        corpus[start:stop] = unit(0.5 * topics[topic] + 0.6 * subtopics[topic, sub] + 0.9 * noise)
        group[start:stop] = topic * SUBTOPICS + sub
    corpus.flush()
    generator = np.random.default_rng([seed, 2])
    near = generator.integers(0, documents, queries)
    noise = generator.standard_normal((queries, dimensions), dtype=np.float32) / np.sqrt(dimensions)
    noise *= generator.uniform(0.5, 3.0, (queries, 1)).astype(np.float32)
    np.save(folder / "queries.npy", unit(corpus[near] + noise))
    order = np.argsort(group, kind="stable")
    starts, counts = np.searchsorted(group[order], group[near]), np.bincount(group)[group[near]]
    other = order[starts + generator.integers(0, counts)]
    np.save(folder / "positives.npy", np.where(generator.random(queries) < HARD, other, near))


def given(folder: Path, source: Path, queries: int, documents: int, seed: int) -> None:
    """The same files from an array of vectors: the first `documents` rows are the corpus, the next `queries` the queries.

    A query's positive is its nearest document but one, among a sample: real pairs are near, and not always the nearest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    values = np.load(source, mmap_mode="r")
    if values.ndim != 2 or len(values) < documents + queries:
        raise SystemExit(f"{source}: {values.shape}, and {documents} + {queries} rows are needed")
    corpus, asked = np.asarray(values[:documents], np.float32), np.asarray(values[documents : documents + queries])
    np.save(folder / "documents.npy", unit(corpus))
    np.save(folder / "queries.npy", unit(asked.astype(np.float32)))
    some = np.sort(np.random.default_rng([seed, 3]).choice(documents, min(2_000, documents), replace=False))
    near = np.argsort(-(unit(asked.astype(np.float32)) @ unit(corpus[some]).T), axis=1)[:, min(1, len(some) - 1)]
    np.save(folder / "positives.npy", some[near])


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (n, d) of length 1, float32."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)


def texts(kind: str, count: int, seed: int) -> list[str]:
    """`count` different texts of WORDS words; `kind` and a number come first."""
    vocabulary = np.array([f"word{i:04d}" for i in range(4_096)])
    drawn = np.random.default_rng([seed, 4, len(kind)]).integers(0, len(vocabulary), (count, WORDS))
    return [f"{kind} {i} {' '.join(row)}" for i, row in enumerate(vocabulary[drawn])]


def _topics(dimensions: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Directions of length 1: topics float32 (TOPICS, d) and subtopics float32 (TOPICS, SUBTOPICS, d)."""
    generator = np.random.default_rng([seed, 0])
    rank = min(RANK, dimensions)
    basis = np.linalg.qr(generator.standard_normal((dimensions, rank)))[0].T  # (rank, d)
    topics = unit(generator.standard_normal((TOPICS, rank)) @ basis)
    subtopics = unit(generator.standard_normal((TOPICS * SUBTOPICS, rank)) @ basis)
    return topics, subtopics.reshape(TOPICS, SUBTOPICS, dimensions)
