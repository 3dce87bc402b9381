"""Pictures on the page: each beside its own text, within the limit, with alternative texts."""

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stages import report
from stages.report import ReportConfig
from stages.reports import thumbnails as made
from tests.pictures import blob, packed
from tests.stages.test_report import HOSTILE, Element, data, parsed
from tests.support import Table, run, source, table

COLOURS = [(10 + 7 * i, 250 - 8 * i, (40 * i) % 250) for i in range(30)]


def pictured(**facts: str) -> dict[str, Any]:
    """The world of the report, in which every document has a picture of one colour, and the queries those of documents."""
    inputs = data()
    documents = inputs["corpus"].read().num_rows
    images = [packed(Image.new("RGB", (90, 60), COLOURS[i % 30])) for i in range(documents)]
    rows = [
        {"row": i, "image": x, "format": "PNG", "width": 90, "height": 60, "pixels": i} for i, x in enumerate(images)
    ]
    inputs["pictures"] = source(table("pictures", rows))
    for name, shift in (("corpus", 0), ("queries", 3)):
        found = inputs[name].read().to_pylist()
        inputs[name] = Table(
            [table(name, [{**row, "picture": row["row"] + shift} for row in found])], facts=dict(facts)
        )
    return inputs


def colour(image: Element) -> tuple[int, int, int]:
    kind, _, content = image.attributes["src"].partition("base64,")
    assert kind == "data:image/webp;"
    with Image.open(io.BytesIO(base64.b64decode(content))) as opened:
        assert opened.size == (64, 43)
        return tuple(np.asarray(opened.convert("RGB")).mean(axis=(0, 1)).round().astype(int).tolist())


def test_each_picture_stands_beside_its_own_text_with_an_alternative_text(tmp_path: Path) -> None:
    inputs = pictured(attribution="Drawn by <b>somebody</b>")
    page = parsed(run(report, ReportConfig(), inputs, tmp_path))
    corpus = {row["doc_id"]: row for row in inputs["corpus"].read().to_pylist()}
    queries = {row["query_id"]: row for row in inputs["queries"].read().to_pylist()}
    shown = 0
    for article in page.all("article", class_="query"):
        query = queries[article.attributes["data-query"]]
        image = article.one("h3").one("img")
        assert np.allclose(colour(image), COLOURS[query["picture"] % 30], atol=3)
        assert image.attributes["alt"] == query["text"]
        for li in article.all("li"):
            document = corpus[li.attributes["data-doc"]]
            assert np.allclose(colour(li.one("img")), COLOURS[document["picture"] % 30], atol=3)
            shown += 1
    assert shown > 20
    assert page.one("section", class_="attribution").one("p").text == "Drawn by <b>somebody</b>"
    policy = page.one("meta", http_equiv="Content-Security-Policy").attributes["content"]
    assert "img-src data:;" in policy
    assert all(image.attributes["src"].startswith("data:image/webp;base64,") for image in page.all("img"))
    assert HOSTILE in {image.attributes["alt"] for image in page.all("img")}


def test_pictures_beyond_the_limit_are_told_and_none_are_shown_when_none_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(made, "BYTES", 5_000)
    result = run(report, ReportConfig(), pictured(), tmp_path)
    page = parsed(result)
    assert 0 < sum(len(image.attributes["src"]) for image in page.all("img")) <= 5_000
    assert any("pictures are not shown" in message for message in result.messages)
    assert re.search(
        r"\d+ pictures are not shown, as the page would be too large", page.one("section", id="browse").text
    )
    page = parsed(run(report, ReportConfig(thumbnail=0), pictured(), tmp_path))
    assert page.all("img") == []
    assert "img-src" not in page.one("meta", http_equiv="Content-Security-Policy").attributes["content"]


def test_thumbnails_keep_their_shape() -> None:
    rows = [
        {"row": 0, "image": packed(blob((1, 2, 3), 0, 24)), "format": "PNG", "width": 24, "height": 24, "pixels": 0}
    ]
    found, beyond = made.thumbnails(source(table("pictures", rows)), [0, 0], 64, 10_000)
    assert list(found) == [0]
    assert beyond == 0
