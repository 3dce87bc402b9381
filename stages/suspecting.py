"""Likely false negatives among what the filters kept, as SQL that the catalog and the report share: a reason to look, not a verdict.

The tables are those of stages/schemas.py with a column `round`, the corpus and qrels without one.
"""

from __future__ import annotations

SIGNS = {
    "teacher": "a teacher scores it at least as high as the query's least positive",
    "shared query": "another query has it and a positive of this query among its positives",
    "wording": "half of its words or more are those of a positive",
    "near": "its score lies at most 10% below the positive's",
}
"""What speaks against a kept candidate."""

POOL = 20_000
"""Kept candidates of a round that are looked at: those nearest to their positives."""


def chosen(pool: str) -> str:
    """SQL for the rows of `judged` that are looked at, with their `gap`: each kept candidate once, against its nearest positive."""
    return f"""
        SELECT * FROM (
            SELECT *, (positive_score - score) / nullif(abs(positive_score), 0) AS gap FROM judged WHERE verdict = 'kept'
            QUALIFY row_number() OVER (PARTITION BY round, query_row, doc_row ORDER BY gap NULLS LAST, positive_row) = 1
        )
        QUALIFY row_number() OVER (PARTITION BY round ORDER BY gap NULLS LAST, query_row, doc_row) <= {pool}"""


def signed(text: str) -> str:
    """SQL for named queries that end in `signed`: the rows of `chosen` with a list of signs and the positive with the likest words.

    `text` is SQL for what is encoded of a document `c`.
    """
    return f"""
        words AS (
            SELECT row, list_distinct(regexp_extract_all(lower({text}), '[\\p{{L}}\\p{{M}}\\p{{N}}]+')) AS words
            FROM corpus c
            WHERE row IN (SELECT doc_row FROM chosen)
                OR row IN (SELECT positive_row FROM positives WHERE query_row IN (SELECT query_row FROM chosen))
        ),
        pairs AS (
            SELECT c.round, c.query_row, c.doc_row, p.positive_row,
                len(list_intersect(a.words, b.words)) AS common, len(a.words) + len(b.words) AS total
            FROM chosen c
            JOIN positives p ON p.round = c.round AND p.query_row = c.query_row
            JOIN words a ON a.row = c.doc_row
            JOIN words b ON b.row = p.positive_row
        ),
        worded AS (
            SELECT round, query_row, doc_row, positive_row, coalesce(common / nullif(total - common, 0), 0) AS overlap FROM pairs
            QUALIFY row_number() OVER (PARTITION BY round, query_row, doc_row ORDER BY overlap DESC, positive_row) = 1
        ),
        least AS (
            SELECT s.round, s.query_row, s.teacher, min(s.score) AS score FROM teacher_scores s
            JOIN positives p ON p.round = s.round AND p.query_row = s.query_row AND p.positive_row = s.doc_row GROUP BY ALL
        ),
        taught AS (
            SELECT c.round, c.query_row, c.doc_row, count(*) AS teachers, count(*) FILTER (s.score >= l.score) AS teachers_above
            FROM chosen c
            JOIN teacher_scores s ON s.round = c.round AND s.query_row = c.query_row AND s.doc_row = c.doc_row
            JOIN least l ON l.round = c.round AND l.query_row = c.query_row AND l.teacher = s.teacher GROUP BY ALL
        ),
        shared AS (
            SELECT DISTINCT c.query_row, c.doc_row FROM chosen c
            JOIN qrels beside ON beside.doc_row = c.doc_row AND beside.relevance > 0
            JOIN qrels other ON other.query_row = beside.query_row AND other.relevance > 0
            JOIN qrels mine ON mine.doc_row = other.doc_row AND mine.query_row = c.query_row AND mine.relevance > 0
        ),
        signed AS (
            SELECT c.*, w.positive_row AS likest_row, w.overlap, t.teachers, t.teachers_above,
                list_filter([
                    CASE WHEN t.teachers_above > 0 THEN 'teacher' END,
                    CASE WHEN s.doc_row IS NOT NULL THEN 'shared query' END,
                    CASE WHEN w.overlap >= 0.5 THEN 'wording' END,
                    CASE WHEN c.gap <= 0.1 THEN 'near' END
                ], lambda sign: sign IS NOT NULL) AS signs
            FROM chosen c
            LEFT JOIN worded w ON w.round = c.round AND w.query_row = c.query_row AND w.doc_row = c.doc_row
            LEFT JOIN taught t ON t.round = c.round AND t.query_row = c.query_row AND t.doc_row = c.doc_row
            LEFT JOIN shared s ON s.query_row = c.query_row AND s.doc_row = c.doc_row
        )"""
