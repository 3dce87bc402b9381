"""One page and one JSON file of what every round mined, trained and gained."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from stages.deepened import Deepened
from stages.reports import browse, figures, findings, leaks, mining, thumbnails
from stages.reports.browse import Browse
from stages.reports.churn import Churn, churn
from stages.reports.page import Data, Document, Example, Findings, Guard, Page, Pair, Round, Training, render
from stages.reports.suspects import suspects
from stages.settings import Settings
from stages.spec import Context, Inputs, Part, Source, Spec


class ReportConfig(Settings):
    title: str = Field("Hard negatives", min_length=1, description="Heading of the page.")
    split: str = Field("test", description="Split whose measures come first; other measured splits follow.")
    queries: int = Field(
        20, ge=0, description="Queries shown side by side with their documents. Each adds a few kB to the page."
    )
    candidates: int = Field(
        6,
        ge=1,
        description="Kept and dropped candidates shown of a query in a round, each. The page says how many more there are.",
    )
    characters: int = Field(240, ge=20, description="Characters shown of a text, after which it ends in an ellipsis.")
    browse: int = Field(
        10_000, ge=0, description="Queries that can be searched and opened, drawn by the seed. 10,000 take up to 4 MB."
    )
    suspects: int = Field(
        12,
        ge=0,
        description="Likely false negatives shown beside the positive that they resemble, as `hardrock suspects` finds them.",
    )
    hubs: int = Field(10, ge=0, description="Documents that most queries keep as negatives that are listed.")
    thumbnail: int = Field(
        64,
        ge=0,
        le=256,
        description="Side of the pictures that are shown, in pixels, where there are some; 0 shows none. Each adds about 1 kB.",
    )
    seed: int = Field(0, ge=0, description="Seed of the draw of queries. Another seed shows others.")
    configuration: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="What every other stage was configured with, by stage. Filled in by itself."
    )


MINED = ("positives", "judged", "triplets", "shortfall")

PACKAGES = (
    "hardrock", "torch", "sentence-transformers", "transformers", "faiss-cpu", "numpy", "pyarrow", "bm25s", "ir-measures",
)  # fmt: skip


def versions(config: ReportConfig, inputs: Inputs, device: str) -> dict[str, str]:
    """Installed versions of what results hang on. They are on the page, and so part of what identifies it."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


SPEC = Spec(
    name="report",
    version=4,
    config=ReportConfig,
    facts_of=("judged", "corpus.faiss", "guard_metrics", "corpus"),
    inputs=("corpus", "queries", "qrels", "pictures"),
    every_round=(
        *MINED,
        "deepened",
        "teacher_scores",
        "estimates",
        "metrics",
        "comparisons",
        "guard_metrics",
        "guard_comparisons",
        "training_log",
        "dev_curve",
        "corpus.faiss",
    ),
    external=versions,
    files=("index.html", "metrics.json"),
)


def run(config: ReportConfig, inputs: Inputs, context: Context) -> Iterator[Part]:
    """One whole shard: the page and the flat figures. What a round has not made is left out of both."""
    for shard in context.shards:
        page = _page(config, inputs, context)
        files = {"index.html": render(page), "metrics.json": figures.flat(page.means, page.comparisons, _counts(page))}
        yield Part(
            shard,
            files={name: partial(_write, text) for name, text in files.items()},
            counters={"rounds": len(page.rounds), "queries_shown": len(page.examples)},
        )


def _write(text: str, path: Path) -> None:
    path.write_bytes(text.encode())


