"""The page: what it holds, and the template that it goes through. Every text is escaped and no script is allowed."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import numpy as np
from markupsafe import Markup

from stages.reports import charts
from stages.reports.browse import Browse
from stages.reports.charts import Interval, Series
from stages.reports.churn import Churn
from stages.reports.figures import Comparison, Mean, system_label
from stages.reports.findings import Check, Distances, Hub, overlap
from stages.reports.glance import glance, made_of
from stages.reports.leaks import Leaks
from stages.reports.mining import Candidate, Mined, Shown
from stages.reports.suspects import Suspect
from stages.suspecting import SIGNS

_POINTS = 400
"""Points of a line; a longer log is drawn as means of neighbouring rows."""


@dataclass(frozen=True)
class Data:
    documents: int
    queries: Mapping[str, int]
    """By split."""
    relevant: Mapping[str, int]
    """Relevant pairs by split."""


@dataclass(frozen=True)
class Document:
    doc_id: str
    title: str
    text: str
    picture: int | None = None
    """Row in pictures."""


@dataclass(frozen=True)
class Training:
    steps: np.ndarray  # float64 (n,)
    losses: np.ndarray  # float64 (n,)
    masked: float
    measured_at: np.ndarray  # float64 (m,), steps
    ndcg: np.ndarray  # float64 (m,)


@dataclass(frozen=True)
class Round:
    number: int
    mined: Mined | None
    training: Training | None
    index: Mapping[str, Any]
    leaks: Sequence[Leaks] = ()
    distances: Distances | None = None


@dataclass(frozen=True)
class Pair:
    """A suspect beside the positive that it resembles."""

    suspect: Suspect
    query_id: str
    query: str
    positive: Document | None
    candidate: Document
    picture: int | None = None


@dataclass(frozen=True)
class Findings:
    round: int | None
    suspects: Sequence[Pair]
    hubs: Sequence[tuple[Hub, Document]]
    checks: Sequence[Check]


@dataclass(frozen=True)
class Example:
    """A query with what it got in each round."""

    query_id: str
    text: str
    split: str
    rounds: Mapping[int, Shown]
    documents: Mapping[int, Document]
    picture: int | None = None


@dataclass(frozen=True)
class Guard:
    """A collection that is measured and not trained on, and how much of it is in the training data after all."""

    name: str
    split: str
    documents: int
    queries: int
    leaked_queries: int
    leaked_documents: int


@dataclass(frozen=True)
class Page:
    title: str
    data: Data
    splits: Sequence[str]
    """Splits that were measured, the most important first."""
    guards: Sequence[Guard]
    means: Sequence[Mean]
    comparisons: Sequence[Comparison]
    rounds: Sequence[Round]
    churn: Sequence[Churn]
    examples: Sequence[Example]
    findings: Findings
    browse: Browse | None
    configuration: Mapping[str, Mapping[str, Any]]
    versions: Mapping[str, str]
    thumbnails: Mapping[int, str] = field(default_factory=dict)
    """Data URIs by the row of the picture."""
    attribution: str = ""


def render(page: Page) -> str:
    """The page as HTML that asks for nothing from outside."""
    from jinja2 import Environment, StrictUndefined

    folder = files("stages.reports")
    style = folder.joinpath("style.css").read_text(encoding="utf-8")
    script = folder.joinpath("browse.js").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = charts.number
    template = environment.from_string(folder.joinpath("page.html").read_text(encoding="utf-8"))
    return template.render(
        page=page,
        style=Markup(style),
        style_hash=_allowed(style),
        script=Markup(script),
        script_hash=_allowed(script),
        overlap=overlap,
        signs=SIGNS,
        glance=glance(page),
        made_of=made_of(page.configuration),
        settings=_settings(page.configuration),
        headlines=[
            *(_headline(page, split, None) for split in page.splits),
            *(_headline(page, guard.split, guard) for guard in page.guards),
        ],
        charts={round.number: _charts(round) for round in page.rounds},
        p_value=_p_value,
        share=_share,
        label=system_label,
        bar=_bar(page),
    )


def _allowed(text: str) -> str:
    """A source of the content security policy that allows this text alone."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _settings(configuration: Mapping[str, Mapping[str, Any]]) -> dict[str, list[tuple[str, str]]]:
    """By stage: dotted keys with their values as JSON."""
    return {stage: list(_flat(table)) for stage, table in configuration.items() if table}


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, json.dumps(value, ensure_ascii=False)


def _headline(page: Page, split: str, guard: Guard | None) -> dict[str, Any]:
    """Rows of the tables of one split of the own collection or of a guard, and a chart of intervals a measure."""
    collection = guard.name if guard else None
    means = [m for m in page.means if (m.split, m.collection) == (split, collection)]
    measures = list(dict.fromkeys(m.measure for m in means))
    systems = sorted({(m.round, m.system) for m in means}, key=lambda key: (key[1] != "bm25", key))
    value = {(m.round, m.system, m.measure): m for m in means}
    best = {name: max(m.value for m in means if m.measure == name) for name in measures}
    compared: dict[tuple[int, int, str], dict[str, Comparison]] = {}
    for c in page.comparisons:
        if (c.split, c.collection) == (split, collection):
            compared.setdefault((c.round, c.against_round, c.against_system), {})[c.measure] = c
    return {
        "split": split,
        "guard": guard,
        "measures": measures,
        "rows": [(system_label(s, r), [value.get((r, s, m)) for m in measures]) for r, s in systems],
        "best": best,
        "compared": [(key, [row.get(m) for m in measures]) for key, row in compared.items()],
        "charts": [(name, _interval_chart(name, [(k, value.get((*k, name))) for k in systems])) for name in measures],
    }


