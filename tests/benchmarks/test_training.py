"""The benchmark of training: its contenders run on inputs that the stage takes."""

from __future__ import annotations

from benchmarks import training
from stages import train


def test_its_inputs_are_those_that_training_reads():
    inputs = training._inputs(6)
    assert set(train.SPEC.inputs) <= set(inputs)
    assert inputs["promoted"].rows == 0
    triplets = inputs["triplets"].read()
    assert triplets["positive_row"].to_pylist() == list(range(6))
    assert triplets["negative_row"].to_pylist() == list(range(6, 12))
