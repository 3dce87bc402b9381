"""What judge promoted, as positives: pairs of their own for sampling and training, and nobody's negatives.

`judge.promote` alone decides whether there are any. A promoted document is a negative of no query with the same text, nor
is a copy of it. As a positive it takes the candidates that were kept for its query: held against the least positive all of
them, held against each positive apart those that were kept for every one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from stages.errors import ArtefactError
from stages.judging import Known, numbers, spread
from stages.schemas import POSITIVES, QRELS
from stages.spec import Inputs, Source

HELD = ("query_row", "positive_row", "score")


@dataclass(frozen=True)
class Relabelled:
    """The promoted pairs, part by part as judged is."""

    promoted: Source
    known: Known | None  # with the promoted pairs as its only judgements; None where there are none

    @classmethod
    def of(cls, inputs: Inputs) -> Relabelled:
        """From `promoted`, and the text hashes of queries and corpus where something was promoted.

        Raises ArtefactError when judged and promoted do not have the same number of parts.
        """
        promoted = inputs["promoted"]
        if len(promoted.parts) != len(inputs["judged"].parts):
            raise ArtefactError(
                "judged and promoted do not belong together",
                got=f"{len(inputs['judged'].parts)} parts and {len(promoted.parts)} parts",
                try_="judge again",
            )
        if not promoted.rows:
            return cls(promoted, None)
        pairs = promoted.read(["query_row", "doc_row"])
        query, document = (column.to_numpy() for column in pairs.columns)
        hashes = [inputs[name].read(["text_hash"])["text_hash"].to_numpy() for name in ("queries", "corpus")]
        return cls(promoted, Known.of(hashes[0], hashes[1], query, document, np.ones(len(query), np.int32)))

    def free(self, kept: pa.Table) -> pa.Table:
        """Without the rows whose document, or a copy of it, was promoted for a query with the same text."""
        if self.known is None:
            return kept
        known = self.known
        query, document = known.query_text[kept["query_row"].to_numpy()], known.doc_text[kept["doc_row"].to_numpy()]
        return kept.filter(pa.array(np.isnan(known.positives(query * known.texts + document))))

    def joined(
        self, index: int, held: pa.Table, judged: pa.Table, kept: pa.Table, comparison: str
    ) -> tuple[pa.Table, pa.Table]:
        """The positives of a part with the promoted ones among them, and the kept rows of all of them, in order.

        `held` has the columns `HELD`; `judged` are all rows of the part, and `kept` those of them that may be sampled.
        """
        if self.known is None:
            return held, kept
        pairs = self.promoted.read(["query_row", "doc_row"], part=self.promoted.parts[index])
        query, document = (column.to_numpy() for column in pairs.columns)
        if not len(query):
            return held, kept
        keys, first = np.unique(_keys(judged["query_row"], judged["doc_row"]), return_index=True)
        place = first[np.minimum(np.searchsorted(keys, (query.astype(np.int64) << 32) | document), len(keys) - 1)]
        columns = [query, document, judged["score"].to_numpy()[place]]
        fields = pa.schema([POSITIVES.field(name) for name in HELD])
        added = pa.Table.from_arrays([pa.array(column) for column in columns], schema=fields)
        if comparison == "per_positive":
            kept = _ordered(pa.concat_tables([kept, _for_every(kept, held, query, document)]))
        return _ordered(pa.concat_tables([held.cast(fields), added])), kept


def _for_every(kept: pa.Table, held: pa.Table, query: np.ndarray, document: np.ndarray) -> pa.Table:
    """Rows for the positives `document` (p,) of `query` (p,), ascending: what is kept for every positive of the query."""
    _, first, counts = np.unique(_keys(kept["query_row"], kept["doc_row"]), return_index=True, return_counts=True)
    owners = held["query_row"].to_numpy()
    found = kept["query_row"].to_numpy()[first]
    positives = np.searchsorted(owners, found, "right") - np.searchsorted(owners, found, "left")
    rows = np.sort(first[counts == positives])  # by query and rank: all of these stand at the query's first positive
    found = kept["query_row"].to_numpy()[rows]
    starts = np.searchsorted(found, query, "left")
    sizes = np.searchsorted(found, query, "right") - starts
    places, pair = spread(starts, sizes)
    taken = kept.take(pa.array(rows[places]))
    at = taken.schema.get_field_index("positive_row")
    return taken.set_column(at, taken.schema.field(at), pa.array(document[pair], pa.int32()))


def _ordered(table: pa.Table) -> pa.Table:
    """By query_row and positive_row, which keeps the order of the ranks."""
    order = np.lexsort((numbers(table["positive_row"], -1), table["query_row"].to_numpy()))
    return table.take(pa.array(order))


def _keys(query: pa.ChunkedArray, document: pa.ChunkedArray) -> np.ndarray:
    keys: np.ndarray = (query.to_numpy().astype(np.int64) << 32) | document.to_numpy()
    return keys


def with_relabelled(qrels: pa.Table, promoted: pa.Table) -> pa.Table:
    """The qrels and the promoted pairs, relevance 1 and source `relabelled`, in the split of the query's own judgements.

    A query that was mined has a positive, so its split is known.
    """
    if not promoted.num_rows:
        return qrels
    rows, first = np.unique(qrels["query_row"].to_numpy(), return_index=True)
    place = first[np.searchsorted(rows, promoted["query_row"].to_numpy())]
    columns = {
        "query_row": promoted["query_row"],
        "doc_row": promoted["doc_row"],
        "relevance": pa.array(np.ones(len(place), np.int32)),
        "split": qrels["split"].take(pa.array(place)),
        "source": promoted["source"],
    }
    fields = pa.schema([QRELS.field(name) for name in qrels.column_names])
    added = pa.Table.from_arrays([columns[name] for name in qrels.column_names], schema=fields)
    return pa.concat_tables([qrels.cast(fields), added])
