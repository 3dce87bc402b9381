"""What `hardrock check` says of pictures."""

from pathlib import Path

from pipeline import preflight
from pipeline.config import load
from tests.pictures import png


def test_a_check_of_pictures_estimates_both_kinds_and_names_what_is_broken(tmp_path: Path) -> None:
    place = tmp_path / "in"
    for split in ("train", "test"):
        (place / split).mkdir(parents=True)
        for i in range(4):
            (place / split / f"{i}.png").write_bytes(png(i if split == "train" else 10 + i))
            (place / split / f"{i}.txt").write_text(f"{split} picture {i}")
    (place / "train/3.png").write_bytes(b"broken")
    config = tmp_path / "hardrock.toml"
    config.write_text(
        f"""[encoder]
name = "two_tower"
size = 32
[ingest]
on_bad_row = "quarantine"
[ingest.dataset]
name = "image_folder"
path = "{place}"
direction = "both"
"""
    )
    data, findings, estimated = preflight.check(load(config), "cpu", tmp_path, probe=True)
    assert data is not None
    assert data.pictures == {"corpus": 7, "queries": 7}
    assert any("not a picture" in example for finding in findings for example in finding.examples)
    assert estimated is not None
    assert all(rate > 0 for rate in estimated["texts_a_second"].values())
