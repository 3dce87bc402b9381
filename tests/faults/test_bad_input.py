"""Every fixture of `bad_input` gives its message: no traceback, no signal, no result."""

from __future__ import annotations

import pytest

from tests.faults.bad_input import ALL, OWN, Case


def test_there_are_enough_fixtures():
    assert ALL >= 120
    assert len({case.name for case in OWN}) == len(OWN)
    print(f"\n{ALL} fixtures of bad input")


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in OWN])
def test_bad_input_gives_its_message(tmp_path, case: Case):
    folder = case.write(tmp_path)
    with pytest.raises(case.error) as caught:
        case.run(folder)
    message = str(caught.value)
    for piece in case.holds:
        assert piece in message
    assert {c for c in message if not c.isprintable()} <= {"\n"}
