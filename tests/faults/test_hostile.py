"""One data set of hostile strings through the whole pipeline: they stay data, and nothing outside of the workspace is touched."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from pipeline.cli import console
from pipeline.cli.verify import verify
from pipeline.publish import opened
from stages.errors import HardrockError, InputError
from tests.faults import hostile, world
from tests.faults.hostile import STRINGS
from tests.stages.test_report import Parser

WORKSPACE = "ws'; DROP VIEW corpus; -- [x]*"
CHANGES = {
    "report": {"queries": 100, "candidates": 20, "characters": 600, "split": "test"},
    "mine": {"depth": 30},
    "judge": {"filters": {"known_positive": {}, "same_text": {}}},
    "export": {"targets": {name: {} for name in ("st_triplet", "splade_tsv", "flagembedding", "msmarco_hard_negatives")}},
}  # fmt: skip


@pytest.fixture(scope="module")
def place(bench):
    """A folder in which the pipeline has run over hostile data, in a workspace with a hostile name."""
    folder = bench.fresh("hostile")
    data = hostile.write(folder / "data")
    (folder / "victim.txt").write_text("untouched")
    before = sorted(str(p) for p in folder.rglob("*"))
    ended = bench.server.run(data, folder / WORKSPACE, changes=CHANGES)
    assert ended.code == 0, ended.said
    assert before == sorted(str(p) for p in folder.rglob("*") if WORKSPACE not in str(p))
    return folder


@pytest.fixture
def made(place, monkeypatch):
    world.lighten(monkeypatch.setattr)
    return world.runner(place / "data", place / WORKSPACE, **CHANGES)


def test_there_are_enough_strings():
    assert len(set(STRINGS)) == len(STRINGS) >= 60
    print(f"\n{len(STRINGS)} hostile strings")


def test_hostile_ids_and_texts_go_through_the_whole_pipeline(place):
    """They come back as they were, and no name of a file is made of them."""
    workspace = place / WORKSPACE
    corpus = pq.read_table(str(workspace / "ingest/corpus-00000.parquet"))
    assert corpus["text"].to_pylist() == STRINGS
    assert corpus["doc_id"].to_pylist() == [text[:300] for text in STRINGS]
    for path in workspace.rglob("*"):
        assert re.fullmatch(r"[\w.-]+", path.name), path
    assert not list(place.rglob("owned"))


def test_every_line_of_a_run_has_six_fields(place):
    runs = [p for p in (place / WORKSPACE).glob("round-*/evaluate/runs/*") if p.is_file()]
    assert runs
    for path in runs:
        for line in path.read_bytes().decode().split("\n")[:-1]:
            assert len(line.split()) == 6
            assert line.isprintable()


def test_tab_separated_exports_keep_their_columns_and_formulas_as_they_are(place):
    """Trainers read these, not people: a prefix would change what is trained on."""
    (folder,) = (place / WORKSPACE).glob("round-00/export/exports/splade_tsv")
    found = list(folder.rglob("*.tsv"))
    lines = [line for p in found for line in p.read_bytes().decode().split("\n")[:-1]]
    assert lines
    assert {line.count("\t") for line in lines} <= {1, 2}


def page(place: Path) -> str:
    return (place / WORKSPACE / "report/index.html").read_text(encoding="utf-8")


def test_the_page_of_a_strict_parser_has_no_script_and_asks_for_nothing(place):
    parser = Parser()
    parser.feed(page(place))
    assert len(parser.open) == 1
    elements = parser.open[0].all()
    scripts = [e for e in elements if e.tag == "script"]
    assert len(scripts) == len(re.findall("<script[ >]", page(place)))  # the page's own: none came out of a text
    assert not [e for e in scripts if "owned" in e.text]
    for tag in ("img", "iframe", "link", "base", "object", "embed", "template", "math"):
        assert not [e for e in elements if e.tag == tag]
    assert [e.attributes["class"] for e in elements if e.tag == "form"] == ["controls"]
    for element in elements:
        for name in element.attributes:
            assert not name.startswith("on")
            assert name not in ("style", "src", "srcdoc", "action", "formaction")
            assert name != "href" or element.attributes[name].startswith("#")
    shown = " ".join(e.text for e in elements if e.tag in ("h3", "li", "p", "td", "span", "summary"))
    assert "<script>document.title='owned'</script>" in shown
    assert "{{ 7 * 7 }}" in shown


@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")
def test_a_browser_runs_nothing_of_the_page(place, tmp_path):
    """The page is given a script's means: the browser without its policy would set the title."""
    file = tmp_path / "page.html"
    file.write_text(page(place), encoding="utf-8")
    control = tmp_path / "control.html"
    control.write_text("<title>mine</title><p><img src=x onerror=\"document.title='owned'\">", encoding="utf-8")
    title = re.search("<title>(.*?)</title>", page(place))
    assert "<title>owned</title>" in dumped(control, tmp_path)
    dom = dumped(file, tmp_path)
    assert title
    assert title[0] in dom
    assert "evil.example" in dom
    assert not re.search(r"<(img|iframe|base)\b", dom)
    assert len(re.findall("<script[ >]", dom)) == len(re.findall("<script[ >]", page(place)))


