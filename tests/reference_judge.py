"""Judging and sampling once more, in plain Python over rows, without anything of `stages`."""

from __future__ import annotations

from math import isfinite, isnan

Row = dict


def judge(world, comparison: str, filters: list[Row]) -> list[Row]:
    """The rows of `judged`, from the world's rows and the filters as {"name": …, …} in order."""
    rows = []
    for found in sorted(world.candidates, key=lambda c: (c["query_row"], c["rank"])):
        for held in held_against(world, found["query_row"], comparison):
            rows.append(decide(world, found, held, filters))
    if comparison == "per_positive":
        rows.sort(key=lambda r: (r["query_row"], -1 if r["positive_row"] is None else r["positive_row"], r["rank"]))
    return rows


def held_against(world, query: int, comparison: str) -> list[tuple[int | None, float | None]]:
    """(row, score) of the positives that a query's candidates are held against, each giving a row."""
    mine = [(p["positive_row"], p["score"]) for p in world.positives if p["query_row"] == query]
    mine = [(row, score if score is not None and isfinite(score) else None) for row, score in mine]
    if not mine:
        return [(None, None)]
    if comparison == "per_positive":
        return sorted(mine, key=lambda p: p[0])
    if any(score is None for _, score in mine):
        return [(None, None)]
    return [min(mine, key=lambda p: (p[1], p[0]))]


def decide(world, found: Row, held: tuple, filters: list[Row]) -> Row:
    verdict, evidence = "kept", None
    for each in filters:
        passes, value, limit = RULES[each["name"]](world, found, held[1], each)
        value, limit = (None if x is None or isnan(x) else float(x) for x in (value, limit))
        evidence = {"rule": each["name"], "value": value, "limit": limit}
        if not passes:
            verdict = each["name"]
            break
    held_against = {"positive_row": held[0], "positive_score": held[1], "teacher_score": None}
    return {**found, **held_against, "verdict": verdict, "evidence": evidence}


def same_text_queries(world, query: int) -> set[int]:
    return {q for q, text in enumerate(world.query_texts) if text == world.query_texts[query]}


def known_positive(world, found, positive, rule):
    asked = same_text_queries(world, found["query_row"])
    judged = [j["relevance"] for j in world.qrels if j["query_row"] in asked and j["doc_row"] == found["doc_row"]]
    return not any(r > 0 for r in judged), max(judged, default=None), 0


def same_text(world, found, positive, rule):
    asked = same_text_queries(world, found["query_row"])
    text = world.doc_texts[found["doc_row"]]
    if text == world.query_texts[found["query_row"]]:
        return False, -1, None
    relevant = {j["doc_row"] for j in world.qrels if j["query_row"] in asked and j["relevance"] > 0}
    repeated = [d for d in relevant if world.doc_texts[d] == text]
    return not repeated, max(repeated, default=None), None


def rank_window(world, found, positive, rule):
    rank, first, last = found["rank"], rule["min"], rule["max"]
    if rank < first:
        return False, rank, first
    if last is None:
        return True, rank, first
    return rank <= last, rank, last


def at_most(score, limit):
    if limit is None or not isfinite(score):
        return False, score, limit
    return score <= limit, score, limit


def absolute_margin(world, found, positive, rule):
    return at_most(found["score"], None if positive is None else positive - rule["margin"])


def relative_margin(world, found, positive, rule):
    return at_most(found["score"], None if positive is None else positive - abs(positive) * rule["margin"])


def score_window(world, found, positive, rule):
    score, floor, cap = found["score"], rule["floor"], rule["cap"]
    low = floor is not None and score < floor
    high = cap is not None and score > cap
    limit = floor if low or cap is None else cap
    return isfinite(score) and not low and not high, score, limit


RULES = {
    f.__name__: f for f in (known_positive, same_text, rank_window, absolute_margin, relative_margin, score_window)
}


def sample(world, judged, *, comparison, sampler, negatives, seed, round) -> tuple[list[Row], list[Row]]:
    """The rows of `triplets` and of `shortfall`."""
    triplets, shortfall = [], []
    for pair in sorted(world.positives, key=lambda p: (p["query_row"], p["positive_row"])):
        query, positive = pair["query_row"], pair["positive_row"]
        unknown = pair["score"] is None or isnan(pair["score"])
        pool = [r for r in judged if r["verdict"] == "kept" and r["query_row"] == query]
        if comparison == "per_positive":
            pool = [r for r in pool if r["positive_row"] == positive]
        if sampler == "top":
            pool.sort(key=lambda r: (isnan(r["score"]), 0 if isnan(r["score"]) else -r["score"], r["doc_row"]))
        else:
            pool.sort(key=lambda r: random_key(seed, query, positive, r["doc_row"]))
        for chosen in pool[:negatives]:
            triplets.append(
                {
                    "query_row": query,
                    "positive_row": positive,
                    "negative_row": chosen["doc_row"],
                    "positive_score": None if unknown else pair["score"],
                    "negative_score": chosen["score"],
                    "rank": chosen["rank"],
                    "sampler": sampler,
                    "seed": seed,
                    "round": round,
                }
            )
        if len(pool) < negatives:
            shortfall.append({"query_row": query, "positive_row": positive, "wanted": negatives, "got": len(pool)})
    return triplets, shortfall


def random_key(*numbers: int) -> int:
    state = 0
    for number in numbers:
        state = splitmix64(state ^ number)
    return state


def splitmix64(x: int) -> int:
    """One output of SplitMix64 from the state x."""
    mask = 2**64 - 1
    x = (x + 0x9E3779B97F4A7C15) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return x ^ (x >> 31)


def comparable(rows: list[Row]) -> list[Row]:
    """Rows that can be compared with ==: NaN becomes a word."""

    def plain(value):
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        return "NaN" if isinstance(value, float) and isnan(value) else value

    return [plain(row) for row in rows]
