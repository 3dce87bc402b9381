import pytest

from stages.errors import ArtefactError
from stages.filters.hub import Hub
from tests.judging_world import judged, verdicts, world
from tests.stages.filters.documents import Documents
from tests.stages.filters.view import view


def test_the_share_is_that_of_all_queries_with_candidates_and_the_limit_passes():
    labels = Hub(share=0.5).label(view([0.1] * 3, documents=Documents(found=[6, 5, 1], queries=10)))
    assert labels.drop.tolist() == [True, False, False]
    assert labels.value.tolist() == [0.6, 0.5, 0.1]


@pytest.mark.parametrize("cuts", [[], [1], [1, 2, 2]])
def test_every_part_counts_the_candidates_of_all_parts(cuts):
    given = world(
        9,
        {
            0: {"positives": {0: 0.9}, "found": {7: 0.1, 3: 0.2}},
            1: {"positives": {1: 0.9}, "found": {7: 0.1, 4: 0.2}},
            2: {"positives": {2: 0.9}, "found": {7: 0.1, 3: 0.3}},
            3: {"positives": {2: 0.9}},
        },
    )
    found = verdicts(judged(given, cuts=cuts, filters=(Hub(share=0.7),)))
    assert {pair for pair, verdict in found.items() if verdict == "hub"} == {(0, 7), (1, 7), (2, 7)}


def test_without_the_documents_at_hand_it_says_what_it_needs():
    with pytest.raises(ArtefactError, match="needs texts, vectors or counts"):
        Hub().label(view([0.1]))
