"""Images in messages: where they stand, and who cannot see them."""

from typing import NamedTuple

from apps.inference.schemas import ImagePart, Message
from llamastack.errors import UnsupportedParameter


class Place(NamedTuple):
    """An image part and the field it came in, as errors name it."""

    field: str
    part: ImagePart


def places(messages: list[Message]) -> list[Place]:
    """Every image of a conversation, in order."""
    return [
        Place(f"messages[{index}].content[{place}].image_url", part)
        for index, message in enumerate(messages)
        if isinstance(message.content, list)
        for place, part in enumerate(message.content)
        if isinstance(part, ImagePart)
    ]


def refuse(found: list[Place], model: str) -> None:
    """Raise UnsupportedParameter for the first image that is sent to a model that does not see."""
    for place in found:
        raise UnsupportedParameter(
            place.field,
            f"The model '{model}'",
            "It reads text alone: leave the image out, or ask a model that sees.",
        )