def _page(config: ReportConfig, inputs: Inputs, context: Context) -> Page:
    by_round = _by_round(inputs)
    means = [mean for source in _all(by_round, "metrics", "guard_metrics") for mean in figures.means(source)]
    compared = [c for source in _all(by_round, "comparisons", "guard_comparisons") for c in figures.comparisons(source)]
    own = {mean.split for mean in means if mean.collection is None}
    splits = sorted(own, key=lambda split: (split != config.split, split))
    if splits and splits[0] != config.split:
        context.log(f"report: nothing was measured on the split {config.split!r}; the page shows {', '.join(splits)}")
    queries = inputs["queries"].rows
    rounds = [
        Round(
            number,
            mining.read(tables, queries) if _mined(tables) else None,
            _training(tables["training_log"], tables.get("dev_curve")) if "training_log" in tables else None,
            tables["corpus.faiss"].facts if "corpus.faiss" in tables else {},
            leaks.read(tables["estimates"]) if "estimates" in tables else [],
            findings.distances(tables["judged"]) if _mined(tables) else None,
        )
        for number, tables in by_round.items()
    ]
    examples, found = _examples(config, inputs, by_round), _findings(config, inputs, by_round)
    shown, taken = _thumbnails(config, inputs["pictures"], examples, found, context)
    return Page(
        title=config.title,
        data=_data(inputs),
        splits=splits,
        guards=_guards(by_round),
        means=means,
        comparisons=compared,
        rounds=rounds,
        churn=_churn(by_round),
        examples=examples,
        findings=found,
        browse=_browse(config, inputs, by_round, taken),
        configuration=config.configuration,
        versions=versions(config, inputs, context.device),
        thumbnails=shown,
        attribution=str(inputs["corpus"].facts.get("attribution", "")),
    )


def _thumbnails(
    config: ReportConfig, pictures: Source, examples: Sequence[Example], found: Findings, context: Context
) -> tuple[dict[int, str], int]:
    """Of every picture that the page names outside of the searchable queries, as far as they fit, and the bytes they take."""
    if not pictures.rows or not config.thumbnail:
        return {}, 0
    shown: list[Example | Pair | Document] = [*examples, *found.suspects, *(document for _, document in found.hubs)]
    for example in examples:
        lists = (c for side in example.rounds.values() for c in (*side.positives, *side.kept, *side.dropped))
        shown += [example.documents[candidate.doc_row] for candidate in lists]
    shown += [document for pair in found.suspects for document in (pair.positive, pair.candidate) if document]
    rows = [one.picture for one in shown if one.picture is not None]
    made, beyond = thumbnails.thumbnails(pictures, rows, config.thumbnail, thumbnails.BYTES)
    if beyond:
        context.log(f"report: {beyond:,} pictures are not shown, as the page would be too large")
    return made, sum(len(made[row]) for row in rows if row in made)


def _all(by_round: Mapping[int, Mapping[str, Source]], *names: str) -> Iterator[Source]:
    """The tables of these names, those of the first name in every round first."""
    for name in names:
        yield from (tables[name] for tables in by_round.values() if name in tables)


def _guards(by_round: Mapping[int, Mapping[str, Source]]) -> list[Guard]:
    """The collections that the last round was measured on, by name."""
    facts = {name: fact for source in _all(by_round, "guard_metrics") for name, fact in source.facts.items()}
    return [
        Guard(
            name,
            fact["split"],
            **{key: fact[key] for key in ("documents", "queries")},
            **{f"leaked_{key}": fact[f"leaked.{key}"] for key in ("queries", "documents")},
        )
        for name, fact in sorted(facts.items())
    ]


def _churn(by_round: Mapping[int, Mapping[str, Source]]) -> list[Churn]:
    """What changed among the negatives from each round that was mined to the next."""
    triplets = {number: tables["triplets"] for number, tables in by_round.items() if "triplets" in tables}
    return [
        churn(number, source, triplets[number - 1]) for number, source in triplets.items() if number - 1 in triplets
    ]


def _by_round(inputs: Inputs) -> dict[int, dict[str, Source]]:
    """The inputs of each round, in order, by the names that they have in their round."""
    found: dict[int, dict[str, Source]] = {}
    for name in sorted(inputs):
        folder, _, table = name.partition("/")
        if table:
            found.setdefault(int(folder.removeprefix("round-")), {})[table] = inputs[name]
    for tables in found.values():
        if "judged" in tables and "deepened" in tables:
            tables["judged"] = Deepened(tables["judged"], tables["deepened"])
    return dict(sorted(found.items()))


def _mined(tables: Mapping[str, Source]) -> bool:
    return all(name in tables for name in MINED)


