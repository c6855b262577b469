"""What an answer turns out to hold, in the order it comes."""

from collections.abc import Generator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Said:
    """Text of the answer itself."""

    text: str


@dataclass(frozen=True, slots=True)
class Thought:
    """Text of the model's reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class Called:
    """A call begins; its arguments follow."""

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Argued:
    """A piece of a call's arguments: JSON as far as the model wrote JSON."""

    index: int
    text: str


Event = Said | Thought | Called | Argued
# One that reads: it yields what is certain, and None where it needs more text; it returns whether it found its thing.
Steps = Generator[Event | None, None, bool]
