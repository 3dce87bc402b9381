"""Emoji by several artists, from packages made in npm's layout with drawings of our own."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline import initial
from stages import ingest
from stages.datasets import _emoji_packages, emoji_artists
from stages.datasets._captioned import Shown
from stages.datasets._npm import FILE_BYTES
from stages.datasets.emoji_artists import EmojiArtists
from stages.errors import InputError, ResourceError
from stages.records import Note
from tests.support import run

BIKING, MAN, TONE, NERD = "1F6B4", "1F6B4-200D-2642-FE0F", "1F6B4-1F3FF", "1F913"
NAMES = [
    {"label": "nerd face", "hexcode": NERD, "tags": ["clever", "geek"], "group": 0, "subgroup": 8},
    {
        "label": "person biking", "hexcode": BIKING, "tags": ["bike"], "group": 1, "subgroup": 40,
        "skins": [{"label": "person biking: dark skin tone", "hexcode": TONE, "group": 1, "subgroup": 40}],
    },
    {"label": "man biking", "hexcode": MAN, "tags": ["bike", "man"], "group": 1, "subgroup": 40},
    {"label": "regional indicator A", "hexcode": "1F1E6"},
]  # fmt: skip
MESSAGES = {
    "groups": [{"key": "smileys-emotion", "message": "smileys & emotion", "order": 0},
               {"key": "people-body", "message": "people & body", "order": 1}],
    "subgroups": [{"key": "face-glasses", "message": "with glasses", "order": 8},
                  {"key": "person-sport", "message": "sport", "order": 40}],
}  # fmt: skip
RED, BLUE = "#ff0000", "#0000ff"


def left(colour: str) -> str:
    """A body whose left quarter has a colour, in a box of 8 by 8."""
    return f'<path fill="{colour}" d="M0 0h2v8h-2z"/>'


def icons(colour: str, **more: Any) -> dict[str, Any]:
    return {
        "prefix": "made",
        "icons": {
            "nerd": {"body": left(colour)},
            "biker": {"body": left(colour)},
            "dark": {"body": left(colour)},
            **more,
        },
        "aliases": {
            "man": {"parent": "turned", "rotate": 1},
            "turned": {"parent": "biker", "hFlip": True},
        },
        "width": 8,
        "height": 8,
    }


CODES = {NERD.lower(): "nerd", BIKING.lower(): "biker", MAN.lower(): "man", TONE.lower(): "dark", "1f1e6": "nerd"}


def package(name: str, files: dict[str, Any], version: str = "0.0.1") -> dict[str, bytes]:
    return {
        path: json.dumps(value).encode()
        for path, value in ({"package.json": {"name": name, "version": version}} | files).items()
    }


def packed(folder: Path, files: dict[str, bytes]) -> Path:
    name = json.loads(files["package.json"])["name"].replace("@", "").replace("/", "-")
    folder.mkdir(exist_ok=True)
    with tarfile.open(folder / f"{name}.tgz", "w:gz") as tar:
        for path, content in files.items():
            info = tarfile.TarInfo(f"package/{path}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return folder


def artist(name: str, colour: str) -> dict[str, bytes]:
    return package(f"@iconify-json/{name}", {"icons.json": icons(colour), "chars.json": CODES})


BASE = package("emojibase-data", {"en/data.json": NAMES, "en/messages.json": MESSAGES})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for files in (artist("noto", RED), artist("twemoji", BLUE), BASE):
        packed(tmp_path / "npm", files)
    return tmp_path / "npm"


def two(folder: Path, **more: Any) -> EmojiArtists:
    return EmojiArtists(path=str(folder), artists=("noto", "twemoji"), **more)  # type: ignore[call-arg]


def pictures(dataset: EmojiArtists) -> dict[str, Shown]:
    return {item.id: item for item in dataset.shown() if isinstance(item, Shown)}


def pixels(item: Shown) -> np.ndarray:
    content = item.picture.content
    assert callable(content)
    return np.asarray(Image.open(io.BytesIO(content(1 << 20))))


def test_the_drawings_of_an_emoji_share_its_name_and_its_concept(folder: Path) -> None:
    found = pictures(two(folder))
    assert set(found) == {f"{one}/{code}" for one in ("noto", "twemoji") for code in (NERD, BIKING, "1F6B4-200D-2642")}
    for one in ("noto", "twemoji"):
        assert found[f"{one}/{NERD}"].captions == ("nerd face",)
        assert found[f"{one}/1F6B4-200D-2642"].group == found[f"{one}/{BIKING}"].group == BIKING
        assert found[f"{one}/{BIKING}"].label == "person-sport"
    group = pictures(two(folder, classes="group", tags=True, tones=True))
    assert group[f"noto/{NERD}"].label == "smileys & emotion"
    assert group[f"noto/{NERD}"].captions == ("nerd face", "nerd face: clever, geek")
    assert group[f"noto/{TONE}"].captions == ("person biking: dark skin tone", "person biking: dark skin tone: bike")
    assert group[f"noto/{TONE}"].group == BIKING


def test_an_alias_is_its_parent_flipped_and_then_turned(folder: Path) -> None:
    found = pictures(two(folder, size=16))
    plain, turned = pixels(found[f"twemoji/{BIKING}"]), pixels(found["twemoji/1F6B4-200D-2642"])
    assert (plain[:, :4] == (0, 0, 255)).all()
    assert (plain[:, 4:] == 255).all()
    assert (
        turned == np.rot90(plain[:, ::-1], k=-1)
    ).all()  # flipped it is at the right, a quarter clockwise at the bottom


def test_a_wide_icon_is_padded_to_a_square(tmp_path: Path) -> None:
    wide = package("@iconify-json/noto", {
        "icons.json": icons(RED, wide={"body": f'<path fill="{RED}" d="M0 0h16v8h-16z"/>', "width": 16}), "chars.json": {NERD: "wide"},
    })  # fmt: skip
    for files in (wide, BASE):
        packed(tmp_path / "npm", files)
    (item,) = pictures(EmojiArtists(path=str(tmp_path / "npm"), artists=("noto",), size=16)).values()  # type: ignore[call-arg]
    shown = pixels(item)
    assert (shown[4:12] == (255, 0, 0)).all()
    assert (shown[[0, 3, 12, 15]] == 255).all()


def test_unpacked_packages_are_the_same_data(folder: Path, tmp_path: Path) -> None:
    for files in (artist("noto", RED), artist("twemoji", BLUE), BASE):
        place = tmp_path / "project/node_modules" / json.loads(files["package.json"])["name"]
        for path, content in files.items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_bytes(content)
    installed = two(tmp_path / "project")
    assert installed.fingerprint() == two(folder).fingerprint()
    assert [(one.id, one.captions) for one in pictures(installed).values()] == [
        (one.id, one.captions) for one in pictures(two(folder)).values()
    ]


def test_another_version_is_noted_and_changed_bytes_of_a_known_one_are_refused(folder: Path) -> None:
    notes = [item.message for item in two(folder).shown() if isinstance(item, Note)]
    assert notes[0] == "@iconify-json/noto is 0.0.1, and this was made with 1.2.9"
    known = _emoji_packages.KNOWN["emojibase-data"].version
    packed(folder, package("emojibase-data", {"en/data.json": NAMES, "en/messages.json": MESSAGES}, known))
    with pytest.raises(InputError, match=r"emojibase-data 17\.0\.0 is not what npm has"):
        list(two(folder).shown())


def test_what_is_missing_is_named_with_the_command_that_fetches_it(folder: Path) -> None:
    with pytest.raises(ResourceError) as error:
        EmojiArtists(path=str(folder)).fingerprint()  # type: ignore[call-arg]
    assert "npm pack @iconify-json/fluent-emoji-flat@1.2.6 @iconify-json/openmoji@1.2.29" in str(error.value)
    with pytest.raises(InputError, match="no folder of npm packages"):
        two(folder / "nowhere").fingerprint()


def test_a_damaged_package_is_named(folder: Path) -> None:
    whole = (folder / "iconify-json-noto.tgz").read_bytes()
    (folder / "iconify-json-noto.tgz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be read") as error:
        two(folder).fingerprint()
    assert "iconify-json-noto.tgz" in str(error.value)
    packed(folder, package("@iconify-json/noto", {"icons.json": icons(RED), "chars.json": {NERD: "nobody"}}))
    with pytest.raises(InputError, match="not laid out as expected"):
        list(two(folder).shown())


def test_a_bomb_of_a_package_is_refused(folder: Path) -> None:
    """A few kilobytes that would unpack to more than a file may have."""
    bomb = artist("noto", RED) | {"icons.json": b" " * (FILE_BYTES + 1)}
    packed(folder, bomb)
    assert (folder / "iconify-json-noto.tgz").stat().st_size < 1 << 20
    with pytest.raises(InputError, match=r"icons\.json of an npm package cannot be read") as caught:
        list(two(folder).shown())
    assert "more than 67,108,864 bytes" in str(caught.value)


def test_ingest_makes_the_drawings_of_other_artists_known_positives(folder: Path, tmp_path: Path) -> None:
    config = ingest.IngestConfig(dataset=two(folder, size=16), pictures={"workers": 0})  # type: ignore[arg-type]
    result = run(ingest, config, {}, tmp_path)
    queries, corpus = result["queries"].to_pylist(), result["corpus"].to_pylist()
    found: dict[str, set[str]] = {}
    for row in result["qrels"].to_pylist():
        found.setdefault(queries[row["query_row"]]["text"], set()).add(corpus[row["doc_row"]]["doc_id"])
    assert found["nerd face"] == {f"noto/{NERD}", f"twemoji/{NERD}"}
    assert found["man biking"] == {"noto/1F6B4-200D-2642", "twemoji/1F6B4-200D-2642"}
    said = result.facts["attribution"]
    assert "Apache License 2.0" in said
    assert "CC BY 4.0" in said
    assert "OpenMoji" not in said


def test_init_knows_a_folder_of_packages(folder: Path) -> None:
    guess = emoji_artists.recognise(str(folder))
    assert guess is not None
    assert guess.fields == {"path": str(folder), "artists": ["noto", "twemoji"]}
    assert initial.recognise(str(folder)).name == "emoji_artists"
