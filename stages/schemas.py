"""Every table: its columns, their units, and the order of its rows.

`row` is the position of a document or a query in its table, and it is the id inside FAISS. Joins inside the pipeline
are by row; people and exports see the string ids. Scores are inner products of the stored vectors in float64, so that
thresholds and ties do not hang on the rounding of a search.
"""

from __future__ import annotations

import pyarrow as pa

ROW = pa.int32()
NAME = pa.dictionary(pa.int32(), pa.string())


def _field(name: str, kind: pa.DataType, says: str, *, null: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=null, metadata={"says": says})


CORPUS = pa.schema(
    [
        _field("row", ROW, "position in this table"),
        _field("doc_id", pa.large_string(), "the document's id as it was given"),
        _field("title", pa.large_string(), "encoded in front of the text", null=True),
        _field("text", pa.large_string(), "what is encoded"),
        _field("group", pa.large_string(), "parent or source, as the data set gives it", null=True),
        _field("label", pa.large_string(), "class, for what is measured by classes: neighbours, a probe", null=True),
        _field(
            "picture",
            ROW,
            "row in pictures; null: the text is encoded, else the picture, and text is its caption",
            null=True,
        ),
        _field(
            "text_hash",
            pa.int64(),
            "hash of the normalised title and text, or of the picture's pixels: equal hash, same document",
        ),
    ]
)  # ordered by row

QUERIES = pa.schema(
    [
        _field("row", ROW, "position in this table"),
        _field("query_id", pa.large_string(), "the query's id as it was given"),
        _field("text", pa.large_string(), "what is encoded"),
        _field("split", pa.string(), "train, dev or test"),
        _field("prompt", pa.large_string(), "an instruction in front of this query alone", null=True),
        _field("source", pa.string(), "given, title, crop, same_text, synthetic or human"),
        _field(
            "picture",
            ROW,
            "row in pictures; null: the text is encoded, else the picture, and text is its caption",
            null=True,
        ),
        _field("text_hash", pa.int64(), "hash of the normalised text, or of the picture's pixels"),
    ]
)  # ordered by row

PICTURES = pa.schema(
    [
        _field("row", ROW, "position in this table"),
        _field("image", pa.large_binary(), "encoded bytes, which were decoded whole once"),
        _field("format", pa.string(), "PNG, JPEG, WEBP, GIF, BMP or TIFF"),
        _field("width", pa.int32(), "pixels"),
        _field("height", pa.int32(), "pixels"),
        _field("pixels", pa.int64(), "hash of size and RGB pixels: equal hash, same picture"),
    ]
)  # ordered by row; equal bytes are one row; empty when documents and queries are texts

QRELS = pa.schema(
    [
        _field("query_row", ROW, "row in queries"),
        _field("doc_row", ROW, "row in corpus"),
        _field("relevance", pa.int32(), "above 0 is relevant; 0 and below are judged, not relevant"),
        _field("split", pa.string(), "split of the query"),
        _field("source", pa.string(), "given, title, crop, same_text, synthetic, relabelled or human"),
    ]
)  # ordered by (query_row, doc_row)

REJECTS = pa.schema(
    [
        _field("table", pa.string(), "corpus, queries or qrels"),
        _field("file", pa.large_string(), "file of the input"),
        _field("line", pa.int64(), "line or row in it, from 1", null=True),
        _field("column", pa.string(), "column or key", null=True),
        _field("id", pa.large_string(), "id of the row, where it could be read", null=True),
        _field("reason", pa.large_string(), "what is wrong"),
        _field("mend", pa.large_string(), "how to mend it"),
    ]
)  # in the order of reading


STORAGE = {"float32": pa.float32(), "float16": pa.float16(), "int8": pa.int8()}
"""Types of a stored value, by name."""


def vectors(dimensions: int, storage: str = "float32") -> pa.Schema:
    """Vectors of one role: `row` and `vector`, a fixed-size list of `dimensions` values, ordered by row.

    int8 values are to be multiplied by the row's `scale`. Embed adds `KEYED`, where the encoder tells what it read.
    """
    value = pa.field("item", STORAGE[storage], nullable=False)
    scale = [_field("scale", pa.float32(), "what the values are multiplied by")] if storage == "int8" else []
    return pa.schema(
        [
            _field("row", ROW, "row in corpus or in queries"),
            pa.field("vector", pa.list_(value, dimensions), nullable=False),
            *scale,
        ]
    )


