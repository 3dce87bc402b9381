"""What can be wrong with mined data, counted: each check is one query with a limit, and examples of what it found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.looking.one import rows, views
from pipeline.views import encoded
from stages.errors import ArtefactError, ConfigError, suggestion

SHOWN = 3


@dataclass(frozen=True)
class Check:
    """One thing that is counted. `sql` gives a row for each case, `limit` is what is allowed by default; None is any number.

    `measure` makes the number from the cases; without it their number counts.
    """

    name: str
    says: str
    needs: tuple[str, ...]
    sql: str
    limit: float | None = None
    measure: str = "count(*)"


@dataclass(frozen=True)
class Finding:
    """What a check found: its number, the limit it was held to, and the first cases."""

    name: str
    says: str
    value: float | None
    limit: float | None
    examples: list[dict[str, Any]] = field(default_factory=list)

    @property
    def beyond(self) -> bool:
        return self.limit is not None and self.value is not None and not self.value <= self.limit


_WORDS = r"list_distinct(regexp_extract_all(lower({}), '[\p{{L}}\p{{M}}\p{{N}}]+'))"


def _words(alias: str) -> str:
    return _WORDS.format(encoded(alias))


_FINITE = " UNION ALL ".join(
    f"SELECT '{table}' AS \"table\", round, query_row, {document} AS doc_row, {column} AS score FROM {table} "
    f"WHERE NOT isfinite({column})"
    for table, document, column in (
        ("judged", "doc_row", "score"),
        ("positives", "positive_row", "score"),
        ("triplet_rows", "negative_row", "negative_score"),
        ("triplet_rows", "negative_row", "positive_score"),
    )
)

CHECKS = (
    Check(
        "known_positives",
        "triplets whose negative is relevant to the query, or to one with the same text",
        ("triplet_rows", "queries", "qrels", "corpus"),
        """SELECT DISTINCT t.round, q.query_id, d.doc_id AS negative_id, r.source FROM triplet_rows t
        JOIN queries q ON q.row = t.query_row JOIN queries s ON s.text_hash = q.text_hash
        JOIN qrels r ON r.query_row = s.row AND r.doc_row = t.negative_row AND r.relevance > 0
        JOIN corpus d ON d.row = t.negative_row ORDER BY ALL""",
        0,
    ),
    Check(
        "same_text_as_positive",
        "triplets whose negative is another document with the text of a positive, or has the query's own",
        ("triplet_rows", "queries", "qrels", "corpus"),
        """SELECT DISTINCT t.round, q.query_id, d.doc_id AS negative_id FROM triplet_rows t
        JOIN queries q ON q.row = t.query_row JOIN corpus d ON d.row = t.negative_row
        WHERE d.text_hash = q.text_hash OR EXISTS (
            SELECT 1 FROM qrels r JOIN corpus p ON p.row = r.doc_row
            WHERE r.query_row = t.query_row AND r.relevance > 0 AND p.text_hash = d.text_hash AND p.row <> d.row
        ) ORDER BY ALL""",
        0,
    ),
    Check(
        "repeated_triplets",
        "triplets that stand there more than once",
        ("triplet_rows", "queries", "corpus"),
        """SELECT t.round, q.query_id, p.doc_id AS positive_id, n.doc_id AS negative_id, count(*) AS times
        FROM triplet_rows t JOIN queries q ON q.row = t.query_row JOIN corpus p ON p.row = t.positive_row
        JOIN corpus n ON n.row = t.negative_row GROUP BY ALL HAVING count(*) > 1 ORDER BY ALL""",
        0,
    ),
    Check(
        "not_kept",
        "triplets whose negative is no kept candidate of the query",
        ("triplet_rows", "judged", "queries", "corpus"),
        """SELECT DISTINCT t.round, q.query_id, d.doc_id AS negative_id FROM triplet_rows t
        JOIN queries q ON q.row = t.query_row JOIN corpus d ON d.row = t.negative_row
        WHERE NOT EXISTS (SELECT 1 FROM judged j WHERE j.round = t.round AND j.query_row = t.query_row
            AND j.doc_row = t.negative_row AND j.verdict = 'kept') ORDER BY ALL""",
        0,
    ),
    Check(
        "not_finite",
        "scores of candidates, positives and triplets that are not a number, or infinite",
        ("triplet_rows", "judged", "positives", "queries", "corpus"),
        f"""SELECT f."table", f.round, q.query_id, d.doc_id, f.score FROM ({_FINITE}) f
        JOIN queries q ON q.row = f.query_row JOIN corpus d ON d.row = f.doc_row ORDER BY ALL""",
        0,
    ),
    Check(
        "counts",
        "queries of which not every candidate was judged, or one that was not found",
        ("candidates", "judged", "queries"),
        """WITH mined AS (SELECT round, query_row, count(DISTINCT doc_row) AS mined, max(rank) AS depth FROM candidates GROUP BY ALL),
        told AS (
            SELECT j.round, j.query_row, count(DISTINCT j.doc_row) AS judged FROM judged j
            LEFT JOIN mined m ON m.round = j.round AND m.query_row = j.query_row
            WHERE j.rank <= coalesce(m.depth, 0) GROUP BY ALL
        )
        SELECT m.round, q.query_id, m.mined, coalesce(t.judged, 0) AS judged FROM mined m
        LEFT JOIN told t ON t.round = m.round AND t.query_row = m.query_row JOIN queries q ON q.row = m.query_row
        WHERE m.mined <> coalesce(t.judged, 0) ORDER BY ALL""",
        0,
    ),
    Check(
        "leaked_queries",
        "queries of train whose text is also a query of dev or test",
        ("queries",),
        """SELECT a.query_id, a.text, b.query_id AS other_id, b.split FROM queries a JOIN queries b ON b.text_hash = a.text_hash
        WHERE a.split = 'train' AND b.split <> 'train' ORDER BY ALL""",
        0,
        "count(DISTINCT query_id)",
    ),
    Check(
        "leaked_positives",
        "documents that are relevant to a query of train and to one of dev or test",
        ("qrels", "corpus"),
        """SELECT d.doc_id, count(DISTINCT r.query_row) FILTER (r.split = 'train') AS train_queries,
            count(DISTINCT r.query_row) FILTER (r.split <> 'train') AS other_queries
        FROM qrels r JOIN corpus d ON d.row = r.doc_row WHERE r.relevance > 0 GROUP BY d.doc_id
        HAVING count(*) FILTER (r.split = 'train') > 0 AND count(*) FILTER (r.split <> 'train') > 0
        ORDER BY other_queries DESC, d.doc_id""",
    ),
    Check(
        "duplicates",
        "documents with the text of another one",
        ("corpus",),
        """SELECT doc_id, first(doc_id) OVER (PARTITION BY text_hash ORDER BY row) AS first_id FROM corpus
        QUALIFY row_number() OVER (PARTITION BY text_hash ORDER BY row) > 1 ORDER BY row""",
    ),
    Check(
        "near_duplicates",
        "negatives that have at least the share --near of their words in common with a positive of the triplet (Jaccard)",
        ("triplet_rows", "queries", "corpus"),
        f"""WITH pairs AS (SELECT DISTINCT round, query_row, positive_row, negative_row FROM triplet_rows),
        words AS (
            SELECT row, doc_id, {_words("c")} AS words FROM corpus c
            WHERE row IN (SELECT positive_row FROM pairs UNION SELECT negative_row FROM pairs)
        ),
        compared AS (
            SELECT t.round, t.query_row, n.doc_id AS negative_id, p.doc_id AS positive_id,
                len(list_intersect(n.words, p.words)) AS common, len(n.words) + len(p.words) AS total
            FROM pairs t JOIN words n ON n.row = t.negative_row JOIN words p ON p.row = t.positive_row
        )
        SELECT c.round, q.query_id, c.negative_id, c.positive_id, common / nullif(total - common, 0) AS overlap
        FROM compared c JOIN queries q ON q.row = c.query_row WHERE common >= $near * (total - common) AND common > 0
        ORDER BY overlap DESC, c.round, q.row, c.negative_id, c.positive_id""",
    ),
    Check(
        "hub_share",
        "the largest share of a round's queries that have one document among their sampled negatives",
        ("triplet_rows", "corpus"),
        """WITH asked AS (SELECT round, count(DISTINCT query_row) AS queries FROM triplet_rows GROUP BY round)
        SELECT t.round, d.doc_id, count(DISTINCT t.query_row) AS queries, count(DISTINCT t.query_row) / a.queries AS share
        FROM triplet_rows t JOIN asked a USING (round) JOIN corpus d ON d.row = t.negative_row
        GROUP BY t.round, d.doc_id, a.queries ORDER BY share DESC, t.round, d.doc_id""",
        None,
        "max(share)",
    ),
    Check(
        "short_pairs",
        "share of the pairs of query and positive that got fewer negatives than was asked for",
        ("triplet_rows", "shortfall", "positives", "queries", "corpus"),
        """SELECT s.round, q.query_id, d.doc_id AS positive_id, s.wanted, s.got,
            1 / (SELECT count(*) FROM positives WHERE round IN (SELECT round FROM triplet_rows)) AS share
        FROM shortfall s JOIN queries q ON q.row = s.query_row JOIN corpus d ON d.row = s.positive_row
        ORDER BY s.got, s.round, q.row, d.row""",
        None,
        "coalesce(sum(share), 0)",
    ),
    Check(
        "imbalance",
        "negatives of the query of a round that has the most, over their median: 1 is balance",
        ("triplet_rows", "queries"),
        """WITH counted AS (SELECT round, query_row, count(*) AS negatives FROM triplet_rows GROUP BY ALL)
        SELECT c.round, q.query_id, c.negatives, c.negatives / (median(c.negatives) OVER (PARTITION BY c.round)) AS ratio
        FROM counted c JOIN queries q ON q.row = c.query_row ORDER BY ratio DESC, c.round, q.row""",
        None,
        "max(ratio)",
    ),
    Check(
        "queries_without",
        "queries that were mined and have no triplet",
        ("triplet_rows", "positives", "queries"),
        """SELECT p.round, q.query_id, q.text FROM (SELECT DISTINCT round, query_row FROM positives) p
        JOIN queries q ON q.row = p.query_row
        WHERE p.round IN (SELECT round FROM triplet_rows)
            AND NOT EXISTS (SELECT 1 FROM triplet_rows t WHERE t.round = p.round AND t.query_row = p.query_row)
        ORDER BY p.round, q.row""",
    ),
)


def limits(given: Sequence[str]) -> dict[str, float]:
    """Limits from `NAME=NUMBER`, beside the default ones. Raises ConfigError for an unknown name or no number."""
    found = {check.name: check.limit for check in CHECKS if check.limit is not None}
    for one in given:
        name, equals, number = one.partition("=")
        name = name.strip().replace("-", "_")
        if name not in {check.name for check in CHECKS}:
            raise ConfigError(f"no check {name!r}", try_=suggestion(name, [check.name for check in CHECKS]))
        try:
            found[name] = float(number) if equals else float("nan")
        except ValueError:
            found[name] = float("nan")
        if not found[name] >= 0:
            raise ConfigError(f"the limit of {name} is a number from 0", got=repr(number), try_=f"--max {name}=10")
    return found


def audit(connection: Any, allowed: Mapping[str, float], near: float) -> tuple[list[Finding], list[str]]:
    """Every check whose tables are there, and the names of the others. Raises ArtefactError where nothing can be checked.

    `near` is the share of words in common from which two documents are near-duplicates.
    """
    present = views(connection)
    found, left = [], []
    for check in CHECKS:
        if not present.issuperset(check.needs):
            left.append(check.name)
            continue
        given = {"near": near} if "$near" in check.sql else {}
        connection.execute(f"CREATE OR REPLACE TEMP TABLE cases AS {check.sql}", given)
        (value,) = connection.execute(f"SELECT {check.measure} FROM cases").fetchone()
        examples = rows(connection, f"FROM cases LIMIT {SHOWN}")
        found.append(Finding(check.name, check.says, value, allowed.get(check.name), examples))
    if not found:
        raise ArtefactError("there is nothing to audit yet", try_="hardrock sample")
    return found, left
