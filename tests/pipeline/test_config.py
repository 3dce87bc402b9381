"""What the configuration as a whole sees to."""

from pathlib import Path

import pytest

from pipeline.config import Configuration, load
from stages.errors import ConfigError

ENCODER = (
    '[encoder]\nname = "sentence_transformers"\nmodel = "some/model"\n[ingest.dataset]\nname = "beir"\npath = "x"\n'
)


def of(tmp_path: Path, text: str, *overrides: str) -> Configuration:
    path = tmp_path / "hardrock.toml"
    path.write_text(ENCODER + text, encoding="utf-8")
    return load(path, overrides)


@pytest.mark.parametrize(
    ("text", "overrides", "wanted"),
    [
        ("", [], 5),
        ("[sample]\nnegatives = 9\n", [], 9),
        ("[sample]\nnegatives = 9\n", ["sample.negatives=2"], 2),
        ("[sample]\nnegatives = 3\n[deepen]\nwanted = 20\n", [], 20),
        ("[deepen]\nlimit = 50\n", ["sample.negatives=7"], 7),
    ],
)
def test_deepen_wants_what_sample_takes(tmp_path, text, overrides, wanted):
    found = of(tmp_path, text, *overrides)
    assert found.stages["deepen"].wanted == wanted


def test_deepen_may_not_want_less_than_sample_takes(tmp_path):
    with pytest.raises(ConfigError, match=r"deepen\.wanted is less than sample\.negatives") as error:
        of(tmp_path, "[sample]\nnegatives = 9\n[deepen]\nwanted = 5\n")
    assert "9" in str(error.value)
    assert str(tmp_path) in str(error.value)
