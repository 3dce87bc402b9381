import importlib

import pytest

from stages.registry import names
from tests.datasets_table import BETWEEN, PLACE, table


def test_the_table_of_datasets_is_up_to_date():
    found = BETWEEN.search(PLACE.read_text("utf-8"))
    assert found is not None
    assert found[0] == table(), "python -m tests.datasets_table"


@pytest.mark.parametrize("name", names("datasets"))
def test_every_format_says_no_to_what_is_not_there(name, tmp_path):
    recognise = importlib.import_module(f"stages.datasets.{name}").recognise
    assert recognise(str(tmp_path / "none")) is None
    (tmp_path / "empty").mkdir()
    assert recognise(str(tmp_path / "empty")) is None
