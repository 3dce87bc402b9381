"""Texts, vectors, groups and occurrences of documents, from a workspace's tables, for the filters that ask for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.search import gather
from stages.spec import Inputs
from stages.text import joined


class StoredDocuments:
    """`stages.judging.Documents` over the inputs corpus, corpus_vectors, qrels and candidates."""

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        self._hidden: np.ndarray | None = None
        self.cache: dict[Any, Any] = {}

    def without(self, hidden: np.ndarray) -> StoredDocuments:
        """The same documents, where some judgements, bool (j,) in the order of qrels, are not known."""
        other = copy(self)
        other.__dict__.pop("held_out", None)
        other._hidden = hidden
        return other

    @cached_property
    def occurrences(self) -> tuple[np.ndarray, int]:
        """Over all parts of the candidates, so that it is the same for each of them."""
        counts = np.zeros(self._inputs["corpus"].rows, dtype=np.int64)
        queries = 0
        for part in self._inputs["candidates"].parts:
            found = self._inputs["candidates"].read(["query_row", "doc_row"], part=part)
            counts += np.bincount(found["doc_row"].to_numpy(), minlength=len(counts))
            query = found["query_row"].to_numpy()
            queries += int(np.count_nonzero(query[1:] != query[:-1])) + bool(len(query))
        return counts, queries

    @cached_property
    def groups(self) -> np.ndarray:
        found = self._inputs["corpus"].read(["group"])["group"].combine_chunks().dictionary_encode()
        numbers: np.ndarray = found.indices.fill_null(-1).to_numpy().astype(np.int64)
        return numbers

    @cached_property
    def held_out(self) -> np.ndarray:
        qrels = self._inputs["qrels"].read(["doc_row", "relevance", "split"])
        if self._hidden is not None:
            qrels = qrels.filter(pa.array(~self._hidden))
        relevant = pc.greater(qrels["relevance"], 0)
        train = pc.equal(qrels["split"], "train")
        found = np.zeros(self._inputs["corpus"].rows, dtype=bool)
        found[qrels.filter(relevant)["doc_row"].to_numpy()] = True
        found[qrels.filter(pc.and_(relevant, train))["doc_row"].to_numpy()] = False
        return found

    def texts(self, blocks: Sequence[np.ndarray]) -> Iterator[pa.Array]:
        batches = self._inputs["corpus"].batches(["title", "text"])
        texts: list[str] = []
        start = end = 0
        for rows in blocks:
            wanted: list[str] = []
            done = 0
            while done < len(rows):
                stop = int(np.searchsorted(rows, end))
                chosen = rows[done:stop] - start
                wanted += [texts[row] for row in chosen]
                done = stop
                if done < len(rows):
                    batch = next(batches)
                    start, end = end, end + batch.num_rows
                    texts = joined(batch)
            yield pa.array(wanted, pa.large_string())

    def vectors(self, blocks: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        yield from gather(self._inputs["corpus_vectors"], blocks)