def _data(inputs: Inputs) -> Data:
    queries = Counter(_column(inputs["queries"], "split"))
    relevant: Counter[str] = Counter()
    for batch in inputs["qrels"].batches(["relevance", "split"]):
        relevant.update(batch.filter(pc.greater(batch.column("relevance"), 0)).column("split").to_pylist())
    return Data(inputs["corpus"].rows, dict(sorted(queries.items())), dict(relevant))


def _column(source: Source, name: str) -> Iterator[str]:
    for batch in source.batches([name]):
        yield from batch.column(name).to_pylist()


def _training(log: Source, curve: Source | None) -> Training:
    table = log.read(["step", "loss", "masked"])
    steps, losses, masked = (column.to_numpy().astype(np.float64) for column in table.columns)
    measured = curve.read(["step", "ndcg"]) if curve else None
    at, ndcg = (c.to_numpy().astype(np.float64) for c in measured.columns) if measured else (np.empty(0), np.empty(0))
    return Training(steps, losses, float(masked.mean()) if len(masked) else 0.0, at, ndcg)


def _findings(config: ReportConfig, inputs: Inputs, by_round: Mapping[int, Mapping[str, Source]]) -> Findings:
    """What to look at first, of the last round that was mined; of the data alone when none was."""
    mined = {number: tables for number, tables in by_round.items() if _mined(tables)}
    if not mined:
        return Findings(None, [], [], findings.checks(inputs, None))
    number = max(mined)
    tables = mined[number]
    found = suspects(tables, inputs, config.suspects)
    hubs = findings.hubs(tables["judged"], tables["triplets"], inputs["corpus"].rows, config.hubs)
    rows = sorted(
        {r for s in found for r in (s.positive_row, s.doc_row) if r is not None} | {hub.doc_row for hub in hubs}
    )
    documents = _documents(inputs["corpus"], rows, config.characters)
    queries = {
        row["row"]: row
        for row in _take(
            inputs["queries"], ["row", "query_id", "text", "picture"], sorted({s.query_row for s in found})
        )
    }
    pairs = [
        Pair(
            s,
            queries[s.query_row]["query_id"],
            _shorten(queries[s.query_row]["text"], config.characters),
            None if s.positive_row is None else documents[s.positive_row],
            documents[s.doc_row],
            queries[s.query_row]["picture"],
        )
        for s in found
    ]
    return Findings(
        number, pairs, [(hub, documents[hub.doc_row]) for hub in hubs], findings.checks(inputs, tables["triplets"])
    )


def _browse(
    config: ReportConfig, inputs: Inputs, by_round: Mapping[int, Mapping[str, Source]], taken: int
) -> Browse | None:
    """The queries of the last round that was mined, to be searched; None when there are none.

    `taken` are the bytes of pictures that stand elsewhere on the page.
    """
    mined = {number: tables for number, tables in by_round.items() if _mined(tables)}
    if not mined or not config.browse:
        return None
    tables = mined[max(mined)]
    rows = mining.choose(tables["positives"], config.browse, config.seed)
    shown = browse.listed(tables, rows, config.candidates)
    wanted = sorted({c[0] for one in shown.values() for name in "pkd" for c in one[name]})
    documents = {
        row["row"]: {**row, "text": _shorten(row["text"], config.characters)}
        for row in _take(inputs["corpus"], ["row", "doc_id", "title", "text", "picture"], wanted)
    }
    columns = ["row", "query_id", "text", "split", "picture"]
    queries = {row["row"]: row for row in _take(inputs["queries"], columns, rows)}
    of = len(mining.choose(tables["positives"], inputs["queries"].rows, config.seed))
    edges = mining.edges([tables["judged"], tables["positives"]])
    first = [*queries.values(), *(documents[c[0]] for one in shown.values() for c in one["p"])]
    pictures, beyond = _pictures(config, inputs["pictures"], first, documents.values(), thumbnails.BYTES - taken)
    return browse.pack(
        shown, queries, documents,
        round=max(mined), of=of, scale=(float(edges[0]), float(edges[-1])), characters=config.characters,
        pictures=pictures, beyond=beyond, room=browse.BYTES - taken,
    )  # fmt: skip


