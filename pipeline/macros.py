"""The table macros of the catalog: questions with parameters, asked as FROM show_query('…')."""

from __future__ import annotations

from pipeline.views import View, encoded
from stages.suspecting import POOL, chosen, signed

MACROS = (
    View(
        "show_query(id)",
        ("judged", "positives", "queries", "corpus"),
        "a query's positives, then all its other candidates with their verdicts, for each round",
        f"""
        WITH asked AS (SELECT row FROM queries WHERE query_id = id),
        known AS (SELECT * FROM positives WHERE query_row = (SELECT row FROM asked)),
        found AS (SELECT * FROM judged WHERE query_row = (SELECT row FROM asked)),
        shown AS (
            SELECT round, positive_row AS doc_row, 'positive' AS verdict, rank, score,
                NULL AS rule, NULL AS value, NULL AS "limit", NULL AS positive_row FROM known
            UNION ALL BY NAME
            SELECT round, doc_row, verdict, rank, score,
                evidence.rule AS rule, evidence.value AS value, evidence.limit AS "limit", positive_row FROM found f
            WHERE NOT EXISTS (SELECT 1 FROM known k WHERE k.round = f.round AND k.positive_row = f.doc_row)
        )
        SELECT s.round, s.verdict, s.rank, s.score, s.rule, s.value, s."limit", d.doc_id, {encoded("d")} AS document,
            p.doc_id AS positive_id
        FROM shown s
        JOIN corpus d ON d.row = s.doc_row
        LEFT JOIN corpus p ON p.row = s.positive_row
        ORDER BY s.round, s.verdict <> 'positive', s.rank NULLS LAST, d.row, s.positive_row""",
    ),
    View(
        "drop_reasons()",
        ("judged",),
        "how many candidates got each verdict, over how many queries, for each round",
        """
        SELECT round, verdict, count(*) AS candidates, count(*) / sum(count(*)) OVER (PARTITION BY round) AS share,
            count(DISTINCT query_row) AS queries
        FROM judged GROUP BY round, verdict ORDER BY round, candidates DESC, verdict""",
    ),
    View(
        "why(query, doc)",
        ("judged", "positives", "teacher_scores", "queries", "corpus", "qrels"),
        "what is stored of one query and one document, by their ids, for each round: verdict, the numbers behind it, the teachers'",
        f"""
        WITH asked AS (
            SELECT q.row AS query_row, d.row AS doc_row, q.query_id, q.text, d.doc_id, {encoded("d")} AS document
            FROM queries q CROSS JOIN corpus d WHERE q.query_id = query AND d.doc_id = doc
        ),
        found AS (SELECT * FROM judged WHERE query_row = (SELECT query_row FROM asked) AND doc_row = (SELECT doc_row FROM asked)),
        known AS (SELECT * FROM positives WHERE query_row = (SELECT query_row FROM asked)),
        said AS (SELECT * FROM teacher_scores WHERE query_row = (SELECT query_row FROM asked)),
        least AS (
            SELECT s.round, s.teacher, min(s.score) AS score
            FROM said s JOIN known k ON k.round = s.round AND k.positive_row = s.doc_row GROUP BY ALL
        ),
        taught AS (
            SELECT s.round, list(struct_pack(teacher := s.teacher, score := s.score, positive := l.score) ORDER BY s.teacher) AS teachers
            FROM said s LEFT JOIN least l USING (round, teacher)
            WHERE s.doc_row = (SELECT doc_row FROM asked) GROUP BY s.round
        )
        SELECT r.round, a.query_id, a.text AS query, a.doc_id, a.document,
            coalesce(f.verdict, CASE WHEN k.positive_row IS NULL THEN 'not a candidate' ELSE 'positive' END) AS verdict,
            f.evidence.rule AS rule, f.evidence.value AS value, f.evidence.limit AS "limit",
            coalesce(f.rank, k.rank) AS rank, coalesce(f.score, k.score) AS score, f.retriever, f.found_by,
            p.doc_id AS positive_id, f.positive_score, (f.positive_score - f.score) / nullif(abs(f.positive_score), 0) AS gap,
            t.teachers, j.relevance, j.source
        FROM (SELECT DISTINCT round FROM known) r
        CROSS JOIN asked a
        LEFT JOIN found f ON f.round = r.round
        LEFT JOIN known k ON k.round = r.round AND k.positive_row = a.doc_row
        LEFT JOIN taught t ON t.round = r.round
        LEFT JOIN qrels j ON j.query_row = a.query_row AND j.doc_row = a.doc_row
        LEFT JOIN corpus p ON p.row = f.positive_row
        ORDER BY r.round, f.positive_row""",
    ),
    View(
        "what_if(margins)",
        ("judged", "positives"),
        "how many candidates relative_margin would keep with each margin of a list, of those that are kept now or that it dropped; "
        "filters after it are not asked again, as `hardrock what-if` does",
        """
        WITH tried AS (SELECT unnest(margins)::DOUBLE AS margin),
        open AS (SELECT * FROM judged WHERE verdict IN ('kept', 'relative_margin')),
        counted AS (
            SELECT o.round, o.query_row, t.margin, count(*) FILTER (verdict = 'kept') AS stored,
                count(*) FILTER (score <= positive_score - abs(positive_score) * margin) AS kept,
                count(*) FILTER (score <= positive_score - abs(positive_score) * margin AND verdict <> 'kept') AS gained,
                count(*) FILTER ((score <= positive_score - abs(positive_score) * margin) IS NOT TRUE AND verdict = 'kept') AS lost
            FROM open o CROSS JOIN tried t GROUP BY ALL
        ),
        asked AS (SELECT round, count(DISTINCT query_row) AS queries FROM positives GROUP BY round)
        SELECT c.round, c.margin, sum(c.stored)::BIGINT AS stored, sum(c.kept)::BIGINT AS kept, sum(c.gained)::BIGINT AS gained,
            sum(c.lost)::BIGINT AS lost, a.queries - count(*) FILTER (c.kept > 0) AS queries_without
        FROM counted c JOIN asked a USING (round) GROUP BY c.round, c.margin, a.queries ORDER BY c.round, c.margin""",
    ),
    View(
        "gap_hist(width := 0.05)",
        ("judged",),
        "candidates by verdict in bands of (p − s)/|p|, how far a score s is below the positive's p; null where it is not known",
        """
        WITH gaps AS (
            SELECT round, verdict, floor((positive_score - score) / nullif(abs(positive_score), 0) / width) AS band FROM judged
        )
        SELECT round, round(band * width, 9) AS lower, round((band + 1) * width, 9) AS upper, verdict, count(*) AS candidates
        FROM gaps GROUP BY ALL ORDER BY round, lower NULLS LAST, verdict""",
    ),
    View(
        "coverage()",
        ("judged", "positives", "corpus"),
        "how many candidates the queries keep, and how much of the corpus that is, for each round",
        """
        WITH asked AS (SELECT DISTINCT round, query_row FROM positives),
        kept AS (SELECT round, query_row, count(DISTINCT doc_row) AS kept FROM judged WHERE verdict = 'kept' GROUP BY ALL),
        by_query AS (SELECT a.round, coalesce(k.kept, 0) AS kept FROM asked a LEFT JOIN kept k USING (round, query_row)),
        documents AS (
            SELECT round, count(DISTINCT doc_row) AS documents, count(DISTINCT doc_row) FILTER (verdict = 'kept') AS documents_kept
            FROM judged GROUP BY round
        )
        SELECT b.round, count(*) AS queries, count(*) FILTER (b.kept = 0) AS queries_without, min(b.kept) AS least,
            median(b.kept) AS median, avg(b.kept) AS mean, max(b.kept) AS most, d.documents, d.documents_kept,
            d.documents_kept / (SELECT count(*) FROM corpus) AS corpus_kept
        FROM by_query b JOIN documents d USING (round) GROUP BY b.round, d.documents, d.documents_kept ORDER BY b.round""",
    ),
    View(
        "hubs(top := 20)",
        ("judged", "positives", "corpus"),
        "the documents that are candidates of the most queries, with the share of all queries of the round",
        f"""
        WITH asked AS (SELECT round, count(DISTINCT query_row) AS queries FROM positives GROUP BY round),
        counted AS (
            SELECT round, doc_row, count(DISTINCT query_row) AS queries,
                count(DISTINCT query_row) FILTER (verdict = 'kept') AS queries_kept
            FROM judged GROUP BY round, doc_row
        ),
        most AS (FROM counted QUALIFY row_number() OVER (PARTITION BY round ORDER BY queries DESC, doc_row) <= top)
        SELECT c.round, d.doc_id, c.queries, c.queries_kept, c.queries / a.queries AS share, {encoded("d")} AS document
        FROM most c JOIN asked a USING (round) JOIN corpus d ON d.row = c.doc_row ORDER BY c.round, c.queries DESC, c.doc_row""",
    ),
    View(
        f"fn_suspects(pool := {POOL})",
        ("judged", "positives", "teacher_scores", "queries", "corpus", "qrels"),
        "kept candidates that are likely relevant, those with the most signs first, among the `pool` of a round that are nearest to "
        "their positives: signs are teacher, shared query, wording and near",
        f"""
        WITH chosen AS ({chosen("pool")}), {signed(encoded("c"))}
        SELECT s.round, q.query_id, q.text AS query, d.doc_id, {encoded("d")} AS document, p.doc_id AS positive_id,
            {encoded("p")} AS positive, array_to_string(s.signs, ', ') AS signs, s.overlap, s.gap, s.teachers_above, s.teachers,
            s.rank, s.score, s.positive_score, q.split, s.query_row, s.doc_row
        FROM signed s
        JOIN queries q ON q.row = s.query_row
        JOIN corpus d ON d.row = s.doc_row
        LEFT JOIN corpus p ON p.row = s.likest_row
        WHERE len(s.signs) > 0
        ORDER BY s.round, len(s.signs) DESC, s.gap NULLS LAST, s.query_row, s.doc_row""",
    ),
    View(
        "diff(one, other)",
        ("judged", "positives", "queries", "corpus"),
        "candidates whose verdict differs between two rounds, for queries mined in both; a document that was not found there has none. "
        "Held against several positives a document is kept when it is for one of them",
        f"""
        WITH asked AS (
            SELECT query_row FROM positives WHERE round = one INTERSECT SELECT query_row FROM positives WHERE round = other
        ),
        told AS (
            SELECT round, query_row, doc_row, CASE WHEN bool_or(verdict = 'kept') THEN 'kept' ELSE min(verdict) END AS verdict,
                min(rank) AS rank, max(score) AS score
            FROM judged WHERE query_row IN (SELECT query_row FROM asked) AND round IN (one, other) GROUP BY ALL
        ),
        a AS (SELECT * FROM told WHERE round = one),
        b AS (SELECT * FROM told WHERE round = other)
        SELECT q.query_id, d.doc_id, a.verdict AS before, b.verdict AS after, a.rank AS rank_before, b.rank AS rank_after,
            a.score AS score_before, b.score AS score_after, q.text AS query, {encoded("d")} AS document
        FROM a FULL JOIN b ON a.query_row = b.query_row AND a.doc_row = b.doc_row
        JOIN queries q ON q.row = coalesce(a.query_row, b.query_row)
        JOIN corpus d ON d.row = coalesce(a.doc_row, b.doc_row)
        WHERE a.verdict IS DISTINCT FROM b.verdict
        ORDER BY q.row, coalesce(least(a.rank, b.rank), a.rank, b.rank), d.row""",
    ),
)
