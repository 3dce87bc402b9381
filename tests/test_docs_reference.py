from tests.reference_page import PLACE, page


def test_the_reference_is_up_to_date():
    assert PLACE.read_text("utf-8") == page(), "python -m tests.reference_page"