KEYED = (
    _field("key", pa.binary(16), "hash of the prompt and the text, or of the picture, that were encoded"),
    _field("truncated", pa.bool_(), "the text is longer than the model reads"),
)

POSITIVES = pa.schema(
    [
        _field("query_row", ROW, "row in queries"),
        _field("positive_row", ROW, "row in corpus"),
        _field(
            "score", pa.float64(), "inner product with the query, computed directly; null when it cannot be", null=True
        ),
        _field("rank", pa.int32(), "rank among the candidates from 1; null when it is not among them", null=True),
    ]
)  # ordered by (query_row, positive_row)

FOUND_BY = pa.list_(
    pa.field(
        "item",
        pa.struct(
            [
                pa.field("retriever", NAME, nullable=False),
                pa.field("rank", pa.int32(), nullable=False),
                pa.field("score", pa.float64(), nullable=False),
            ]
        ),
        nullable=False,
    )
)

CANDIDATES = pa.schema(
    [
        _field("query_row", ROW, "row in queries"),
        _field("doc_row", ROW, "row in corpus"),
        _field("rank", pa.int32(), "from 1, over all documents found, positives included"),
        _field("score", pa.float64(), "inner product with the query"),
        _field("retriever", NAME, "what ranked it: a retriever, or the fusion of several"),
        _field(
            "found_by",
            FOUND_BY,
            "rank from 1 and own score at each retriever that found it; null when dense, whose rank and score are the row's, searched alone",
            null=True,
        ),
    ]
)  # ordered by (query_row, rank); what ranks equal by doc_row

TEACHER_SCORES = pa.schema(
    [
        _field("query_row", ROW, "row in queries"),
        _field("doc_row", ROW, "row in corpus: a candidate up to the depth, or a positive"),
        _field("teacher", NAME, "the teacher's label"),
        _field(
            "score", pa.float64(), "the teacher's score, higher is more relevant; null where it gave none", null=True
        ),
    ]
)  # ordered by (teacher as configured, query_row, doc_row)

EVIDENCE = pa.struct(
    [
        pa.field("rule", NAME, nullable=False),
        pa.field("value", pa.float64()),
        pa.field("limit", pa.float64()),
    ]
)

JUDGED = pa.schema(
    [
        *CANDIDATES,
        _field(
            "positive_row",
            ROW,
            "the positive that the score is held against; null when the least one is not known",
            null=True,
        ),
        _field("positive_score", pa.float64(), "score of that positive", null=True),
        _field("teacher_score", pa.float64(), "score by the first teacher; null where it gave none", null=True),
        _field("verdict", NAME, "kept, or the first filter that drops the candidate"),
        _field(
            "evidence", EVIDENCE, "numbers of the filter that decided: the first that drops, else the last one passed"
        ),
    ]
)  # ordered by (query_row, rank), with comparison = "per_positive" by (query_row, positive_row, rank)

PROMOTED = pa.schema(
    [
        _field("query_row", ROW, "row in queries"),
        _field("doc_row", ROW, "row in corpus: a false negative that is taken for a positive"),
        _field("teacher", NAME, "the teacher whose score says so"),
        _field("score", pa.float64(), "its score"),
        _field("rule", NAME, "the filter that dropped the candidate and calls it relevant"),
        _field("source", pa.string(), "relabelled, as in qrels"),
    ]
)  # ordered by (query_row, doc_row)

TRIPLETS = pa.schema(
    [
        _field("query_row", ROW, "row in queries"),
        _field("positive_row", ROW, "row in corpus"),
        _field("negative_row", ROW, "row in corpus"),
        _field("positive_score", pa.float64(), "score of this positive", null=True),
        _field("negative_score", pa.float64(), "score of this negative"),
        _field("rank", pa.int32(), "the negative's rank among the candidates"),
        _field("sampler", NAME, "what chose it"),
        _field("seed", pa.int64(), "seed of the choice"),
        _field("round", pa.int32(), "round whose model found it"),
    ]
)  # ordered by (query_row, positive_row, order of choice)