def dumped(file: Path, folder: Path) -> str:
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--virtual-time-budget=2000",
         f"--user-data-dir={folder / 'profile'}", "--dump-dom", file.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout


def test_show_finds_each_query_and_moves_no_cursor(made, capsys):
    with opened(made) as connection:
        for number, text in enumerate(STRINGS):
            try:
                console.show_query(connection, text[:300] if number % 3 else f"{text} ?", 0, 3)
            except InputError as error:  # a query without a judgement is left out of the data
                said = str(error)
            else:
                said = capsys.readouterr().out
            assert all(c in "\n\t" or c.isprintable() for c in said)
        assert connection.execute("SELECT count(*) FROM corpus").fetchone() == (len(STRINGS),)


def test_sql_prints_no_escape_sequence_in_a_pipe_or_as_json(made, capsys):
    with opened(made) as connection:
        for as_json in (False, True):
            console.print_rows(connection, "SELECT doc_id, text, title FROM corpus ORDER BY row", as_json)
            said = capsys.readouterr().out
            assert all(c in "\n\t" or c.isprintable() for c in said)
            assert len(said.split("\n")) == len(STRINGS) + 1 + (not as_json)


def test_an_error_about_a_hostile_name_moves_no_cursor():
    for text in STRINGS:
        said = str(HardrockError(text, where=f"/tmp/{text}", got=text, try_=text))
        assert all(c == "\n" or c.isprintable() for c in said)
    assert str(HardrockError("\ud800 lone")).encode()


def test_verify_works_in_a_workspace_with_a_hostile_name(place):
    configuration = place / "hardrock.toml"
    configuration.write_text("")
    arguments = ["--config", str(configuration), "--workspace", str(place / WORKSPACE)]
    assert CliRunner().invoke(verify, arguments).exit_code == 0


LINKS = ("lock", ".building", ".cache", "ingest", "round-00", "report", "catalog.duckdb", "round-00/judge")


@pytest.mark.parametrize("name", LINKS)
def test_a_link_in_the_workspace_harms_nothing_outside(bench, name):
    """Whatever a name of the workspace points at stays as it was; the run ends well or says what is wrong."""
    workspace = bench.copy() if "/" in name else bench.fresh()
    outside = bench.fresh("outside")
    outside.mkdir()
    file = name in ("lock", "catalog.duckdb")
    victim = outside / "victim"
    victim.write_text("mine") if file else (victim.mkdir(), (victim / "kept").write_text("mine"))
    link = workspace / name
    link.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(link, ignore_errors=True)
    link.symlink_to(victim)
    ended = bench.server.run(bench.data, workspace)
    assert "Traceback" not in ended.said
    assert ended.code in (0, 5, 74), ended.said
    assert (victim if file else victim / "kept").read_text() == "mine"
