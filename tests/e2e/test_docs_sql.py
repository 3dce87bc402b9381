"""Every query in docs/sql.md is run, and what the page shows below it is what it gives.

`python -m tests.e2e.test_docs_sql PROJECT` prints the page with the results of that project put in anew.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "sql.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCK = re.compile(r"^```sql\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.S | re.M)
SHOWN = BLOCK.findall(TEXT)
PROGRAMS = re.findall(r"^```python\n(.*?)^```", TEXT, re.S | re.M)


def rendered(names: list[str], rows: list[tuple[Any, ...]]) -> str:
    cells = [
        names,
        *([("" if v is None else f"{v:g}" if isinstance(v, float) else str(v)) for v in row] for row in rows),
    ]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    return "".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() + "\n" for line in cells)


def answer(project: Path, statement: str) -> str:
    with duckdb.connect(str(project / "ws/catalog.duckdb"), read_only=True) as anyone:
        result = anyone.execute(statement)
        return rendered([column[0] for column in result.description], result.fetchall())


@pytest.mark.parametrize(("statement", "shown"), SHOWN, ids=[s.split("\n")[0][:40] for s, _ in SHOWN])
def test_a_query_gives_what_the_page_shows_from_another_folder(project, tmp_path, monkeypatch, statement, shown):
    monkeypatch.chdir(tmp_path)
    assert answer(project, statement) == shown


def test_the_programs_on_the_page_run(project, tmp_path):
    shutil.copytree(project / "ws", tmp_path / "ws")
    shutil.copytree(project / "ws", tmp_path / "other")
    said = [
        subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout.strip()
        for code in PROGRAMS
    ]
    with duckdb.connect(str(project / "ws/catalog.duckdb"), read_only=True) as anyone:
        (count,) = anyone.execute("SELECT count(*) FROM triplets").fetchone()
        (first,) = anyone.execute("SELECT negative FROM triplets WHERE query_id = 'q0000' LIMIT 1").fetchone()
    assert said == [str((first,)), str((count,))]


def test_every_macro_and_view_is_on_the_page():
    from pipeline.macros import MACROS
    from pipeline.views import VIEWS

    for each in (*VIEWS, *MACROS):
        assert f"`{each.name}`" in TEXT or f"{each.name.partition('(')[0]}" in TEXT, each.name


if __name__ == "__main__":
    place = Path(sys.argv[1])
    sys.stdout.write(BLOCK.sub(lambda m: f"```sql\n{m[1]}```\n\n```text\n{answer(place, m[1])}```\n", TEXT))
