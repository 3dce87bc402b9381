"""How written queries are read."""

from __future__ import annotations

import pytest

from stages.viewing import clean
from stages.writers.endpoint import read_queries


@pytest.mark.parametrize(
    ("line", "query"),
    [
        ("plain words", "plain words"),
        ("1. first", "first"),
        ("12) twelfth", "twelfth"),
        ("- a dash", "a dash"),
        ("• a dot", "a dot"),
        ('"in quotes"', "in quotes"),
        ('2. "both"', "both"),
        ("“curly”", "curly"),
        ("Query: said so", "said so"),
        ("1984 by Orwell", "1984 by Orwell"),
        ("3.5 mm jack", "3.5 mm jack"),
        ("what is 2.", "what is 2."),
        ("  two   blanks ", "two blanks"),
        ("'s", "'s"),
        ('"', '"'),
        ("", ""),
    ],
)
def test_marks_around_a_query_are_taken_off(line, query):
    assert clean(line) == query


@pytest.mark.parametrize(
    ("answer", "lines"),
    [
        ("a\nb", ["a", "b"]),
        ("Here they are:\n\na\nb\n", ["a", "b"]),
        ('```json\n["a", "b", 3]\n```', ["a", "b"]),
        ("what is meant by this:", ["what is meant by this:"]),
        ("", []),
    ],
)
def test_an_answer_is_lines(answer, lines):
    assert read_queries(answer) == lines
