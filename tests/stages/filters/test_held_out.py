from stages.filters.held_out import HeldOut
from tests.judging_world import judged, judgement, verdicts, world
from tests.stages.filters.documents import Documents
from tests.stages.filters.view import view


def test_what_is_held_out_is_dropped_and_the_evidence_says_so():
    labels = HeldOut().label(view([0.1] * 3, documents=Documents(held_out=[False, True, False])))
    assert labels.drop.tolist() == [False, True, False]
    assert labels.value.tolist() == [0, 1, 0]


def test_only_what_is_relevant_in_dev_or_test_and_not_in_train_is_held_out():
    given = world(
        9,
        {0: {"positives": {0: 0.9}, "found": {d: 0.1 * d for d in range(1, 7)}}, 1: {}, 2: {}},
        qrels=[
            judgement(1, 1, 1, "test"),
            judgement(1, 2, 1, "dev"),
            judgement(1, 3, 1, "test"), judgement(2, 3, 1, "train"),
            judgement(1, 4, 0, "test"),
            judgement(1, 5, 2, "test"), judgement(2, 5, 0, "train"),
        ],
    )  # fmt: skip
    held = {doc for (_, doc), verdict in verdicts(judged(given, filters=(HeldOut(),))).items() if verdict == "held_out"}
    assert held == {1, 2, 5}
