"""What a person wants to know first, as a few figures: what training gained, what was mined, how much of it may be wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.reports.charts import number
from stages.reports.leaks import FEWEST

if TYPE_CHECKING:
    from stages.reports.page import Page

_SIDES = {
    "data set": ("ingest", "dataset", ("name", "path", "id", "task")),
    "model": ("embed", "encoder", ("model", "name")),
    "loss": ("train", "loss", ("name",)),
}
"""What the heading names: the stage, its key, and the keys below it of which the first two that are given are shown."""


@dataclass(frozen=True)
class Fact:
    what: str
    figure: str
    note: str


def glance(page: Page) -> list[Fact]:
    """The facts that there are, the most important first. A round that was not made has none."""
    return [*_gain(page), *_mined(page), *_leaks(page), *_recall(page)]


def made_of(configuration: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Names and values of the heading, as far as the configuration has them."""
    found = []
    for what, (stage, key, names) in _SIDES.items():
        table = configuration.get(stage, {}).get(key)
        said = [table[name] for name in names if isinstance(table.get(name), str)] if isinstance(table, Mapping) else []
        if said:
            found.append((what, " ".join(said[: 2 if what == "data set" else 1])))
    return found


def _gain(page: Page) -> Iterator[Fact]:
    """The first measure of the first split: the last model minus the untrained one."""
    own = [c for c in page.comparisons if c.collection is None and page.splits and c.split == page.splits[0]]
    gained = [c for c in own if (c.against_round, c.against_system) == (0, "dense")]
    if gained:
        last = max(c.round for c in gained)
        c = next(c for c in gained if c.round == last)
        note = f"trained minus untrained, {c.low:+.4f} to {c.high:+.4f}, on {number(c.queries)} {c.split} queries"
        yield Fact(f"gain in {c.measure}", f"{c.difference:+.4f}", note)


def _mined(page: Page) -> Iterator[Fact]:
    mined = [(round.number, round.mined) for round in page.rounds if round.mined]
    if mined:
        last, m = mined[-1]
        share = f", {m.verdicts.get('kept', 0) / m.candidates:.0%} kept" if m.candidates else ""
        of = f"of {number(m.candidates)} candidates judged{share}, round {last}"
        yield Fact("triplets to train on", number(m.triplets), of)


def _leaks(page: Page) -> Iterator[Fact]:
    """All filters together, of the last round that hid positives."""
    found = [leaks for round in page.rounds for leaks in round.leaks if leaks.estimator == "hidden_positive"]
    if found and (leak := found[-1].filters[-1]).rate is not None:
        if leak.hidden < FEWEST:
            few = "positive is" if leak.hidden == 1 else "positives are"
            yield Fact("false negatives that pass", "unknown", f"{number(leak.hidden)} hidden {few} too few to tell")
            return
        interval = f"{leak.low:.1%} to {leak.high:.1%}, " if leak.low is not None and leak.high is not None else ""
        note = f"leak rate, {interval}{number(leak.leaked)} of {number(leak.hidden)} hidden positives"
        yield Fact("false negatives that pass", f"{leak.rate:.1%}", note)


def _recall(page: Page) -> Iterator[Fact]:
    found = [(round.number, round.index) for round in page.rounds if "recall" in round.index]
    if found:
        last, index = found[-1]
        recall = index["recall"]
        note = f"{index['kind']['name']}, first {number(recall['depth'])} documents against exact search, round {last}"
        yield Fact("recall of the index", f"{recall['value']:.4f}", note)
