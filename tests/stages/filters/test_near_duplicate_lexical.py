import random

import numpy as np
import pyarrow as pa
import pytest

from stages.filters import _shingles
from stages.filters._shingles import Bitmaps, Shingles, jaccard
from stages.filters.near_duplicate_lexical import NearDuplicateLexical
from tests import reference_judge as reference
from tests.stages.filters.documents import Documents
from tests.stages.filters.view import view

POSITIVE = "The quick brown fox jumps over the lazy dog near the river bank."
TEXTS = [
    POSITIVE,
    "the QUICK brown fox — jumps over the lazy dog, near the river bank",
    POSITIVE + " Again!",
    "A quick brown cat jumps over a lazy dog far from the river.",
    "An entirely different sentence about the weather in autumn.",
]


def test_case_and_punctuation_do_not_tell_texts_apart_and_a_word_does():
    given = view([0.1] * 5, qrels=[(0, 0, 1)], documents=Documents(TEXTS))
    labels = NearDuplicateLexical().label(given)
    assert labels.drop.tolist() == [True, True, True, False, False]
    np.testing.assert_array_equal(labels.value, [1, 1, 11 / 12, np.nan, np.nan])
    assert set(labels.limit) == {0.8}
    at, above = (NearDuplicateLexical(threshold=t).label(given) for t in (11 / 12, np.nextafter(11 / 12, 1)))
    assert at.drop.tolist()[2]
    assert not above.drop.tolist()[2]


def test_short_texts_that_differ_in_one_word_are_no_duplicates_by_word_but_are_by_character():
    texts = [f"Type {i} diabetes mellitus with diabetic chronic kidney disease, unspecified" for i in (1, 2)]
    given = view([0.1] * 2, qrels=[(0, 0, 1)], documents=Documents(texts))
    assert NearDuplicateLexical().label(given).drop.tolist() == [True, False]
    assert NearDuplicateLexical(unit="character", size=5).label(given).drop.tolist() == [True, True]


def test_texts_shorter_than_a_shingle_are_one_and_texts_without_words_equal_each_other():
    texts = ["Diabetes", "diabetes!", "diabetic", "…", "?!"]
    first = NearDuplicateLexical().label(view([0.1] * 5, qrels=[(0, 0, 1)], documents=Documents(texts)))
    assert first.drop.tolist() == [True, True, False, False, False]
    empty = NearDuplicateLexical().label(view([0.1] * 5, qrels=[(0, 3, 1)], documents=Documents(texts)))
    assert empty.drop.tolist() == [False, False, False, True, True]


def corpus(documents: int, longest: int, seed: int) -> list[str]:
    """Texts of few words, many of them edits of others, in several scripts."""
    draw = random.Random(seed)
    vocabulary = [
        "a",
        "I",
        "Straße",
        "STRASSE",
        "naïve",
        "東京",
        "ﬁne",
        "e\u0301",
        "x-ray",
        "1e5",
        "ok.",
        "…",
        "Ω",
        "ß",
        "Привет",
    ]
    texts: list[list[str]] = []
    for _ in range(documents):
        if texts and draw.random() < 0.7:
            words = list(draw.choice(texts))
            for _ in range(draw.randrange(3)):
                words.insert(draw.randrange(len(words) + 1), draw.choice(vocabulary))
        else:
            words = draw.choices(vocabulary, k=draw.randrange(longest))
        texts.append(words)
    return [draw.choice([" ", "  ", "\n"]).join(words) for words in texts]


@pytest.mark.parametrize(("unit", "size"), [("word", 1), ("word", 3), ("character", 1), ("character", 5)])
@pytest.mark.parametrize("longest", [4, 60])
def test_the_jaccard_similarity_is_that_of_plain_sets_and_the_bound_loses_no_pair(unit, size, longest):
    texts = corpus(60, longest, size)
    documents, shingles = Documents(texts), Shingles(unit, size)
    left, right = (each.ravel() for each in np.meshgrid(np.arange(60), np.arange(60)))
    sets = [reference.shingles_of(text, unit, size) for text in texts]
    expected = np.array([reference.jaccard(sets[i], sets[j]) for i, j in zip(left, right, strict=True)])
    np.testing.assert_array_equal(jaccard(documents, shingles, left, right), expected)
    bitmaps = Bitmaps(60, shingles)
    bitmaps.fill(documents, np.arange(60))
    assert bitmaps.sizes.tolist() == [len(each) for each in sets]
    for threshold in (0.1, 0.5, 0.8, 1.0):
        assert bitmaps.may_reach(left, right, threshold)[expected >= threshold].all()
    if longest == 60 and size > 1:
        assert bitmaps.may_reach(left, right, 0.8).sum() < 1.5 * (expected >= 0.8).sum()


def test_texts_with_more_shingles_than_bits_are_compared_all_the_same():
    words = [str(i) for i in range(6000)]
    texts = [" ".join(words), " ".join(words[:-900]), " ".join(words[:-1800])]
    given = view([0.1] * 3, qrels=[(0, 0, 1)], documents=Documents(texts))
    assert NearDuplicateLexical(size=1).label(given).drop.tolist() == [True, True, False]


def test_a_text_is_read_once_for_its_bitmap_whatever_the_parts_and_blocks(monkeypatch):
    texts = corpus(40, 8, 3)
    documents = Documents(texts)
    rule = NearDuplicateLexical(threshold=1.0, size=1)
    given = view([0.1] * 40, qrels=[(0, 5, 1)], documents=documents)
    first = rule.label(given)
    once = len(documents.read)
    again = rule.label(given)
    assert len(documents.read) - once == once - 40
    monkeypatch.setattr(_shingles, "BLOCK", 3)
    monkeypatch.setattr("stages.filters._near.BLOCK", 3)
    monkeypatch.setattr(_shingles, "_PAIRS", 2)
    blocks = rule.label(view([0.1] * 40, qrels=[(0, 5, 1)], documents=Documents(texts)))
    for other in (again, blocks):
        np.testing.assert_array_equal(first.value, other.value)


def test_a_word_has_the_same_hash_in_any_text():
    shingles = Shingles("word", 1)
    alone, _ = shingles.of(pa.array(["water"], pa.large_string()))
    among, sizes = shingles.of(pa.array(["fire", "earth water", "", "water"], pa.large_string()))
    assert sizes.tolist() == [1, 2, 0, 1]
    assert alone[0] in among[1:3]
    assert alone[0] == among[3]