SHORTFALL = pa.schema(
    [
        _field("query_row", ROW, "row in queries"),
        _field("positive_row", ROW, "row in corpus"),
        _field("wanted", pa.int32(), "negatives asked for"),
        _field("got", pa.int32(), "negatives that survived"),
    ]
)  # pairs with got < wanted only, ordered by (query_row, positive_row)

ESTIMATES = pa.schema(
    [
        _field("round", pa.int32(), "round whose model found the candidates"),
        _field("estimator", NAME, "hidden_positive, or the proxy hierarchy: relatives of positives"),
        _field("filter", NAME, "a filter alone, or all of them"),
        _field("band", NAME, "overall, rank, or gap: (p - s)/|p|, how far a score s is below the positive's p"),
        _field("lower", pa.float64(), "lowest value of the band; null is open", null=True),
        _field("upper", pa.float64(), "first value above the band; null is open", null=True),
        _field("queries", pa.int64(), "different queries with a relevant candidate that the judge does not know"),
        _field("hidden", pa.int64(), "relevant candidates that the judge does not know"),
        _field("leaked", pa.int64(), "of those, kept as negatives"),
        _field("rate", pa.float64(), "leaked / hidden", null=True),
        _field("low", pa.float64(), "95% interval of the rate, lower end", null=True),
        _field("high", pa.float64(), "95% interval of the rate, upper end", null=True),
        _field(
            "unjudged", pa.int64(), "candidates of which it is not known whether they are relevant; none for hierarchy"
        ),
        _field("unjudged_dropped", pa.int64(), "of those, thrown away"),
        _field("negatives", pa.int64(), "candidates known to be not relevant; for hierarchy, those without relation"),
        _field("negatives_dropped", pa.int64(), "of those, thrown away"),
        _field(
            "false_negatives",
            pa.float64(),
            "estimated share of the kept that is relevant; for hierarchy, of relatives",
            null=True,
        ),
        _field("false_negatives_at_most", pa.float64(), "upper bound of that share", null=True),
    ]
)  # ordered by estimator, filter in the order of judging with all at the end, band, lower

HITS = pa.schema(
    [
        _field("system", NAME, "dense or bm25"),
        _field("query_row", ROW, "row in queries"),
        _field("doc_row", ROW, "row in corpus"),
        _field("rank", pa.int32(), "from 1"),
        _field("score", pa.float64(), "the system's own score"),
    ]
)  # ordered by (system, query_row, rank)

METRICS = pa.schema(
    [
        _field("round", pa.int32(), "round of the model"),
        _field("collection", NAME, "name of a guard; null is the collection that is trained on", null=True),
        _field(
            "system", NAME, "dense or bm25; with a direction behind it where texts and pictures look for each other"
        ),
        _field("split", NAME, "split of the queries"),
        _field("measure", NAME, "nDCG, MRR, Recall or MAP"),
        _field("cutoff", pa.int32(), "depth; null is the whole run", null=True),
        _field("query_row", ROW, "null is the mean over queries; of a guard, row in guard_queries", null=True),
        _field("value", pa.float64(), "0 to 1"),
        _field("low", pa.float64(), "95% interval of a mean, lower end", null=True),
        _field("high", pa.float64(), "95% interval of a mean, upper end", null=True),
    ]
)

COMPARISONS = pa.schema(
    [
        _field("round", pa.int32(), "round of the model"),
        _field("collection", NAME, "name of a guard; null is the collection that is trained on", null=True),
        _field("against_round", pa.int32(), "round that it is compared with"),
        _field("against_system", NAME, "dense or bm25"),
        _field("split", NAME, "split of the queries"),
        _field("measure", NAME, "nDCG, MRR, Recall or MAP"),
        _field("cutoff", pa.int32(), "depth; null is the whole run", null=True),
        _field("difference", pa.float64(), "mean over queries of this minus that"),
        _field("low", pa.float64(), "95% interval, lower end"),
        _field("high", pa.float64(), "95% interval, upper end"),
        _field("p_value", pa.float64(), "two-sided paired randomisation test"),
        _field("queries", pa.int32(), "queries compared"),
    ]
)

