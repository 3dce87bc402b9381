"""What a person is asked when negatives are reviewed, where the answers go, and what they say of the whole."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.looking.one import Rows, need, rows
from pipeline.looking.suspects import suspects
from pipeline.views import encoded
from stages import labelling
from stages.errors import StorageError
from stages.leakage import wilson

KINDS = ("sampled", "kept", "suspects")
"""What can be reviewed: sampled negatives or kept candidates, drawn evenly, or suspects in their order."""

_POPULATION = {
    "sampled": "SELECT DISTINCT query_row, negative_row AS doc_row FROM triplet_rows WHERE round = $round",
    "kept": "SELECT DISTINCT query_row, doc_row FROM judged WHERE round = $round AND verdict = 'kept'",
}


@dataclass(frozen=True)
class Draw:
    """The pairs that are asked, in order, and of how many they are a sample; none is known for suspects."""

    kind: str
    name: str  # of this draw: the same result, the same kind and the same seed
    seed: int
    round: int
    population: int | None
    questions: Rows


def draw(connection: Any, kind: str, number: int, count: int, *, seed: int, result: str) -> Draw:
    """The first `count` pairs. `result` names what is drawn from, so that answers of one draw are counted together.

    Drawn evenly means by the smallest hash of the seed and both ids, so a larger count only goes on. Raises ArtefactError.
    """
    name = f"{result}-{kind}-{seed}"
    if kind == "suspects":
        return Draw(kind, name, seed, number, None, suspects(connection, number, count))
    need(connection, "judged", "positives", command="judge")
    if kind == "sampled":
        need(connection, "triplet_rows", command="sample")
    population = _POPULATION[kind]
    (size,) = connection.execute(f"SELECT count(*) FROM ({population})", {"round": number}).fetchone()
    statement = f"""
        WITH drawn AS (
            SELECT p.*, q.query_id, q.text AS query, d.doc_id, {encoded("d")} AS document,
                md5($seed || chr(31) || q.query_id || chr(31) || d.doc_id) AS place
            FROM ({population}) p JOIN queries q ON q.row = p.query_row JOIN corpus d ON d.row = p.doc_row
            ORDER BY place LIMIT $count
        )
        SELECT t.query_id, t.query, t.doc_id, t.document, p.doc_id AS positive_id, {encoded("p")} AS positive, '' AS signs,
            j.rank, (j.positive_score - j.score) / nullif(abs(j.positive_score), 0) AS gap
        FROM drawn t
        LEFT JOIN judged j ON j.round = $round AND j.query_row = t.query_row AND j.doc_row = t.doc_row AND j.verdict = 'kept'
        LEFT JOIN (
            SELECT query_row, arg_max(positive_row, (score, -positive_row)) AS positive_row FROM positives
            WHERE round = $round GROUP BY query_row
        ) b ON b.query_row = t.query_row
        LEFT JOIN corpus p ON p.row = b.positive_row
        QUALIFY row_number() OVER (PARTITION BY t.query_row, t.doc_row ORDER BY j.positive_row) = 1
        ORDER BY t.place"""
    return Draw(kind, name, seed, number, size, rows(connection, statement, round=number, seed=str(seed), count=count))


def keep(path: Path, drawn: Draw, question: Mapping[str, Any], relevance: int | None) -> None:
    """Adds one answer to the file of labels, flushed to the disk before the next question. Raises StorageError."""
    line = {
        "query_id": question["query_id"],
        "doc_id": question["doc_id"],
        "relevance": relevance,
        "of": drawn.kind,
        "draw": drawn.name,
        "population": drawn.population,
        "round": drawn.round,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        begun = path.exists() and path.stat().st_size > 0
        with path.open("a+b") as file:
            if begun:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # an editor left no end of line
                    file.write(b"\n")
            file.write((json.dumps(line, ensure_ascii=False) + "\n").encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError("the answer cannot be kept", where=str(path), got=error.strerror or error) from error


def answered(path: Path) -> set[tuple[str, str]]:
    """The pairs with an answer that holds."""
    return set(labelling.read(path))


def rates(lines: Sequence[Mapping[str, Any]]) -> Rows:
    """For each draw in the order of its first answer: what was answered, and the share of false negatives.

    The share is of the answers that are sure, with Wilson's 95% interval, and stands for the whole that was drawn from.
    Suspects are no sample of anything: they have counts and no share.
    """
    draws: dict[str, dict[tuple[str, str], Mapping[str, Any]]] = {}
    for line in lines:
        if isinstance(line.get("draw"), str):
            draws.setdefault(line["draw"], {})[line["query_id"], line["doc_id"]] = line
    found = []
    for name, pairs in draws.items():
        answers = [line["relevance"] for line in pairs.values()]
        relevant, sure = answers.count(1), len(answers) - answers.count(None)
        first = next(iter(pairs.values()))
        even = first.get("of") != "suspects" and sure > 0
        low, high = wilson(relevant / sure, sure) if even else (None, None)
        found.append(
            {
                "draw": name, "of": first.get("of"), "round": first.get("round"), "population": first.get("population"),
                "relevant": relevant, "not_relevant": sure - relevant, "unsure": answers.count(None),
                "rate": relevant / sure if even else None, "low": low, "high": high,
            }
        )  # fmt: skip
    return found
