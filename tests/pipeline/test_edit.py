"""One key of a TOML file changes, and no other byte."""

import tomllib

import pytest

from pipeline.edit import edited, set_number
from stages.errors import ConfigError, StorageError

KEY = ("judge", "filters", "relative_margin", "margin")
FILTERS = [("judge", "filters", name) for name in ("known_positive", "same_text", "relative_margin")]

TEXT = """# why
rounds = 1

[judge.filters.known_positive]      # rules in order
[judge.filters.relative_margin]  # one
margin = 0.05                       # keep s ≤ p − |p|·margin
[mine]
margin = 3 # no such key, but not ours to touch
"""


def test_its_line_and_nothing_else():
    assert edited(TEXT, KEY, 0.125) == TEXT.replace("margin = 0.05 ", "margin = 0.125 ")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[judge]\nfilters.relative_margin.margin=.05#x\n".replace("=.05", "=0.05"), "[judge]\nfilters.relative_margin.margin=0.2#x\n"),
        ("judge.filters.relative_margin.margin = 1\n", "judge.filters.relative_margin.margin = 0.2\n"),
        ('[judge.filters."relative_margin"]\r\n"margin" = 0.05 # a\r\nx = 1\r\n', '[judge.filters."relative_margin"]\r\n"margin" = 0.2 # a\r\nx = 1\r\n'),
        ("[judge.filters.relative_margin] # m\n[mine]\ndepth = 5\n", "[judge.filters.relative_margin] # m\nmargin = 0.2\n[mine]\ndepth = 5\n"),
        ("[judge.filters.relative_margin]", "[judge.filters.relative_margin]\nmargin = 0.2"),
        ("[judge.filters.same_text]\n", "[judge.filters.same_text]\n\n[judge.filters.relative_margin]\nmargin = 0.2\n"),
    ],
)  # fmt: skip
def test_other_spellings(before, after):
    assert edited(before, KEY, 0.2, FILTERS) == after
    assert tomllib.loads(after)["judge"]["filters"]["relative_margin"]["margin"] == 0.2


def test_defaults_are_written_beside_it_where_no_filter_is_listed():
    text = edited("[mine]\ndepth = 5", KEY, 0.2, FILTERS)
    assert text.startswith("[mine]\ndepth = 5\n")
    assert list(tomllib.loads(text)["judge"]["filters"]) == ["known_positive", "same_text", "relative_margin"]


def test_text_that_only_looks_like_the_key_is_left_alone():
    text = 'note = """\n[judge.filters.relative_margin]\nmargin = 0.05\n"""\n'
    assert edited(text, KEY, 0.2) == text + "\n[judge.filters.relative_margin]\nmargin = 0.2\n"


def test_an_inline_table_is_refused():
    with pytest.raises(ConfigError, match="by itself") as error:
        edited("judge = {filters = {relative_margin = {margin = 0.05}}}\n", KEY, 0.2)
    assert "margin = 0.2" in error.value.try_


def test_whole_numbers_stay_whole():
    text = "[judge.filters.rank_window]\nmin = 1\n"
    assert edited(text, ("judge", "filters", "rank_window", "min"), 11) == "[judge.filters.rank_window]\nmin = 11\n"


def test_the_file_keeps_its_mode_and_its_link(tmp_path):
    place, link = tmp_path / "real.toml", tmp_path / "link.toml"
    place.write_text(TEXT)
    place.chmod(0o640)
    link.symlink_to(place)
    assert set_number(link, KEY, 0.2) is True
    assert link.is_symlink()
    assert place.stat().st_mode & 0o777 == 0o640
    assert place.read_text() == TEXT.replace("margin = 0.05", "margin = 0.2")
    assert set_number(link, KEY, 0.2) is False
    place.chmod(0o440)
    with pytest.raises(StorageError, match="read-only"):
        set_number(link, KEY, 0.3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.toml", "real.toml"]
