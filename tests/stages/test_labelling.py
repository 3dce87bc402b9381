"""Labels: which answer holds, and which judgements they overrule."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stages import labelling
from stages.errors import InputError
from tests.support import table


def write(path: Path, *answers: tuple[str, str, int | None]) -> Path:
    path.write_text("".join(json.dumps({"query_id": q, "doc_id": d, "relevance": r}) + "\n" for q, d, r in answers))
    return path


def test_the_last_answer_of_a_pair_holds_and_null_takes_it_back(tmp_path):
    path = write(tmp_path / "l", ("q", "a", 1), ("q", "b", 1), ("q", "a", 0), ("q", "c", None), ("q", "b", None))
    assert labelling.read(path) == {("q", "a"): 0}
    assert labelling.read(tmp_path / "nothing") == {}


def test_what_holds_is_the_identity_and_not_how_it_came_about(tmp_path):
    one = write(tmp_path / "1", ("q", "a", 1), ("q", "b", 0))
    other = write(tmp_path / "2", ("q", "b", 1), ("q", "b", 0), ("q", "c", None), ("q", "a", 1))
    third = write(tmp_path / "3", ("q", "a", 1), ("q", "b", 1))
    prints = [labelling.fingerprint(labelling.read(path)) for path in (one, other, third)]
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize(
    "line",
    ["[]", "{", '{"query_id": "q", "doc_id": "d"}', '{"query_id": 1, "doc_id": "d", "relevance": 1}',
     '{"query_id": "q", "doc_id": "d", "relevance": 2}', '{"query_id": "q", "doc_id": "d", "relevance": true}',
     '{"query_id": "q", "doc_id": "d", "relevance": "1"}', '{"query_id": "q", "doc_id": "d", "relevance": []}'],
)  # fmt: skip
def test_a_line_that_is_no_label_is_named(tmp_path, line):
    path = write(tmp_path / "l", ("q", "a", 1))
    path.write_text(path.read_text() + "\n" + line + "\n")
    with pytest.raises(InputError) as raised:
        labelling.read(path)
    assert f"{path} line 3" in str(raised.value)


def test_labels_add_and_overrule_and_leave_the_rest():
    given = [(0, 1, 1, "given"), (0, 2, 0, "given"), (0, 4, 2, "given"), (2, 0, 1, "title"), (2, 3, -1, "given")]
    qrels = table(
        "qrels",
        [{"query_row": q, "doc_row": d, "relevance": r, "split": "test" if q else "train", "source": s}
         for q, d, r, s in given],
    )  # fmt: skip
    labels = {
        ("q0", "d1"): 0, ("q0", "d2"): 1, ("q0", "d4"): 1, ("q0", "d0"): 1, ("q2", "d3"): 0, ("q1", "d9"): 1,
        ("q7", "d0"): 1, ("q1", "d5"): 0,
    }  # fmt: skip
    rows = {"q0": 0, "q1": 1, "q2": 2}
    found, counts = labelling.overrule(
        qrels,
        labels,
        lambda key: rows.get(key, -3),
        lambda key: -1 if key == "d9" else int(key[1]),
        ["train", "dev", "test"].__getitem__,
    )
    assert [tuple(row.values()) for row in found.to_pylist()] == [
        (0, 0, 1, "train", "human"),
        (0, 1, 0, "train", "human"),
        (0, 2, 1, "train", "human"),
        (0, 4, 2, "train", "given"),
        (1, 5, 0, "dev", "human"),
        (2, 0, 1, "test", "title"),
        (2, 3, -1, "test", "given"),
    ]
    assert counts == {"labels.added": 2, "labels.overruled": 2, "labels.agreed": 2, "labels.missing": 2}
