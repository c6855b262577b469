"""Images in a request: what is read, and what is refused by the name of its part."""

import base64
import struct
import zlib
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from apps.inference.providers.inline.meta_reference.images import check, decode, places
from apps.inference.schemas import Message
from llamastack.errors import BadRequest
from tests.unit.inference.seeing import image_part, picture, url

SMALL = picture(1)
PNG = url(SMALL)


def decoded(*addresses: str, role: str = "user", **fields: Any) -> list[Image.Image]:
    parts = [{"type": "text", "text": "x"}, *(image_part(address, **fields) for address in addresses)]
    found = places([Message.model_validate({"role": role, "content": parts})])
    check(found)
    return decode(found, {})


def data(content: bytes, media: str = "image/png") -> str:
    return f"data:{media};base64,{base64.b64encode(content).decode()}"


def png(width: int, height: int) -> bytes:
    """A PNG whose header promises more than its data holds: nobody may believe it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 100)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("address", [PNG, url(SMALL, "webp", lossless=True), url(SMALL, "gif"), url(SMALL, "jpeg")])
def test_four_formats_are_read_in_rgb(address: str) -> None:
    (read,) = decoded(address)
    assert (read.mode, read.size) == ("RGB", SMALL.size)
    if "gif" not in address and "jpeg" not in address:
        assert read.tobytes() == SMALL.tobytes()


@pytest.mark.parametrize("form", ["gif", "webp", "png"])
def test_of_a_moving_image_the_first_frame_is_read(form: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    (read,) = decoded(url(frames[0], form, save_all=True, append_images=frames[1:], duration=50))
    assert read.getpixel((4, 4)) == pytest.approx((255, 0, 0), abs=8)


def test_a_transparent_image_stands_on_white_and_a_turned_one_upright() -> None:
    (clear,) = decoded(url(Image.new("RGBA", (4, 4), (0, 0, 0, 0))))
    assert clear.getpixel((0, 0)) == (255, 255, 255)
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by a quarter: https://www.cipa.jp/std/documents/e/DC-008-2012_E.pdf
    (upright,) = decoded(url(SMALL, "jpeg", exif=turned))
    assert upright.size == (SMALL.height, SMALL.width)


def test_low_detail_is_a_small_image() -> None:
    large = url(picture(1, 1024, 600))
    assert [decoded(large, detail=detail)[0].width for detail in ("low", "high", "auto")] == [512, 1024, 1024]


def test_upper_case_and_parameters_in_the_address_do_no_harm() -> None:
    address = "DATA:image/PNG;name=a.png;BASE64," + PNG.partition(",")[2]
    assert decoded(address)[0].size == SMALL.size


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("ftp://example.com/a.png", "does not begin with http"),
        ("file:///etc/passwd", "does not begin with http"),
        ("http://user:password@example.com/a.png", "user name or a password"),
        ("/etc/passwd", "An image comes as"),
        ("example.com/a.png", "An image comes as"),
        ("data:", "comes as"),
        ("data:image/png," + "AAAA", "comes as"),
        ("data:image/svg+xml;base64,AAAA", "comes as"),
        ("data:text/plain;base64,AAAA", "comes as"),
        ("data:image/png;base64,*", "not base64"),
        ("data:image/png;base64,é", "not base64"),
        ("data:image/png;base64,AAA", "not base64"),
        ("data:image/png;base64,", "cannot be read as image/png"),
        (data(b"no image"), "cannot be read as image/png"),
        (data(base64.b64decode(PNG.partition(",")[2]), "image/jpeg"), "cannot be read as image/jpeg"),
        (data(base64.b64decode(PNG.partition(",")[2])[:-300]), "cannot be read as image/png"),
        (data(png(100, 100)), "cannot be read as image/png"),
        (data(png(6000, 6000)), "too large"),
        (data(png(10_000, 9_000)), "too large"),
        (data(png(60_000, 60_000)), "too large"),
        (data(png(0, 5)), "cannot be read as image/png"),
        (data(png(51, 1)), "longer than wide"),
        ("data:image/png;base64," + "A" * 17_000_000, "too large"),
    ],
)
def test_what_is_no_image_is_a_400_that_names_the_part(address: str, words: str) -> None:
    with pytest.raises(BadRequest, match=words) as refused:
        decoded(PNG, address)
    assert refused.value.param == "messages[0].content[2].image_url.url"
    assert len(refused.value.message) < 300


def test_a_jpeg_of_many_scans_is_refused() -> None:
    file = BytesIO()
    SMALL.save(file, "jpeg", progressive=True)
    scan = file.getvalue()[file.getvalue().rindex(b"\xff\xda") : -2]
    assert decoded(data(file.getvalue(), "image/jpeg"))
    with pytest.raises(BadRequest, match="scans"):
        decoded(data(file.getvalue()[:-2] + scan * 100 + b"\xff\xd9", "image/jpeg"))


def test_images_are_counted_and_so_are_their_pixels() -> None:
    assert len(decoded(*[PNG] * 10)) == 10
    with pytest.raises(BadRequest, match="11 images") as refused:
        decoded(*[PNG] * 11)
    assert refused.value.param == "messages[0].content[11].image_url"
    large = url(Image.new("1", (5000, 4600)))
    assert len(decoded(large, large)) == 2
    with pytest.raises(BadRequest, match="64 megapixels together") as refused:
        decoded(large, large, large)
    assert refused.value.param == "messages[0].content[3].image_url.url"


@pytest.mark.parametrize("role", ["system", "assistant", "tool"])
def test_images_are_the_users(role: str) -> None:
    with pytest.raises(BadRequest, match="'user'") as refused:
        decoded(PNG, role=role)
    assert refused.value.param == "messages[0].content[1].image_url"