GUARD_QUERIES = pa.schema(
    [
        _field("collection", NAME, "name of the guard"),
        _field("row", ROW, "position among the queries of this guard that are measured"),
        _field("query_id", pa.large_string(), "the query's id as it was given"),
        _field("text", pa.large_string(), "what is encoded"),
    ]
)  # ordered by row, one guard after the other

TRAINING_LOG = pa.schema(
    [
        _field("step", pa.int32(), "optimizer step, from 1"),
        _field("epoch", pa.float64(), "epochs done"),
        _field("loss", pa.float64(), "mean over the steps since the last row"),
        _field("learning_rate", pa.float64(), "after this step"),
        _field("masked", pa.float64(), "share of negatives masked as known positives, or by a guide"),
    ]
)  # ordered by step

COMPARE = pa.schema(
    [
        _field("arm", pa.string(), "way to come by negatives"),
        _field("split", pa.string(), "split of the queries"),
        _field("measure", pa.string(), "nDCG, MRR, Recall or MAP"),
        _field("cutoff", pa.int32(), "depth; null is the whole run", null=True),
        _field("value", pa.float64(), "mean over seeds and queries, 0 to 1"),
        _field("low", pa.float64(), "95% interval over seeds and queries, lower end"),
        _field("high", pa.float64(), "95% interval over seeds and queries, upper end"),
        *(
            _field(f"{against}_{name}", pa.float64(), f"{says}, against the arm {against}", null=True)
            for against in ("in_batch", "ours")
            for name, says in (
                ("difference", "mean of this minus that"),
                ("low", "95% interval of the difference over seeds and queries, lower end"),
                ("high", "95% interval of the difference over seeds and queries, upper end"),
                ("p_value", "two-sided randomisation test, paired by query, on means over seeds"),
            )
        ),
        _field("queries", pa.int32(), "queries measured"),
        _field("seeds", pa.int32(), "seeds trained"),
        _field("steps", pa.int32(), "optimizer steps of a seed, over all rounds"),
        _field("negatives", pa.float64(), "mined negatives trained on in the last round, mean over seeds"),
        _field("queries_without", pa.float64(), "training queries without one of these, mean over seeds"),
        _field("leak_rate", pa.float64(), "hidden positives that the arm's filters keep; null: not known", null=True),
        _field("leak_low", pa.float64(), "95% interval of that share, lower end", null=True),
        _field("leak_high", pa.float64(), "95% interval of that share, upper end", null=True),
        _field(
            "false_negatives", pa.float64(), "estimated share of its kept that is relevant; null: not known", null=True
        ),
        _field(
            "relatives",
            pa.float64(),
            "share of its negatives above or below a positive in the hierarchy; null: there is none",
            null=True,
        ),
        _field("train_minutes", pa.float64(), "training, mean over seeds"),
        _field("minutes", pa.float64(), "all that the arm needs, shared or not, mean over seeds"),
    ]
)  # by arm as listed, split, measure

DEV_CURVE = pa.schema(
    [
        _field("step", pa.int32(), "optimizer steps done; 0 is before the training"),
        _field("epoch", pa.float64(), "epochs done"),
        _field("ndcg", pa.float64(), "mean nDCG@10 over the queries of the split dev, 0 to 1"),
    ]
)  # ordered by step; empty when nothing is measured while training

TABLES: dict[str, pa.Schema] = {
    "corpus": CORPUS,
    "queries": QUERIES,
    "qrels": QRELS,
    "pictures": PICTURES,
    "rejects": REJECTS,
    "positives": POSITIVES,
    "candidates": CANDIDATES,
    "teacher_scores": TEACHER_SCORES,
    "judged": JUDGED,
    "deepened": JUDGED,
    "promoted": PROMOTED,
    "triplets": TRIPLETS,
    "shortfall": SHORTFALL,
    "estimates": ESTIMATES,
    "hits": HITS,
    "metrics": METRICS,
    "comparisons": COMPARISONS,
    "guard_metrics": METRICS,
    "guard_comparisons": COMPARISONS,
    "guard_queries": GUARD_QUERIES,
    "training_log": TRAINING_LOG,
    "compare": COMPARE,
    "dev_curve": DEV_CURVE,
}
"""Tables with a fixed schema; `corpus_vectors` and `query_vectors` follow `vectors(dimensions)`."""
