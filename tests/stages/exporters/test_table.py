import re

import pytest

from tests.export_traps import TRAPS
from tests.exports_table import ROOT, written

TESTS = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^def (test_\w+)", path.read_text("utf-8"), re.M)
}


def test_the_tables_of_exports_are_up_to_date():
    for path, text in written():
        assert path.read_text("utf-8") == text, "python -m tests.exports_table"


@pytest.mark.parametrize("trap", TRAPS)
def test_every_trap_has_a_test(trap):
    assert TRAPS[trap]
    assert set(TRAPS[trap]) <= TESTS
