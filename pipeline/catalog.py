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
    show_query(id), why(query, doc), what_if(margins), …          macros: FROM show_query('…'); pipeline/macros.py has all

The file holds no data, only absolute paths: it works from any folder and with any client, and is written anew when a stage
has run. A view is there when all tables that it needs are. `SELECT * FROM duckdb_views()` and `duckdb_columns()` carry
comments. Another client that attaches the file instead of opening it must `USE` it before the macros work.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pipeline.macros import MACROS
from pipeline.views import VIEWS, join_macro
from stages.errors import ArtefactError, ConfigError, StorageError
from stages.schemas import TABLES
from stages.text import template_of

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
                connection.execute("BEGIN")
                for statement in statements:
                    connection.execute(statement)
                connection.execute("COMMIT")
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
    for entry in parts.get("corpus", ()):
        yield join_macro(_template(entry))
    for view in (*VIEWS, *MACROS):
        if present.issuperset(view.needs):
            kind, table = ("MACRO", "TABLE ") if view.is_macro else ("VIEW", "")
            yield f"CREATE {kind} {view.name} AS {table}{view.sql}"
            yield f"COMMENT ON {kind}{' TABLE' if view.is_macro else ''} {view.name.partition('(')[0]} IS {_literal(view.says)}"


def _template(corpus: Entry) -> str:
    """How titles and texts are joined. Raises ArtefactError for a file that is not Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return template_of(pq.read_schema(corpus.files[0]))
    except (pa.ArrowException, OSError) as error:
        raise ArtefactError("the catalog cannot be built", where=str(corpus.files[0]), got=_first_line(error)) from None


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
    connection = duckdb.connect(":memory:")
    try:
        connection.execute(f"ATTACH {_literal(str(database.resolve()))} AS workspace (READ_ONLY)")
        connection.execute("USE workspace")
        _lock(connection, Path(f"{database.resolve()}.tmp"), (allowed,))
    except duckdb.Error as error:
        connection.close()
        raise ArtefactError("the catalog cannot be opened", where=str(database), got=_first_line(error)) from None
    return connection


def hold(catalogs: Mapping[str, Sequence[Entry]], allowed: Sequence[Path], scratch: Path) -> duckdb.DuckDBPyConnection:
    """A connection to catalogs in memory by their names, the first in use, with the limits of `connect`; no file is written.

    What does not fit into memory goes to `scratch`. Raises ConfigError, ArtefactError as `build` does.
    """
    import duckdb

    statements = {name: list(_statements(entries)) for name, entries in catalogs.items()}
    connection = duckdb.connect(":memory:")
    try:
        for name in reversed(statements):
            connection.execute(f"ATTACH ':memory:' AS {_name(name)}")
            connection.execute(f"USE {_name(name)}")
            for statement in statements[name]:
                connection.execute(statement)
        _lock(connection, scratch, allowed)
    except duckdb.Error as error:
        connection.close()
        raise ArtefactError(
            "the catalog cannot be built", where=", ".join(map(str, allowed)), got=_first_line(error)
        ) from None
    return connection


def _lock(connection: duckdb.DuckDBPyConnection, scratch: Path, allowed: Sequence[Path]) -> None:
    """Lets a connection read below `allowed` and nowhere else, for good."""
    folders = sorted({spelling for path in allowed for spelling in (str(path.resolve()), _pattern(path))})
    for statement in (  # a path is checked as a pattern and again as a file
        "SET python_enable_replacements = false",  # else a query reads variables of this program
        f"SET temp_directory = {_literal(str(scratch))}",
        f"SET allowed_directories = [{', '.join(map(_literal, folders))}]",
        "SET enable_external_access = false",
        "SET lock_configuration = true",
    ):
        connection.execute(statement)


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
