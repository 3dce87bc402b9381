from tests.exports_table import PLACE, page


def test_the_table_of_exports_is_up_to_date():
    assert PLACE.read_text("utf-8") == page(), "python -m tests.exports_table"
