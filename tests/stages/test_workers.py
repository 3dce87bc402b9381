"""Work in other processes: in order, whatever is between, and a death that is told."""

import os

import pytest

from stages.errors import ResourceError
from stages.workers import Workers


def square(value: int) -> tuple[int, int]:
    return value * value, os.getpid()


def die(value: int) -> int:
    if value == 70:
        os._exit(9)
    return value


@pytest.mark.parametrize("count", [0, 2])
def test_results_stand_beside_their_items_in_order(count: int) -> None:
    workers = Workers(count)
    items = list(range(200))
    found = list(workers.beside(items, lambda item: None if item % 3 == 0 else item, square))
    workers.close()
    assert [item for item, _ in found] == items
    assert all((result is None) if item % 3 == 0 else (result[0] == item * item) for item, result in found)
    processes = {result[1] for _, result in found if result}
    assert (os.getpid() in processes) if count == 0 else len(processes - {os.getpid()}) >= 1


def test_items_without_work_pass_at_once_and_little_work_starts_no_process() -> None:
    workers = Workers(2)
    seen = []

    def given() -> object:
        for item in range(3):
            seen.append(item)
            yield item

    passing = workers.beside(given(), lambda item: None, square)  # type: ignore[arg-type]
    assert next(passing) == (0, None)
    assert seen == [0]
    assert {result[1] for _, result in workers.beside(range(20), int, square)} == {os.getpid()}


def test_a_process_that_dies_is_an_error_and_no_hang() -> None:
    workers = Workers(2)
    with pytest.raises(ResourceError, match="has died"):
        list(workers.beside(range(200), int, die))
    workers.close()