def _interval_chart(measure: str, rows: Sequence[tuple[tuple[int, str], Mean | None]]) -> Markup:
    found = [Interval(system_label(s, r), m.value, m.low, m.high) for (r, s), m in rows if m is not None]
    return charts.intervals(f"{measure} of each system", f"{measure}, mean over queries", found)


def _charts(round: Round) -> list[tuple[str, str, Markup]]:
    """Caption, note and chart, in the order of the pipeline."""
    found: list[tuple[str, str, Markup]] = []
    if round.mined:
        found += _mined_charts(round.mined)
    if round.distances:
        found += _distance_charts(round.distances)
    if round.training and len(round.training.losses):
        found.append(_loss_chart(round.training))
    if round.training and len(round.training.ndcg):
        found.append(_dev_chart(round.training))
    return found


def _mined_charts(mined: Mined) -> list[tuple[str, str, Markup]]:
    number = charts.number
    sizes = {name: int(counts.sum()) for name, counts in mined.scores.items()}
    shares = [Series(name, name, 100 * counts / max(1, sizes[name])) for name, counts in mined.scores.items()]
    spread = ", ".join(f"{number(size)} {name}" for name, size in sizes.items())
    labels, queries = _counted(mined.kept_per_query)
    return [
        (
            "From candidate to training negative",
            f"What each filter took from {number(mined.candidates)} judged candidates. "
            f"What was sampled serves in {number(mined.triplets)} triplets.",
            charts.funnel("Candidates left after each filter", mined.steps),
        ),
        (
            "Where the scores lie",
            f"{spread}; each group by itself, so that a small one can be seen beside a large one.",
            charts.histogram(
                "Scores of positives, kept and dropped",
                "score (inner product)",
                "share of the group (%)",
                mined.edges,
                shares,
            ),
        ),
        (
            "Negatives kept for a query",
            f"{number((mined.kept_per_query == 0).sum())} of {number(len(mined.kept_per_query))} queries keep none.",
            charts.bars("Queries by negatives kept", "negatives kept", "queries", labels, queries, style="kept"),
        ),
        (
            "Negatives sampled for a positive",
            f"{number(mined.short)} of {number(mined.pairs)} pairs of query and positive got fewer than asked for.",
            charts.bars(
                "Pairs by negatives sampled",
                "negatives sampled",
                "pairs",
                [str(i) for i in range(len(mined.sampled_per_pair))],
                mined.sampled_per_pair,
                style="positives",
            ),
        ),
    ]


def _distance_charts(distances: Distances) -> list[tuple[str, str, Markup]]:
    number = charts.number

    def shares(counts: Mapping[str, np.ndarray]) -> list[Series]:
        return [Series(name, name, 100 * c / max(1, c.sum())) for name, c in counts.items()]

    return [
        (
            "How near candidates come to their positive",
            "The gap is how far a score lies below its positive's, as a share of it: left of 0 a candidate scores higher. "
            f"{number(distances.outside)} candidates lie outside or have no positive's score.",
            charts.histogram(
                "Gaps of kept and dropped", "gap to the positive (share of its score)", "share of the group (%)",
                distances.gap_edges, shares(distances.gaps),
            ),
        ),
        (
            "At which rank they were found",
            "Rank among all documents found for the query, positives included.",
            charts.histogram(
                "Ranks of kept and dropped", "rank", "candidates", distances.rank_edges,
                [Series(name, name, counts) for name, counts in distances.ranks.items()],
            ),
        ),
    ]  # fmt: skip


def _dev_chart(training: Training) -> tuple[str, str, Markup]:
    best = int(training.ndcg.argmax())
    return (
        "Retrieval while training",
        f"On the queries of the split dev; best {training.ndcg[best]:.4f} after {charts.number(training.measured_at[best])} steps. "
        "The axis does not begin at zero.",
        charts.line(
            "nDCG@10 on dev by step", "optimizer step", "nDCG@10 (0 to 1)", training.measured_at, training.ndcg,
            style="kept", zero=False,
        ),
    )  # fmt: skip


def _loss_chart(training: Training) -> tuple[str, str, Markup]:
    group = -(-len(training.losses) // _POINTS)
    starts = np.arange(0, len(training.losses), group)
    sizes = np.diff([*starts, len(training.losses)])
    steps, losses = (np.add.reduceat(values, starts) / sizes for values in (training.steps, training.losses))
    note = f"{training.masked:.2%} of in-batch negatives were known positives and were masked."
    note += f" Each point is the mean of {group} rows of the log." if group > 1 else ""
    return (
        "Training loss",
        note,
        charts.line("Training loss by step", "optimizer step", "loss", steps, losses, style="positives"),
    )


def _counted(values: np.ndarray) -> tuple[list[str], np.ndarray]:
    """How many have each value, or each range of values where there are more than 20."""
    most = int(values.max(initial=0))
    width = -(-(most + 1) // 20)
    counts = np.bincount(values // width, minlength=most // width + 1)
    starts = range(0, most + 1, width)
    return [str(s) if width == 1 else f"{s}–{s + width - 1}" for s in starts], counts


def _bar(page: Page) -> Any:
    edges = {round.number: round.mined.edges for round in page.rounds if round.mined}

    def bar(number: int, candidate: Candidate, style: str) -> Markup:
        low, high = float(edges[number][0]), float(edges[number][-1])
        if candidate.score is None:
            return Markup()
        return charts.score_bar(candidate.score, low, high, candidate.positive_score, style)

    return bar


def _share(value: float | None) -> str:
    return "not known" if value is None else f"{value:.1%}"


def _p_value(value: float) -> str:
    return "p < 0.0001" if value < 0.0001 else f"p = {value:.4f}"
