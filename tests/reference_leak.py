"""Counting leaks once more, in plain Python over rows."""

from __future__ import annotations

from dataclasses import replace

from tests import reference_judge


def leaks(world, comparison: str, filters: list[dict], hidden: set[tuple[int, int]]) -> tuple[int, int, int]:
    """(rows judged, of them kept, documents not among the candidates) for hidden (query text, document text) pairs."""

    def is_hidden(query: int, doc: int) -> bool:
        return (world.query_texts[query], world.doc_texts[doc]) in hidden

    left = replace(
        world,
        qrels=[j for j in world.qrels if j["relevance"] <= 0 or not is_hidden(j["query_row"], j["doc_row"])],
        positives=[p for p in world.positives if not is_hidden(p["query_row"], p["positive_row"])],
    )
    wanted: dict[tuple[int, int], int] = {}
    for positive in world.positives:
        query, doc = positive["query_row"], positive["positive_row"]
        if is_hidden(query, doc) and any(p["query_row"] == query for p in left.positives):
            key = (query, world.doc_texts[doc])
            wanted[key] = min(doc, wanted.get(key, doc))
    pairs = {(query, doc) for (query, _), doc in wanted.items()}
    rows = [r for r in reference_judge.judge(left, comparison, filters) if (r["query_row"], r["doc_row"]) in pairs]
    reached = {(r["query_row"], r["doc_row"]) for r in rows}
    return len(rows), sum(r["verdict"] == "kept" for r in rows), len(pairs - reached)
