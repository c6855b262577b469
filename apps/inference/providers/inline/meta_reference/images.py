"""Images in messages: where they stand, which models see them, and what is inside.

An image comes as a data: URL, or has been fetched (fetching.py). It is decoded within limits, since a small file can
unpack to gigabytes.
"""

import base64
import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from apps.inference.schemas import ImagePart, Message
from llamastack.egress.addresses import parse
from llamastack.egress.fetch import Fetched
from llamastack.errors import BadRequest, UnsupportedParameter

if TYPE_CHECKING:
    from PIL.Image import Image

# Model types of image-text-to-text checkpoints in which images and text share one row of keys and values, positions are
# plain numbers, and the processor needs pillow alone. Tests check each against transformers' generate.
SEEING = frozenset({"gemma3", "idefics3", "llava", "llava_next"})

MAX_IMAGES = 10
MAX_BYTES = 12 << 20  # of one image's file
MAX_PIXELS = 25_000_000  # of one image
MAX_TOTAL_PIXELS = 64_000_000  # of a request's images
MAX_STRETCH = 50  # times longer than wide: processors that scale up the shorter side take the longer with it
MAX_SCANS = 100  # of a JPEG: each costs a pass over all pixels, and a progressive one has about ten
LOW_DETAIL = 512  # pixels of the longer side with `detail: low`: https://platform.openai.com/docs/guides/vision
LIMITS = (
    f"This provider takes up to {MAX_IMAGES} images of {MAX_PIXELS // 10**6} megapixels and {MAX_BYTES >> 20} MiB, "
    f"{MAX_TOTAL_PIXELS // 10**6} megapixels together."
)
FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/jpg": "JPEG", "image/webp": "WEBP", "image/gif": "GIF"}
KINDS = "png, jpeg, webp or gif"
FORM = f"'data:image/png;base64,…' ({KINDS})"


class Place(NamedTuple):
    """An image part, and the field it came in as errors name it."""

    field: str
    role: str
    part: ImagePart


def places(messages: list[Message]) -> list[Place]:
    """Every image of a conversation, in order."""
    return [
        Place(f"messages[{index}].content[{place}].image_url", message.role, part)
        for index, message in enumerate(messages)
        if isinstance(message.content, list)
        for place, part in enumerate(message.content)
        if isinstance(part, ImagePart)
    ]


def sees(path: Path) -> bool:
    """Whether the model that lies here can look at images."""
    settings = path / "config.json"
    return settings.is_file() and json.loads(settings.read_text()).get("model_type") in SEEING


def refuse(found: list[Place], model: str) -> None:
    """Raise UnsupportedParameter for the first image, if any: this model does not see."""
    for place in found:
        raise UnsupportedParameter(
            place.field,
            f"The model '{model}'",
            "It reads text alone: leave the image out, or ask a model that sees. Of local models, GET /v1/models "
            "says so in metadata.input_modalities.",
        )


def check(found: list[Place]) -> None:
    """What can be said of images before any is fetched or decoded. Raises BadRequest that names the part."""
    if len(found) > MAX_IMAGES:
        raise BadRequest(f"There are {len(found)} images. {LIMITS}", param=found[MAX_IMAGES].field)
    for place in found:
        if place.role != "user":
            raise BadRequest("An image belongs into a message of the role 'user'.", param=place.field)
    for url, field in remote(found).items():
        if "://" not in url[:10]:
            raise BadRequest(f"An image comes as {FORM}, or from an address that begins with https://.", param=field)
        parse(url, field)


def remote(found: list[Place]) -> dict[str, str]:
    """The URLs of images that do not carry their data, each with the field that it is first in."""
    urls = [(place.part.image_url.url, f"{place.field}.url") for place in reversed(found)]
    return dict(reversed([(url, field) for url, field in urls if url[:5].lower() != "data:"]))


def decode(found: list[Place], fetched: Mapping[str, Fetched]) -> list["Image"]:
    """The pixels of every image, in RGB; `fetched` has what stands at those that are `remote`.

    Takes a while: call it in a thread. Raises BadRequest that names the part.
    """
    pictures: list[Image] = []
    left = MAX_TOTAL_PIXELS
    for place in found:
        pictures.append(_decoded(place, fetched, min(left, MAX_PIXELS)))
        left -= pictures[-1].width * pictures[-1].height
    return pictures


def _decoded(place: Place, fetched: Mapping[str, Fetched], most: int) -> "Image":
    field, url = f"{place.field}.url", place.part.image_url.url
    content = _fetched(fetched[url]) if url in fetched else _carried(url, field)
    picture = _opened(content, most, field)
    if max(picture.size) > MAX_STRETCH * min(picture.size):
        raise BadRequest(f"The image is more than {MAX_STRETCH} times longer than wide: cut it.", param=field)
    picture = _flat(picture, content, field)
    if place.part.image_url.detail == "low":
        picture.thumbnail((LOW_DETAIL, LOW_DETAIL))
    return picture


class Content(NamedTuple):
    """An image's file, pillow's names of what it may be, and what errors call it."""

    data: bytes
    formats: list[str]
    media: str


def _fetched(one: Fetched) -> Content:
    """Servers are often wrong about the type of an image, so that its own first bytes say it."""
    return Content(one.content, sorted(set(FORMATS.values())), one.media if one.media in FORMATS else KINDS)


def _carried(url: str, field: str) -> Content:
    """What a data: URL carries."""
    header, _, data = url[5:].partition(",")
    media, *options = (word.strip().lower() for word in header.split(";"))
    if media not in FORMATS or options[-1:] != ["base64"]:
        raise BadRequest(f"An image comes as {FORM}.", param=field)
    if len(data) * 3 // 4 > MAX_BYTES:
        raise _too_large(field)
    try:
        return Content(base64.b64decode(data, validate=True), [FORMATS[media]], media)
    except ValueError as error:
        raise BadRequest(f"The image's data is not base64: {error}.", param=field) from error


def _opened(content: Content, most: int, field: str) -> "Image":
    """The image with its size read and its pixels not."""
    from PIL import Image

    try:
        picture = Image.open(BytesIO(content.data), formats=content.formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(field) from error
    except Exception as error:  # a damaged header makes a decoder fail in any way
        raise _unreadable(content.media, field) from error
    if picture.width * picture.height > most:
        raise _too_large(field)
    if picture.format == "JPEG" and content.data.count(b"\xff\xda") > MAX_SCANS:
        raise BadRequest(f"The JPEG has more than {MAX_SCANS} scans: save it as a baseline one.", param=field)
    return picture


def _flat(picture: "Image", content: Content, field: str) -> "Image":
    """The first frame's pixels, upright, in RGB, and on white where they are transparent."""
    from PIL import Image, ImageOps

    try:
        upright = ImageOps.exif_transpose(picture)
        if upright.has_transparency_data:
            upright = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
        return upright.convert("RGB")
    except Exception as error:  # damaged pixels make a decoder fail in any way
        raise _unreadable(content.media, field) from error


def _too_large(field: str) -> BadRequest:
    return BadRequest(f"The image is too large. {LIMITS}", param=field)


def _unreadable(media: str, field: str) -> BadRequest:
    return BadRequest(f"The image cannot be read as {media}: it is damaged, cut off or of another type.", param=field)
