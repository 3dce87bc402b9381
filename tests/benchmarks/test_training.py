"""The benchmark of training: its contenders run on inputs that the stage takes."""

from __future__ import annotations

from benchmarks import training
from stages import train


def test_its_inputs_are_those_that_training_reads():
    inputs = training.inputs(6)
    assert set(train.SPEC.inputs) <= set(inputs)
    assert inputs["promoted"].rows == 0
    triplets = inputs["triplets"].read()
    assert triplets["positive_row"].to_pylist() == list(range(6))
    assert triplets["negative_row"].to_pylist() == list(range(6, 12))


def test_a_ratio_is_that_of_one_turn():
    """A machine that is three times as slow in the second turn changes no ratio."""
    peer, ours = (
        [{"cpu": 2.0, "wall": 3.0}, {"cpu": 6.0, "wall": 9.0}],
        [{"cpu": 1.0, "wall": 1.0}, {"cpu": 3.0, "wall": 3.0}],
    )
    rows = training.table({"peer": peer, "ours": ours}).splitlines()[2:]
    assert [row.split(" | ")[3] for row in rows] == ["1.00", "2.00"]
