"""A DuckDB file with views over the Parquet files of a workspace: every table, and the joins that people want.

    corpus, queries, qrels, rejects                               as ingest stored them
    corpus_vectors, query_vectors, candidates, positives,         one table over all rounds, `round` first
    teacher_scores, judged (with deepened), promoted,
    estimates, triplet_rows, shortfall, hits, metrics,
    comparisons (both with those of guards), guard_queries,
    training_log
    compare                                                       the arms of `hardrock compare`
    negatives, dropped, triplets                                  joined with ids and texts
    churn, churn_by_query                                         training negatives against those of the round before
    show_query(id), drop_reasons()                                macros: FROM show_query('…')

The file holds no data, only absolute paths: it works from any folder and with any client, and is written anew when a stage
has run. A view is there when all tables that it needs are. `SELECT * FROM duckdb_views()` and `duckdb_columns()` carry
comments. Another client that attaches the file instead of opening it must `USE` it before the macros work.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from stages.errors import ArtefactError, ConfigError, StorageError
from stages.schemas import TABLES

if TYPE_CHECKING:
    import duckdb

FORMAT = "v1.4.0"  # the oldest DuckDB that opens the file
MERGED = {
    "deepened": "judged",
    "guard_metrics": "metrics",
    "guard_comparisons": "comparisons",
}  # stored tables that continue another one
RAW_NAMES = {"triplets": "triplet_rows"}  # stored tables whose name a joined view takes


@dataclass(frozen=True)
class Entry:
    """The Parquet files of one stored table; `round` is None for what no round makes."""

    table: str
    round: int | None
    files: tuple[Path, ...]


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


def _encoded(alias: str) -> str:
    """SQL for what is encoded of a document, as `stages.text.join_title` says. The pattern is any character but white space."""
    title = rf"regexp_matches({alias}.title, '[^\s\p{{Z}}\x0b\x1c-\x1f\x{{85}}]')"
    return f"CASE WHEN {title} THEN {alias}.title || ' ' || {alias}.text ELSE {alias}.text END"


def _judged(condition: str) -> str:
    """SQL for the judged rows that meet a condition, with ids, texts and the evidence in columns."""
    return f"""
        SELECT j.round, q.query_id, q.text AS query, d.doc_id, {_encoded("d")} AS document, j.rank, j.score, j.retriever,
            p.doc_id AS positive_id, {_encoded("p")} AS positive, j.positive_score,
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
        _judged("j.verdict = 'kept'"),
    ),
    View(
        "dropped",
        ("judged", "queries", "corpus"),
        "candidates that a filter dropped; verdict, rule, value and limit say why",
        _judged("j.verdict <> 'kept'"),
    ),
    View(
        "triplets",
        ("triplet_rows", "queries", "corpus"),
        "what was sampled, with ids and texts",
        f"""
        SELECT t.round, q.query_id, q.text AS query, p.doc_id AS positive_id, {_encoded("p")} AS positive,
            n.doc_id AS negative_id, {_encoded("n")} AS negative, t.positive_score, t.negative_score, t.rank,
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
        SELECT s.round, s.verdict, s.rank, s.score, s.rule, s.value, s."limit", d.doc_id, {_encoded("d")} AS document,
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
)


def build(database: Path, entries: Sequence[Entry]) -> None:
    """Writes the catalog over what `entries` names, in one step: a reader keeps the old file, or opens the new one.

    Raises ConfigError for a path that DuckDB cannot read, ArtefactError for a file that is not Parquet, StorageError.
    """
    import duckdb

    check(database.parent)
    statements = list(_statements(entries))
    try:
        with TemporaryDirectory(prefix=f".{database.name}-", dir=database.parent) as folder:
            made = Path(folder) / "catalog.duckdb"
            with duckdb.connect(":memory:") as connection:
                connection.execute(f"ATTACH {_literal(str(made))} AS catalog (STORAGE_VERSION '{FORMAT}')")
                connection.execute("USE catalog")
                for statement in statements:
                    connection.execute(statement)
                connection.execute("USE memory")
                connection.execute("DETACH catalog")  # also folds its log into it
            _flush(made)
            made.replace(database)
        _flush(database.parent)
    except duckdb.Error as error:
        if any(
            os.strerror(code) in str(error)
            for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EACCES)
        ):
            raise StorageError("the catalog cannot be written", where=str(database), got=_first_line(error)) from None
        raise ArtefactError("the catalog cannot be built", where=str(database), got=_first_line(error)) from None
    except OSError as error:
        raise StorageError("the catalog cannot be written", where=str(database), got=error.strerror or error) from error


def check(place: Path) -> None:
    """Raises ConfigError for a path below which DuckDB can keep no catalog or read no table."""
    path = str(place.resolve())
    if "?" in path:
        raise ConfigError(
            "DuckDB cannot keep a database at a path with a question mark",  # it puts its log at a place of its own
            where=path,
            try_="use a workspace at another path",
        )
    _readable(place)


def _readable(place: Path) -> str:
    """The path, absolute. Raises ConfigError where DuckDB cannot read it."""
    path = str(place.resolve())
    if "\\" in path or any(0xD800 <= ord(character) <= 0xDFFF for character in path):
        raise ConfigError(
            "DuckDB cannot read a path with a backslash or with bytes that are not UTF-8",
            where=repr(path),
            try_="use a workspace at another path",
        )
    return path


def _statements(entries: Sequence[Entry]) -> Iterator[str]:
    parts: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.files:
            parts.setdefault(MERGED.get(entry.table, entry.table), []).append(entry)
    present = {RAW_NAMES.get(table, table) for table in parts}
    for table, stored in parts.items():
        name = _name(RAW_NAMES.get(table, table))
        yield f"CREATE VIEW {name} AS {' UNION ALL '.join(_scan(entry) for entry in stored)}"
        for field in TABLES.get(table, ()):
            yield f"COMMENT ON COLUMN {name}.{_name(field.name)} IS {_literal((field.metadata or {})[b'says'].decode())}"
    for view in VIEWS:
        if present.issuperset(view.needs):
            kind, table = ("MACRO", "TABLE ") if view.is_macro else ("VIEW", "")
            yield f"CREATE {kind} {view.name} AS {table}{view.sql}"
            yield f"COMMENT ON {kind}{' TABLE' if view.is_macro else ''} {view.name.partition('(')[0]} IS {_literal(view.says)}"


def _scan(entry: Entry) -> str:
    schema = TABLES.get(entry.table)
    own = schema is not None and "round" in schema.names
    first = "" if own or entry.round is None else f"{int(entry.round)}::INTEGER AS round, "
    files = ", ".join(_literal(_pattern(path)) for path in entry.files)
    return f"SELECT {first}* FROM read_parquet([{files}], hive_partitioning = false)"


def _pattern(path: Path) -> str:
    """A path, absolute, as the pattern that matches it alone. DuckDB takes every file name for a pattern."""
    return re.sub(r"[\[*?]", r"[\g<0>]", _readable(path))


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def connect(database: Path, allowed: Path) -> duckdb.DuckDBPyConnection:
    """A connection that reads the catalog and the files below `allowed`, and nothing else on this machine.

    The catalog is attached, read only, to a database in memory: so a process can connect again after the file was replaced.
    The settings are locked. A COPY could
    still write below `allowed`: ask through `query`. Raises ArtefactError when there is no catalog.
    """
    import duckdb

    if not database.is_file():
        raise ArtefactError("there is no catalog yet", where=str(database), try_="run the pipeline first: make")
    folders = sorted({str(allowed.resolve()), _pattern(allowed)})  # a path is checked as a pattern and again as a file
    connection = duckdb.connect(":memory:")
    try:
        connection.execute(f"ATTACH {_literal(str(database.resolve()))} AS workspace (READ_ONLY)")
        for statement in (
            "USE workspace",
            "SET python_enable_replacements = false",  # else a query reads variables of this program
            f"SET temp_directory = {_literal(f'{database.resolve()}.tmp')}",
            f"SET allowed_directories = [{', '.join(map(_literal, folders))}]",
            "SET enable_external_access = false",
            "SET lock_configuration = true",
        ):
            connection.execute(statement)
    except duckdb.Error as error:
        connection.close()
        raise ArtefactError("the catalog cannot be opened", where=str(database), got=_first_line(error)) from None
    return connection


def query(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The column names and the rows of one SELECT (or FROM, DESCRIBE, SHOW, SUMMARIZE). Raises ConfigError.

    Other statements are refused: COPY writes files even where every database is read only.
    """
    import duckdb

    try:
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise ConfigError("only one SELECT at a time", got=sql.strip() or "nothing", try_="FROM duckdb_views()")
        result = connection.execute(statements[0])
        return [column[0] for column in result.description], result.fetchall()
    except duckdb.Error as error:
        raise ConfigError("the query cannot be answered", got=error) from None
