"""`hardrock diff`: two workspaces side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.cli.show import as_json, in_round


@click.command()
@click.argument("one", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("other", type=click.Path(exists=True, file_okay=False, path_type=Path))
@in_round
@click.option("--rows", type=click.IntRange(min=0), default=10, show_default=True, help="Queries and verdicts to list.")
@click.option("--query", help="List the changed verdicts of this query, by id, alone.")
@as_json("One JSON object on standard output.")
def diff(one: Path, other: Path, number: int, *, rows: int, query: str | None, as_json: bool) -> None:
    """Compare two workspaces by ids: configuration, sampled negatives, verdicts, and metrics.

    Negatives are compared by query (Jaccard), metrics by the queries that both measured: other minus one, paired, with 95%
    bootstrap intervals and the p-value of a randomisation test.
    """
    from pipeline.cli.console import print_json
    from pipeline.looking.diff import diff as compared

    found = compared(one, other, number, rows, query)
    if as_json:
        print_json(found)
    else:
        _print(found)


def _print(found: dict[str, Any]) -> None:
    from pipeline.cli.console import print_records, print_table, say

    for stage in found["configuration"]:
        say(f"{stage['stage']}: {'; '.join(stage['differs'])}", 2)
    data = found["data"]
    say(
        f"in both: {data['queries']:,} queries ({data['queries_only_one']:,} and {data['queries_only_other']:,} in one alone), "
        f"{data['documents']:,} documents ({data['documents_only_one']:,} and {data['documents_only_other']:,} in one alone, "
        f"{data['documents_changed']:,} with another text)",
        2,
    )
    if "negatives" in found:
        _negatives(found["negatives"])
        print_records(("query_id", "one", "other", "shared", "jaccard", "query"), found["queries"])
    if "verdicts" in found:
        print_records(("before", "after", "candidates"), found["verdicts"])
        print_records(("query_id", "doc_id", "before", "after", "rank_before", "rank_after"), found["changes"])
    if "metrics" in found:
        print_table(
            ("round", "split", "measure", "one", "other", "difference", "low", "high", "p", "queries"),
            (
                (m["round"], m["split"], m["measure"] + (f"@{m['cutoff']}" if m["cutoff"] else ""), m["one"], m["other"],
                 m["difference"], m["low"], m["high"], m["p_value"], m["queries"])
                for m in found["metrics"]
            ),
        )  # fmt: skip


def _negatives(said: dict[str, Any]) -> None:
    from pipeline.cli.console import say

    if said["jaccard"] is None:
        say("negatives: none in either")
        return
    new = "" if said["new"] is None else f"; {said['new']:.1%} of the other's are new"
    say(
        f"negatives: {said['one']:,} and {said['other']:,}, {said['shared']:,} shared{new}; mean Jaccard of "
        f"{said['queries']:,} queries {said['jaccard']:.3f} ({said['low']:.3f} to {said['high']:.3f}); "
        f"{said['queries_only_one']:,} queries lost all, {said['queries_only_other']:,} had none",
        2,
    )