def _pictures(
    config: ReportConfig,
    pictures: Source,
    first: Iterable[Mapping[str, Any]],
    others: Iterable[Mapping[str, Any]],
    room: int,
) -> tuple[dict[int, str], int]:
    """Thumbnails of rows with a picture, some before the others, as far as they fit into `room` bytes, and how many do not."""
    if not pictures.rows or not config.thumbnail:
        return {}, 0
    made: dict[int, str] = {}
    left = 0
    for rows in (first, others):
        open_ = {row["picture"] for row in rows if row["picture"] is not None} - set(made)
        more, beyond = thumbnails.thumbnails(pictures, open_, config.thumbnail, room - sum(map(len, made.values())))
        made, left = made | more, left + beyond
    return made, left


def _examples(config: ReportConfig, inputs: Inputs, by_round: Mapping[int, Mapping[str, Source]]) -> list[Example]:
    """Some queries of the last round that was mined, with what they got in every round."""
    mined = {number: tables for number, tables in by_round.items() if _mined(tables)}
    if not mined or not config.queries:
        return []
    rows = mining.choose(mined[max(mined)]["positives"], config.queries, config.seed)
    shown = {
        number: {row: side.within(config.candidates) for row, side in mining.show(tables, rows).items()}
        for number, tables in mined.items()
    }
    wanted = sorted(
        {c.doc_row for sides in shown.values() for s in sides.values() for c in (*s.positives, *s.kept, *s.dropped)}
    )
    documents = _documents(inputs["corpus"], wanted, config.characters)
    queries = {
        row["row"]: row for row in _take(inputs["queries"], ["row", "query_id", "text", "split", "picture"], rows)
    }
    return [
        Example(
            queries[row]["query_id"],
            _shorten(queries[row]["text"], config.characters),
            queries[row]["split"],
            {number: sides[row] for number, sides in shown.items()},
            documents,
            queries[row]["picture"],
        )
        for row in rows
    ]


def _documents(corpus: Source, rows: Sequence[int], characters: int) -> dict[int, Document]:
    return {
        row["row"]: Document(
            row["doc_id"], _shorten(row["title"] or "", characters), _shorten(row["text"], characters), row["picture"]
        )
        for row in _take(corpus, ["row", "doc_id", "title", "text", "picture"], rows)
    }


def _take(source: Source, columns: Sequence[str], rows: Sequence[int]) -> Iterator[dict[str, Any]]:
    wanted = pa.array(rows, pa.int32())
    for batch in source.batches(columns):
        yield from batch.filter(pc.is_in(batch.column("row"), wanted)).to_pylist()


def _shorten(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 1].rstrip() + "…"


def _counts(page: Page) -> dict[str, float]:
    """Counts of every round that was mined, and the index's recall, by the keys of metrics.json."""
    counts: dict[str, float] = {}
    for round in page.rounds:
        name = figures.round_name(round.number)
        if "recall" in round.index:
            counts[f"{name}.index.recall"] = round.index["recall"]["value"]
        if round.mined:
            counts |= {f"{name}.candidates": round.mined.candidates, f"{name}.triplets": round.mined.triplets}
            counts |= {f"{name}.verdict.{verdict}": count for verdict, count in round.mined.verdicts.items()}
            counts |= {f"{name}.pairs": round.mined.pairs, f"{name}.pairs.short": round.mined.short}
        for leak in round.leaks:
            counts |= leak.counts(f"{name}.estimate")
        if round.training and len(round.training.losses):
            counts[f"{name}.training.loss"] = float(round.training.losses[-1])
    for c in page.churn:
        names = ("new", "jaccard", "queries_gained", "queries_lost")
        counts |= {f"{figures.round_name(c.round)}.churn.{name}": getattr(c, name) for name in names}
    for guard in page.guards:
        counts |= {
            f"guard.{guard.name}.{name}": getattr(guard, name) for name in ("leaked_queries", "leaked_documents")
        }
    return counts
