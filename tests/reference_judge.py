"""Judging and sampling once more, in plain Python over rows, without anything of `stages`."""

from __future__ import annotations

import struct
import unicodedata
from math import exp, isfinite, isnan, log

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


def shift(world, found, positive, rule):
    return found["rank"] > rule["n"], found["rank"], rule["n"]


def duplicate_candidate(world, found, positive, rule):
    text = world.doc_texts[found["doc_row"]]
    same = [
        c
        for c in world.candidates
        if c["query_row"] == found["query_row"] and world.doc_texts[c["doc_row"]] == text and c["rank"] < found["rank"]
    ]
    return not same, min(same, key=lambda c: c["rank"])["doc_row"] if same else None, None


def hub(world, found, positive, rule):
    queries = {c["query_row"] for c in world.candidates}
    share = sum(c["doc_row"] == found["doc_row"] for c in world.candidates) / len(queries)
    return share <= rule["share"], share, rule["share"]


def known_positives(world, query: int) -> set[int]:
    asked = same_text_queries(world, query)
    return {j["doc_row"] for j in world.qrels if j["query_row"] in asked and j["relevance"] > 0}


def same_group(world, found, positive, rule):
    mine = world.group(found["doc_row"])
    same = [d for d in known_positives(world, found["query_row"]) if mine is not None and world.group(d) == mine]
    return not same, max(same, default=None), None


def held_out(world, found, positive, rule):
    splits = {j["split"] for j in world.qrels if j["doc_row"] == found["doc_row"] and j["relevance"] > 0}
    held = bool(splits) and "train" not in splits
    return not held, held, None


def near_duplicate_semantic(world, found, positive, rule):
    mine = world.vector(found["doc_row"])
    products = [
        sum(single(a) * single(b) for a, b in zip(mine, world.vector(p), strict=True))
        for p in known_positives(world, found["query_row"])
    ]
    grid = [round(x * 2**40) / 2**40 for x in products]
    return max(grid, default=-9e9) < rule["threshold"], max(grid, default=None), rule["threshold"]


def single(x: float) -> float:
    """The float32 nearest to x."""
    return struct.unpack("f", struct.pack("f", x))[0]


def near_duplicate_lexical(world, found, positive, rule):
    mine = shingles(world, found["doc_row"], rule)
    similarities = [jaccard(mine, shingles(world, p, rule)) for p in known_positives(world, found["query_row"])]
    reached = [x for x in similarities if x >= rule["threshold"]]
    return not reached, max(reached, default=None), rule["threshold"]


def shingles(world, doc: int, rule) -> set[str]:
    title = "A title " if world.doc_texts[doc] % 3 == 0 else ""
    return shingles_of(title + world.words(doc), rule["unit"], rule["size"])


def shingles_of(text: str, unit: str, size: int) -> set:
    text = unicodedata.normalize("NFKC", text).lower()
    words = "".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in text).split()
    units = words if unit == "word" else list(" ".join(words))
    if not units:
        return set()
    return {tuple(units[i : i + size]) for i in range(max(1, len(units) - size + 1))}


def jaccard(a: set, b: set) -> float:
    return len(a & b) / len(a | b) if a | b else 1.0


RULES = {
    f.__name__: f
    for f in (
        known_positive, same_text, rank_window, absolute_margin, relative_margin, score_window, shift,
        duplicate_candidate, hub, near_duplicate_semantic, near_duplicate_lexical,
        same_group, held_out,
    )
}  # fmt: skip


def sample(world, judged, *, comparison, sampler: Row, negatives, seed, round) -> tuple[list[Row], list[Row]]:
    """The rows of `triplets` and of `shortfall`, for a sampler as {"name": …, …}."""
    triplets, shortfall = [], []
    for pair in sorted(world.positives, key=lambda p: (p["query_row"], p["positive_row"])):
        query, positive = pair["query_row"], pair["positive_row"]
        unknown = pair["score"] is None or isnan(pair["score"])
        pool = [r for r in judged if r["verdict"] == "kept" and r["query_row"] == query and isfinite(r["score"])]
        if comparison == "per_positive":
            pool = [r for r in pool if r["positive_row"] == positive]
        pool.sort(key=lambda r: (-r["score"], r["doc_row"]))
        keys = [random_key(seed, query, positive, r["doc_row"]) for r in pool]
        chosen = SAMPLERS[sampler["name"]](pool, keys, None if unknown else pair["score"], negatives, sampler)
        for row in chosen:
            triplets.append(
                {
                    "query_row": query,
                    "positive_row": positive,
                    "negative_row": row["doc_row"],
                    "positive_score": None if unknown else pair["score"],
                    "negative_score": row["score"],
                    "rank": row["rank"],
                    "sampler": sampler["name"],
                    "seed": seed,
                    "round": round,
                }
            )
        if len(chosen) < negatives:
            shortfall.append({"query_row": query, "positive_row": positive, "wanted": negatives, "got": len(chosen)})
    return triplets, shortfall


# Each gets a pair's rows by (-score, doc_row), their random keys, the positive's score or None, and gives rows in order.


def top(pool, keys, positive, negatives, rule):
    return pool[:negatives]


def first(pool, keys, positive, negatives, rule):
    return sorted(pool, key=lambda r: (r["rank"], r["doc_row"]))[:negatives]


def random(pool, keys, positive, negatives, rule):
    return [row for _, row in sorted(zip(keys, pool, strict=True), key=lambda each: each[0])][:negatives]


def softmax(pool, keys, positive, negatives, rule):
    hardest = pool[: rule["top"]]
    return drawn(hardest, keys[: rule["top"]], [exp(r["score"] / rule["temperature"]) for r in hardest], negatives)


def simans(pool, keys, positive, negatives, rule):
    if positive is None or not isfinite(positive):
        return []
    weights = [exp(-rule["a"] * (r["score"] - positive + rule["b"]) ** 2) for r in pool]
    return drawn(pool, keys, weights, negatives)


def log_random(pool, keys, positive, negatives, rule):
    return drawn(pool, keys, [1 / log(1 + r["rank"]) for r in pool], negatives)


def drawn(pool, keys, weights, negatives):
    """The first to ring, where each has an alarm after an exponential time with its weight as the rate.

    The key's uniform number u says when: -ln(u) / weight. That is a draw without replacement by weight.
    """
    times = [-log(((key >> 12) + 0.5) / 2**52) / weight for key, weight in zip(keys, weights, strict=True)]
    return [pool[i] for i in sorted(range(len(pool)), key=lambda i: times[i])][:negatives]


def stratified(pool, keys, positive, negatives, rule):
    count = min(rule["bands"], negatives)
    bands = [[] for _ in range(count)]
    for place, (row, key) in enumerate(zip(pool, keys, strict=True)):
        bands[place * count // len(pool)].append((key, row))
    queues = [[row for _, row in sorted(band, key=lambda each: each[0])] for band in bands]
    chosen = []
    while any(queues) and len(chosen) < negatives:
        for queue in queues:
            if queue and len(chosen) < negatives:
                chosen.append(queue.pop(0))
    return chosen


SAMPLERS = {f.__name__: f for f in (top, first, random, softmax, simans, log_random, stratified)}


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
