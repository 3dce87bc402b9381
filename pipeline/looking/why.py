"""Why a document is, or is not, a negative of a query: the answer of every filter, with the rules that made the result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.looking.one import Asked, Document, find_document, find_query, need, rows
from pipeline.plan import Node
from stages.deepened import Deepened
from stages.documents import StoredDocuments
from stages.errors import ArtefactError
from stages.explaining import Said, explain
from stages.schemas import CANDIDATES
from stages.search import gather
from stages.spec import Inputs, Source
from stages.teacher_scores import TeacherScores
from stages.verdicts import known_of, rules_of

if TYPE_CHECKING:
    from pipeline.runner import Runner

ASKED = ("corpus", "queries", "qrels", "corpus_vectors", "candidates", "positives", "teacher_scores", "judged")
"""What the filters may look at."""

STORED = 'SELECT * EXCLUDE (query_id, query, doc_id, document) FROM why($query, $doc) WHERE "round" = $round'


def why(runner: Runner, connection: Any, asked: str, doc_id: str, number: int) -> dict[str, Any]:
    """All that is known of one query and one document in a round. Raises InputError, ArtefactError.

    `stored` are the rows as judged, one for each positive that the candidate is held against; `filters` what each filter says
    now by the rules that are stored with the result; `beyond` where the document would have stood when it was not found.
    """
    query = find_query(connection, asked)
    need(connection, "positives", "judged", "teacher_scores", "qrels", command="judge")
    document = find_document(connection, doc_id)
    stored = rows(connection, STORED, query=query.query_id, doc=document.doc_id, round=number)
    answer: dict[str, Any] = {
        "query_id": query.query_id,
        "query": query.text,
        "split": query.split,
        "doc_id": document.doc_id,
        "document": document.text,
        "round": number,
        "stored": stored,
        "filters": [],
        "beyond": None,
        "sampled_for": _sampled(connection, query, document, number),
    }
    if not stored:
        answer["verdict"] = f"the query was not mined in round {number}"
        return answer
    verdicts = [row["verdict"] for row in stored]
    answer["verdict"] = "kept" if "kept" in verdicts else verdicts[0]
    inputs = {
        name: source
        for stage in ("estimate", "sample", "mine")
        for name, source in _inputs(runner, stage, number).items()
    }
    if stored[0]["rank"] is None or stored[0]["retriever"] is None:
        answer["beyond"] = _beyond(connection, inputs, query, document, number)
    else:
        ids = _ids(connection)
        answer["filters"] = [_row(said, ids) for said in _answers(inputs, query.row, document.row)]
    return answer


def _inputs(runner: Runner, stage: str, number: int) -> Inputs:
    try:
        return runner.inputs(Node(stage, number))
    except ArtefactError:
        return {}  # a stage that cannot run yet has nothing to add


def _answers(inputs: Inputs, query_row: int, doc_row: int) -> list[Said]:
    """What every filter says; the candidate is among those that were searched first or deeper."""
    if missing := [name for name in ASKED if name not in inputs]:
        raise ArtefactError(f"the filters cannot be asked without {missing[0]}", try_="hardrock estimate")
    judged: Source = inputs["judged"]
    if "deepened" in inputs:
        judged = Deepened(judged, inputs["deepened"])
    comparison, filters = rules_of(inputs["judged"])
    for index, part in enumerate(inputs["positives"].parts):
        held = inputs["positives"].read(["query_row", "positive_row", "score"], part=part)
        if not pc.any(pc.equal(held["query_row"], query_row)).as_py():
            continue
        table = judged.read(CANDIDATES.names, part=judged.parts[index])
        found = table.filter(pc.equal(table["query_row"], query_row))
        _, first = np.unique(found["doc_row"].to_numpy(), return_index=True)  # once, against however many positives
        found = found.take(pa.array(np.sort(first))).sort_by([("rank", "ascending"), ("doc_row", "ascending")])
        return explain(
            comparison,
            filters,
            known_of(inputs),
            found.cast(CANDIDATES),
            held.filter(pc.equal(held["query_row"], query_row)),
            doc_row=doc_row,
            documents=StoredDocuments(inputs),
            taught=TeacherScores.of(inputs).part(index),
        )
    return []


def _beyond(connection: Any, inputs: Inputs, query: Asked, document: Document, number: int) -> dict[str, Any] | None:
    """The score of a document that is no candidate, beside that of the last candidate; None where vectors are missing."""
    if "query_vectors" not in inputs:
        return None
    (asked,) = gather(inputs["query_vectors"], [np.array([query.row])])
    (given,) = gather(inputs["corpus_vectors"], [np.array([document.row])])
    score = float(np.einsum("d,d->", asked[0].astype(np.float64), given[0].astype(np.float64)))
    last = rows(
        connection,
        "SELECT rank AS last_rank, score AS last_score FROM judged WHERE query_row = $row AND round = $round "
        "ORDER BY rank DESC LIMIT 1",
        row=query.row,
        round=number,
    )
    return {"score": score, **(last[0] if last else {"last_rank": None, "last_score": None})}


def _sampled(connection: Any, query: Asked, document: Document, number: int) -> list[str]:
    """The positives beside which the document was sampled as a negative."""
    try:
        need(connection, "triplet_rows", command="sample")
    except ArtefactError:
        return []
    found = rows(
        connection,
        "SELECT DISTINCT p.row, p.doc_id FROM triplet_rows t JOIN corpus p ON p.row = t.positive_row "
        "WHERE t.round = $round AND t.query_row = $query AND t.negative_row = $doc ORDER BY p.row",
        round=number,
        query=query.row,
        doc=document.row,
    )
    return [row["doc_id"] for row in found]


def _ids(connection: Any) -> Any:
    def of(row: int | None) -> str | None:
        if row is None:
            return None
        (name,) = connection.execute("SELECT doc_id FROM corpus WHERE row = $row", {"row": row}).fetchone()
        return str(name)

    return of


def _row(said: Said, ids: Any) -> dict[str, Any]:
    return {
        "filter": said.filter,
        "says": "drop" if said.drops else "pass",
        "value": said.value,
        "limit": said.limit,
        "positive_id": ids(said.positive_row),
        "positive_score": said.positive_score,
    }
