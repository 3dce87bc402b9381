"""What trec_eval sees of a search: measures of each query, and the run as a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

ESCAPED = r"[\pZ\pC%]"
"""What an id of a run may not hold, as RE2 says it: white space, control characters, and the sign that escapes them."""

_BLOCK = 1 << 18
"""Lines of a run put together at a time."""


class Measure(NamedTuple):
    name: str
    """nDCG, MRR, Recall or MAP; and kNN or Probe, which no run says."""
    cutoff: int | None
    """Depth; None is the whole run."""

    def __str__(self) -> str:
        return self.name if self.cutoff is None else f"{self.name}@{self.cutoff}"


def falling(scores: np.ndarray) -> np.ndarray:
    """Scores that say the order of the ranks and nothing else, to the bit, in float32.

    trec_eval reads scores as float32, ignores ranks and breaks ties by id. Here a score that does not fall below the one
    before it is moved to the next smaller float32, so that the order that came in is the order that trec_eval takes.

    scores: float64 (m, k), not rising along a row; -inf where there is no hit. Returns float32 (m, k).
    """
    result = scores.astype(np.float32)
    for rank in range(1, result.shape[1]):
        below = np.nextafter(result[:, rank - 1], np.float32(-np.inf))
        np.minimum(result[:, rank], below, out=result[:, rank])
    return result


def measure(
    rows: np.ndarray, scores: np.ndarray, relevant: Sequence[Mapping[int, int]], measures: Sequence[Measure]
) -> np.ndarray:
    """The measures of each query, by trec_eval.

    nDCG takes the relevance as gain and log2(rank + 1) as discount (Järvelin and Kekäläinen 2002, as in trec_eval).

    rows: int32 (m, k) documents by rank, -1 where there is no hit; scores: float32 (m, k) as `falling` gives them;
    relevant: for each query its relevant documents and their relevance, all above 0. Returns float64 (m, len(measures)).
    """
    import ir_measures

    asked = {m: _trec_measure(m) for m in measures}
    qrels = {str(i): {str(doc): gain for doc, gain in gains.items()} for i, gains in enumerate(relevant)}
    run = {
        str(i): {str(doc): score for doc, score in zip(rows[i, :hits].tolist(), scores[i, :hits].tolist(), strict=True)}
        for i, hits in enumerate((rows >= 0).sum(axis=1).tolist())
    }
    found: dict[object, np.ndarray] = {name: np.zeros(len(rows)) for name in asked.values()}
    for metric in ir_measures.pytrec_eval.evaluator(list(found), qrels).iter_calc(run):
        found[metric.measure][int(metric.query_id)] = metric.value
    columns = [found[asked[m]] for m in measures]
    for i, m in enumerate(measures):
        if m.name == "MRR" and m.cutoff is not None:
            # trec_eval has no cutoff for the reciprocal rank; 1 / rank tells the rank.
            columns[i] = np.where(columns[i] * (m.cutoff + 0.5) > 1, columns[i], 0.0)
    return np.stack(columns, axis=1)


def _trec_measure(measure: Measure) -> object:
    import ir_measures

    if measure.name == "MRR":
        return ir_measures.RR
    kind = {"nDCG": ir_measures.nDCG, "Recall": ir_measures.R, "MAP": ir_measures.AP}[measure.name]
    return kind if measure.cutoff is None else kind @ measure.cutoff


def escaped(ids: pa.Array) -> tuple[pa.Array, int]:
    """Ids as a run can hold them, white space, control characters and % percent-encoded as UTF-8; and how many changed."""
    odd = pc.match_substring_regex(ids, ESCAPED)
    changed = pa.array([_escape(value) for value in ids.filter(odd).to_pylist()], ids.type)
    return pc.replace_with_mask(ids, odd, changed), len(changed)


def _escape(value: str) -> str:
    return "".join(quote(c, safe="") if c == "%" or c.isspace() or not c.isprintable() else c for c in value)


def run_lines(
    query_ids: pa.Array, doc_ids: pa.Array, rows: np.ndarray, scores: np.ndarray, tag: str
) -> Iterator[bytes]:
    """A TREC run, `qid Q0 docid rank score tag` a line, in pieces.

    query_ids (m,) and doc_ids, which rows index, are escaped; rows int32 (m, k) and scores float32 (m, k) as in `measure`.
    """
    m, k = rows.shape
    step = max(1, _BLOCK // max(1, k))
    for start in range(0, m, step):
        block = rows[start : start + step]
        query, rank = np.nonzero(block >= 0)
        if not len(query):
            continue
        columns = [
            query_ids.take(pa.array(query + start)),
            _text("Q0"),
            doc_ids.take(pa.array(block[query, rank])),
            pa.array(rank + 1).cast(pa.large_string()),
            pa.array(scores[start : start + step][query, rank]).cast(pa.large_string()),
            _text(tag),
        ]
        lines = pc.binary_join_element_wise(*columns, _text(" "))
        yield ("\n".join(lines.to_pylist()) + "\n").encode()


def _text(value: str) -> pa.Scalar:
    return pa.scalar(value, pa.large_string())
