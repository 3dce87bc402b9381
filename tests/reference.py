"""Independent references: plain loops in float64, written from the definitions and sharing nothing with the stages."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

GRID = 2.0**-40


def inner(left: np.ndarray, right: np.ndarray) -> float:
    total = 0.0
    for a, b in zip(left.tolist(), right.tolist(), strict=True):
        total += a * b
    return round(total / GRID) * GRID


def brute_force(
    query_vectors: np.ndarray, corpus_vectors: np.ndarray, qrels: Iterable[tuple[int, int, int]], depth: int
) -> tuple[dict[int, list[tuple[int, int, float]]], dict[tuple[int, int], tuple[float, int | None]]]:
    """For each query with a positive: candidates (doc_row, rank, score) and, by (query_row, doc_row), positives (score, rank)."""
    positives: dict[int, set[int]] = {}
    for query, document, relevance in qrels:
        if relevance > 0:
            positives.setdefault(query, set()).add(document)
    candidates = {}
    scored = {}
    for query in sorted(positives):
        scores = [inner(query_vectors[query], vector) for vector in corpus_vectors]
        order = sorted(range(len(scores)), key=lambda row: (-scores[row], row))[:depth]
        candidates[query] = [(row, rank, scores[row]) for rank, row in enumerate(order, start=1)]
        ranks = {row: rank for row, rank, _ in candidates[query]}
        for document in sorted(positives[query]):
            scored[query, document] = (scores[document], ranks.get(document))
    return candidates, scored
