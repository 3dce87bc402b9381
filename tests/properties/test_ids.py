from hypothesis import given
from hypothesis import strategies as st

from stages.intake import MISSING, Ids


@given(st.lists(st.text(max_size=3), max_size=60), st.text(max_size=3), st.integers(1, 3))
def test_ids_are_a_dict_of_strings(keys, other, padding):
    """Every id is found at its first place, in spite of growth and of equal slots."""
    ids, known = Ids(), {}
    for number, key in enumerate([*keys, *(f"{n:0{padding}}x" for n in range(900)), *keys]):
        file = f"file-{number // 100}"
        assert ids.add(key, file, number) == known.get(key)
        if key not in known:
            ids.set_last(number)
            known[key] = f"{file} line {number}"
    for key, place in known.items():
        assert ids.row(key) == int(place.split()[-1])
    assert other in known or ids.row(other) == MISSING
