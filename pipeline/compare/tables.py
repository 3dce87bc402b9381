"""A comparison for a person: a table on the terminal, and the same as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipeline.compare.arms import ARMS, BASELINE, OURS

Row = Mapping[str, Any]
SHOWN = ("nDCG", "MRR", "Recall")
FEW = 0.001
"""A p-value below which the table does not say how far."""


def splits(table: pa.Table, *, brief: bool = False) -> dict[str, tuple[list[str], list[list[str]]]]:
    """For each split the heads of the columns, and a row of cells for each arm. Brief ones leave out intervals of differences."""
    rows = table.to_pylist()
    found = {}
    for split in dict.fromkeys(row["split"] for row in rows):
        inside = [row for row in rows if row["split"] == split]
        arms: dict[str, list[Row]] = {}
        for row in inside:
            arms.setdefault(row["arm"], []).append(row)
        measures = [(row["measure"], row["cutoff"]) for row in inside if row["arm"] == inside[0]["arm"]]
        shown = [key for key in measures if key[0] in SHOWN]
        heads = ["arm", *(_head(*key) for key in shown)]
        heads += [f"{_head(*shown[0])} − {other}" for other in (BASELINE, OURS)]
        heads += [head for head, _ in _ABOUT]
        found[split] = heads, [_cells(name, of, shown, brief) for name, of in arms.items()]
    return found


_ABOUT: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("leak rate", lambda row: _with_interval(row["leak_rate"], row["leak_low"], row["leak_high"])),
    ("false negatives", lambda row: _share(row["false_negatives"])),
    ("relatives", lambda row: _share(row["relatives"])),
    ("queries without", lambda row: f"{row['queries_without']:,.0f}"),
    ("train min", lambda row: f"{row['train_minutes']:.2f}"),
    ("all min", lambda row: f"{row['minutes']:.2f}"),
)


def _cells(name: str, rows: Sequence[Row], shown: Sequence[tuple[str, int | None]], brief: bool) -> list[str]:
    by = {(row["measure"], row["cutoff"]): row for row in rows}
    cells = [name]
    for key in shown:
        row = by[key]
        cells.append(f"{_three(row['value'])} ({_three(row['low'])}–{_three(row['high'])})")
    cells += [_difference(by[shown[0]], other, brief) for other in (BASELINE, OURS)]
    return cells + [cell(rows[0]) for _, cell in _ABOUT]


def _head(measure: str, cutoff: int | None) -> str:
    return measure if cutoff is None else f"{measure}@{cutoff}"


def _three(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1)


def _difference(row: Row, other: str, brief: bool) -> str:
    if row[f"{other}_difference"] is None:
        return ""
    p_value = row[f"{other}_p_value"]
    says = f"p<{FEW:g}" if p_value < FEW else f"p={p_value:.3f}"
    mean, low, high = (_signed(row[f"{other}_{name}"]) for name in ("difference", "low", "high"))
    return f"{mean} {says}" if brief else f"{mean} ({low} to {high}), {says}"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("0.", ".", 1)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _with_interval(share: float | None, low: float | None, high: float | None) -> str:
    """A share of few cases says little: its interval shows it."""
    return "" if share is None or low is None or high is None else f"{share:.0%} ({low:.0%}–{high:.0%})"


def heading(table: pa.Table, split: str) -> str:
    """What the numbers of a split are of."""
    row = next(one for one in table.to_pylist() if one["split"] == split)
    return (
        f"{split}: {row['queries']:,} queries, {row['seeds']} seeds, {row['steps']:,} steps each; "
        "95% intervals over seeds and queries"
    )


def markdown(table: pa.Table, hardware: Mapping[str, Any], command: str) -> str:
    """The page: a table a split, what the arms are, the machine and the command."""
    lines = ["# What mining pays", ""]
    for split, (heads, rows) in splits(table).items():
        lines += [heading(table, split), "", f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
        lines += [*(f"| {' | '.join(row)} |" for row in rows), ""]
    says = {arm.name: arm.says for arm in ARMS}
    lines += [f"- {name}: {says[name]}" for name in dict.fromkeys(table["arm"].to_pylist())]
    memory = hardware["memory"] / 2**30
    lines += ["", f"{hardware['processor']}, {hardware['cores']} cores, {memory:.0f} GiB.", "", f"    {command}", ""]
    return "\n".join(lines)
