"""What a picture is, and what is said of what is none."""

import io
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.imaging import Limits, Proved, prove, rgb
from stages.records import Wrong
from tests.pictures import BROKEN, JPEG, PNG, noise, packed

LIMITS = Limits(bytes=1 << 20, pixels=1_000_000)


def proved(data: bytes, limits: Limits = LIMITS) -> Proved:
    found = prove(data, limits)
    assert isinstance(found, Proved), found
    return found


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_is_said_with_what_to_do(name: str) -> None:
    data, says = BROKEN[name]
    found = prove(data, LIMITS)
    assert isinstance(found, Wrong)
    assert says in found.reason
    assert found.mend


def test_half_a_webp_is_said_to_be_cut_off() -> None:
    data = packed(noise(1, 64, 64), "WEBP")
    for end in (len(data) // 2, len(data) - 40):
        found = prove(data[:end], LIMITS)
        assert isinstance(found, Wrong)
        assert "cut off" in found.reason


def test_every_cut_of_a_picture_is_found() -> None:
    for data in (JPEG, PNG):
        for end in range(1, len(data) - 2, 97):
            assert isinstance(prove(data[:end], LIMITS), Wrong), end


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_plain_pictures_are_stored_as_they_were_given(form: str) -> None:
    data = packed(noise(3), form)
    found = proved(data)
    assert found.image == data
    assert (found.format, found.width, found.height, found.changed) == (form, 12, 8, "")
    assert np.array_equal(rgb(found.image), Image.open(io.BytesIO(data)).convert("RGB"))


def test_transparency_lies_on_the_background_even_where_other_programs_show_black() -> None:
    image = Image.new("RGBA", (4, 2), (0, 0, 0, 0))
    image.putpixel((0, 0), (10, 20, 30, 255))
    found = proved(packed(image))
    assert found.changed == "transparent"
    plain = np.asarray(Image.open(io.BytesIO(found.image)).convert("RGB"))
    assert plain[0, 0].tolist() == [10, 20, 30]
    assert plain[1, 3].tolist() == [255, 255, 255]
    other = proved(packed(image), LIMITS._replace(background=(1, 2, 3)))
    assert np.asarray(rgb(other.image))[1, 3].tolist() == [1, 2, 3]


def test_a_palette_with_a_transparent_colour_lies_on_the_background() -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([9, 9, 9, 50, 60, 70])
    image.putpixel((1, 0), 1)
    found = proved(packed(image, transparency=0))
    assert np.asarray(rgb(found.image))[0].tolist() == [[255, 255, 255], [50, 60, 70]]
    assert proved(packed(image)).changed == ""


def test_an_opaque_alpha_changes_nothing() -> None:
    data = packed(noise(1).convert("RGBA"))
    assert proved(data).image == data
    assert proved(data).pixels == proved(packed(noise(1))).pixels


def test_exif_turns_a_picture_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    found = proved(packed(noise(1), "PNG", exif=exif))
    assert (found.width, found.height, found.changed, found.format) == (8, 12, "rotated", "PNG")
    assert np.array_equal(rgb(found.image), np.rot90(np.asarray(noise(1)), -1))


def test_cmyk_and_16_bits_become_rgb_of_8() -> None:
    found = proved(packed(noise(1).convert("CMYK"), "JPEG"))
    assert (found.format, found.changed) == ("PNG", "cmyk")
    deep = Image.fromarray(np.array([[0, 0x7F12, 0xFFFF]], dtype=np.uint16))
    found = proved(packed(deep))
    assert found.changed == "16-bit"
    assert np.asarray(rgb(found.image))[0, :, 0].tolist() == [0, 0x7F, 0xFF]


def test_of_an_animation_the_first_frame_is_stored() -> None:
    data = packed(noise(1), "PNG", save_all=True, append_images=[noise(2)])
    found = proved(data)
    assert found.changed == "animated"
    assert np.array_equal(rgb(found.image), noise(1))


def test_equal_pixels_have_one_hash_whatever_holds_them() -> None:
    assert proved(packed(noise(1))).pixels == proved(packed(noise(1), "BMP")).pixels
    assert proved(packed(noise(1))).pixels != proved(packed(noise(2))).pixels
    flat = Image.new("RGB", (2, 3)), Image.new("RGB", (3, 2))
    assert proved(packed(flat[0])).pixels != proved(packed(flat[1])).pixels


def test_limits_are_of_bytes_and_of_pixels(tmp_path: Path) -> None:
    found = prove(PNG, Limits(bytes=len(PNG) - 1, pixels=10**6))
    assert isinstance(found, Wrong)
    assert "max_bytes" in found.mend
    assert isinstance(prove(PNG, Limits(bytes=len(PNG), pixels=64 * 48)), Proved)
    assert isinstance(prove(PNG, Limits(bytes=len(PNG), pixels=64 * 48 - 1)), Wrong)


def _read(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        return file.read(most)


def test_what_reads_a_picture_reads_no_more_than_the_limit_and_may_fail(tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    path.write_bytes(PNG)
    assert prove(partial(_read, path), LIMITS) == prove(PNG, LIMITS)
    found = prove(partial(_read, tmp_path / "none.png"), LIMITS)
    assert isinstance(found, Wrong)
    assert "No such file" in found.reason
