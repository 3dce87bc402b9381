"""The arithmetic of a target, against numbers worked out by hand, and the command line around it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from pipeline import capacity
from pipeline.capacity import Cell, Settings, Target, advice, estimate, target
from pipeline.cli.look import plan as command
from pipeline.plan import Node
from stages.errors import ArtefactError, ConfigError, YieldError
from tests.faults import world

CELL = Cell(
    dimensions=100, ingest_document=1e-6, embed_document=0.01, embed_query=0.005, pair=1e-9, judge_candidate=1e-6,
    memory=10**9, document_bytes=200.0, query_bytes=50.0, candidate_bytes=16.0, judged_bytes=24.0, cores=4,
    node_memory=16 * 10**9, source="by hand",
)  # fmt: skip
ASKED = Target(docs=10**6, queries=10**5, nodes=10, cores=4, memory=16 * 10**9, network=1e10)
GIVEN = Settings(depth=100, shard_rows=1_000, shard_queries=1_000, cell_documents=None, negatives=5, targets=2)


def by_stage(asked: Target = ASKED, given: Settings = GIVEN) -> dict[str, capacity.Estimate]:
    return {each.stage: each for each in estimate(CELL, asked, given)}


def test_the_numbers_are_those_of_the_arithmetic():
    found = by_stage()
    embed, mine, judge = found["embed"], found["mine"], found["judge"]
    assert embed.core_seconds == pytest.approx(10**6 * 0.01 + 10**5 * 0.005)
    assert embed.shards == 1_100
    assert embed.seconds == pytest.approx(28 * 10_500 / 1_100)  # 40 workers take 28 turns of 1,100 shards
    assert embed.stored == (4 * 100 + 28) * 1_100_000
    assert mine.core_seconds == pytest.approx(10**6 * 10**5 * 1e-9)
    assert mine.shards == 100
    assert mine.seconds == pytest.approx(3 * 100 / 100)
    assert mine.moved == pytest.approx(100 * 4 * 100 * 10**6 + 10**5 * 100 * 16)
    halves = estimate(CELL, ASKED, replace(GIVEN, storage="float16"))
    assert next(each for each in halves if each.stage == "embed").stored == (2 * 100 + 28) * 1_100_000
    assert mine.memory == pytest.approx(4 * (10**9 + 2 * 10**6 * 100 + 1_000 * (400 + 2_400)))
    assert judge.stored == 10**5 * 100 * 24
    export = found["export"]
    assert export.shards == 2 * 2  # two targets of 500,000 triplets
    assert export.stored == 2 * 10**5 * 6 * 200
    texts = 200 * 10**6 + 50 * 10**5
    assert export.seconds == pytest.approx((10 * 4 * texts + export.stored) / 1e11 + 2 * export.stored / 1e10)
    assert found["index"].whole
    assert found["index"].seconds == pytest.approx(16 * 100 * 10**6 / 1e10)


def test_more_nodes_take_less_time_until_a_stage_has_no_more_shards():
    times = [by_stage(replace(ASKED, nodes=nodes))["mine"].seconds for nodes in (1, 5, 25, 50)]
    assert times[0] > times[1] > times[2] == times[3]
    whole = [by_stage(replace(ASKED, nodes=nodes))["index"].seconds for nodes in (1, 50)]
    assert whole[0] == whole[1]


def test_twice_the_documents_are_twice_the_work():
    one, two = by_stage(), by_stage(replace(ASKED, docs=2 * ASKED.docs))
    assert two["mine"].core_seconds == pytest.approx(2 * one["mine"].core_seconds)
    assert two["index"].stored == 2 * one["index"].stored


def test_advice_names_the_setting_that_helps():
    small = replace(ASKED, memory=4 * 10**9)
    said = "\n".join(advice(estimate(CELL, small, GIVEN), CELL, small, GIVEN))
    assert "mine.cell_documents" in said
    slow = replace(ASKED, network=1e6)
    assert "mine.shard_queries" in "\n".join(advice(estimate(CELL, slow, GIVEN), CELL, slow, GIVEN))
    many = replace(ASKED, nodes=1_000)
    assert "smaller shards" in "\n".join(advice(estimate(CELL, many, GIVEN), CELL, many, GIVEN))
    assert list(advice(estimate(CELL, ASKED, GIVEN), CELL, ASKED, GIVEN)) == []


def test_cells_keep_memory_flat():
    given = replace(GIVEN, cell_documents=10_000)
    assert by_stage(given=given)["mine"].memory == by_stage(replace(ASKED, docs=2 * 10**9), given)["mine"].memory


@pytest.mark.parametrize(
    "text", ["docs=1e9", "docs=1e9,queries=many", "docs=3e9,queries=1", "rows=3,queries=1", "docs=0,queries=1"]
)
def test_a_target_that_cannot_be_is_refused(text):
    with pytest.raises(ConfigError):
        target(text, 1, 1, 0, 1.0)


@pytest.fixture
def made(tmp_path, monkeypatch):
    world.lighten(monkeypatch.setattr)
    return world.runner(world.write_data(tmp_path / "data"), tmp_path / "ws")


def test_a_cell_is_measured_on_the_workspace_or_taken_from_its_runs(made, monkeypatch):
    monkeypatch.setattr(capacity, "CELL", (32, 256))
    with pytest.raises(ArtefactError, match="ingest"):
        capacity.measure(made)
    made.run([Node("ingest")])
    with pytest.raises(YieldError, match="embed has not run"):
        capacity.from_runs(made)
    measured = capacity.measure(made)
    assert (measured.dimensions, measured.candidate_bytes) == (16, capacity.CANDIDATE)
    made.run([Node(stage, 0) for stage in ("embed", "index", "mine")])
    taken = capacity.from_runs(made)
    cpu = json.loads((made.workspace.final("round-00/mine") / "run.json").read_bytes())["cpu_seconds"]
    assert taken.pair == pytest.approx(cpu / (14 * 5))
    assert measured.document_bytes == taken.document_bytes > 0


def test_the_command_prints_a_line_a_stage(made, monkeypatch):
    made.run([Node("ingest")])
    monkeypatch.setattr(capacity, "CELL", (32, 256))
    monkeypatch.setattr("pipeline.cli.session.runner", lambda **given: made)
    asked = ["--target", "docs=1e6,queries=1e4", "--nodes", "8", "--cores", "16", "--memory", "64"]
    said = CliRunner().invoke(command, asked, catch_exceptions=False).output
    assert "1,000,000 documents, 10,000 queries, 8 nodes of 16 cores and 64 GB" in said
    assert [line.split()[0] for line in said.split("\n")[3:11]] == [
        "ingest", "embed", "index", "mine", "judge", "sample", "export", "all",
    ]  # fmt: skip
    value = json.loads(CliRunner().invoke(command, [*asked, "--json"], catch_exceptions=False).output)
    assert value["target"]["nodes"] == 8
    assert [each["stage"] for each in value["stages"]][3] == "mine"
