import time

import numpy as np
import pytest
import torch

from stages.indexes.exact import Exact
from stages.search import certified_search
from stages.threads import one_thread_each, spread


def test_spread_keeps_the_order() -> None:
    assert list(spread(lambda n: n * n, range(50), 4)) == [n * n for n in range(50)]
    with pytest.raises(ZeroDivisionError):
        list(spread(lambda n: 1 // n, [1, 0], 2))


def test_after_an_error_nothing_new_is_begun() -> None:
    begun = []

    def work(number: int) -> None:
        begun.append(number)
        time.sleep(0.05)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(spread(work, range(8), 2))
    assert len(begun) < 8


def test_the_number_of_threads_is_given_back() -> None:
    before = torch.get_num_threads()
    inside = []
    with pytest.raises(ValueError, match="seven"):
        _fail(inside)
    assert inside == [1]
    assert torch.get_num_threads() == before


def _fail(inside: list[int]) -> None:
    with one_thread_each():
        inside.append(torch.get_num_threads())
        raise ValueError("seven")


@pytest.mark.parametrize("kernel", ["int8", "bf16", "fp32", "auto"])
def test_searches_side_by_side_find_the_same(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(7)
    corpus, queries = (random.standard_normal((n, 40)).astype(np.float32) for n in (9_000, 2_100))
    corpus[5_000:6_000] = corpus[:1_000]
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            searcher = Exact(kernel=kernel, device="cpu").build([corpus], *corpus.shape)
            candidates, asked = searcher.candidates, []

            def watched(*given, share, candidates=candidates, asked=asked):
                asked.append((len(given[0]), share))
                return candidates(*given, share=share)

            monkeypatch.setattr(searcher, "candidates", watched)
            found.append(certified_search(searcher, queries, corpus, 20, True))
            assert torch.get_num_threads() == threads
            assert sorted(asked)[-threads:] == [(2_100 // threads, threads)] * threads
    finally:
        torch.set_num_threads(before)
    assert found[0].rows.tobytes() == found[1].rows.tobytes()
    assert found[0].scores.tobytes() == found[1].scores.tobytes()
