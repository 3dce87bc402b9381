"""The views of the catalog, as data: each over the stored tables and over views above it."""

from __future__ import annotations

from dataclasses import dataclass

from stages.text import pieces


@dataclass(frozen=True)
class View:
    """A view or a table macro over other views. `name` has the parameters of a macro."""

    name: str
    needs: tuple[str, ...]
    says: str
    sql: str

    @property
    def is_macro(self) -> bool:
        return self.name.endswith(")")


def join_macro(template: str) -> str:
    """SQL of a scalar macro for what is encoded of a document, as `stages.text.join_title` says."""

    def shows(value: str) -> str:
        return rf"coalesce(regexp_matches({value}, '[^\s\p{{Z}}\x0b\x1c-\x1f\x{{85}}]'), false)"  # any but white space

    parameters = {"title": ["title"], "text": ["body"], None: []}
    parts = []
    for literal, name in pieces(template):
        parts += ["'" + literal.replace("'", "''") + "'"] * bool(literal) + parameters[name]
    both = " || ".join(parts)
    return (
        f"CREATE MACRO encoded(title, body) AS CASE WHEN NOT {shows('title')} THEN body "
        f"WHEN {shows(f'({both})')} THEN {both} ELSE title END"
    )


def encoded(alias: str) -> str:
    """SQL for what is encoded of a document: the catalog has it as a macro, as its corpus is joined."""
    return f"encoded({alias}.title, {alias}.text)"


def shown(alias: str, *, title: bool = True) -> str:
    """SQL for what people see of a document or a query: its text, or that it is a picture, with its caption."""
    text = encoded(alias) if title else f"{alias}.text"
    return f"CASE WHEN {alias}.picture IS NULL THEN {text} ELSE trim('[picture] ' || {alias}.text) END"


def judged(condition: str) -> str:
    """SQL for the judged rows that meet a condition, with ids, texts and the evidence in columns."""
    return f"""
        SELECT j.round, q.query_id, q.text AS query, d.doc_id, {encoded("d")} AS document, j.rank, j.score, j.retriever,
            p.doc_id AS positive_id, {encoded("p")} AS positive, j.positive_score,
            j.verdict, j.evidence.rule AS rule, j.evidence.value AS value, j.evidence.limit AS "limit",
            q.split, j.query_row, j.doc_row, j.positive_row
        FROM judged j
        JOIN queries q ON q.row = j.query_row
        JOIN corpus d ON d.row = j.doc_row
        LEFT JOIN corpus p ON p.row = j.positive_row
        WHERE {condition}"""


VIEWS = (
    View(
        "negatives",
        ("judged", "queries", "corpus"),
        "candidates that every filter kept",
        judged("j.verdict = 'kept'"),
    ),
    View(
        "dropped",
        ("judged", "queries", "corpus"),
        "candidates that a filter dropped; verdict, rule, value and limit say why",
        judged("j.verdict <> 'kept'"),
    ),
    View(
        "triplets",
        ("triplet_rows", "queries", "corpus"),
        "what was sampled, with ids and texts",
        f"""
        SELECT t.round, q.query_id, q.text AS query, p.doc_id AS positive_id, {encoded("p")} AS positive,
            n.doc_id AS negative_id, {encoded("n")} AS negative, t.positive_score, t.negative_score, t.rank,
            t.sampler, t.seed, q.split, t.query_row, t.positive_row, t.negative_row
        FROM triplet_rows t
        JOIN queries q ON q.row = t.query_row
        JOIN corpus p ON p.row = t.positive_row
        JOIN corpus n ON n.row = t.negative_row""",
    ),
    View(
        "churn_by_query",
        ("triplet_rows", "queries"),
        "for each query, how its training negatives differ from those of the round before, counted for each positive",
        """
        WITH rows AS (SELECT DISTINCT round, query_row, positive_row, negative_row FROM triplet_rows),
        mined AS (SELECT DISTINCT round FROM rows),
        later AS (SELECT round FROM mined WHERE round - 1 IN (SELECT round FROM mined)),
        either AS (
            SELECT round, query_row, positive_row, negative_row, 1 AS here, 0 AS there FROM rows
            UNION ALL SELECT round + 1, query_row, positive_row, negative_row, 0, 1 FROM rows
        ),
        negatives AS (
            SELECT round, query_row, positive_row, negative_row, max(here) AS here, max(there) AS there
            FROM either WHERE round IN (SELECT round FROM later) GROUP BY ALL
        )
        SELECT n.round, q.query_id, q.text AS query, sum(here)::BIGINT AS negatives, sum(there)::BIGINT AS before,
            sum(here * there)::BIGINT AS shared, (sum(here) - sum(here * there)) / nullif(sum(here), 0) AS new,
            sum(here * there) / count(*) AS jaccard, n.query_row
        FROM negatives n JOIN queries q ON q.row = n.query_row
        GROUP BY n.round, n.query_row, q.query_id, q.text""",
    ),
    View(
        "churn",
        ("triplet_rows", "queries"),
        "how the training negatives of each round differ from those of the round before: share that is new, mean Jaccard, "
        "queries that had none before (gained) or have none now (lost)",
        """
        SELECT round, round - 1 AS against_round, sum(negatives)::BIGINT AS negatives, sum(before)::BIGINT AS before,
            sum(shared)::BIGINT AS shared, (sum(negatives) - sum(shared)) / nullif(sum(negatives), 0) AS new,
            avg(jaccard) AS jaccard, count(*) FILTER (before = 0) AS queries_gained,
            count(*) FILTER (negatives = 0) AS queries_lost
        FROM churn_by_query GROUP BY round ORDER BY round""",
    ),
)
