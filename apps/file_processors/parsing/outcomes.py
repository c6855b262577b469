"""What reading a document in a process of its own comes to: pages, or why there are none."""

from dataclasses import dataclass, field
from typing import Any, Literal

Reason = Literal["encrypted", "empty", "no_text", "broken", "too_large", "exhausted", "missing"]


class Refused(Exception):
    """`why` completes the reason: what is broken, how much is too much, which package is missing."""

    def __init__(self, reason: Reason, why: str = "") -> None:
        super().__init__(reason, why)
        self.reason = reason
        self.why = why


@dataclass(frozen=True)
class Limits:
    """Of one document. `seconds` is by the clock; `cpu_seconds` is what its process may calculate."""

    pages: int = 5000
    text_bytes: int = 32 << 20
    unpacked_bytes: int = 256 << 20
    memory_bytes: int = 1 << 30
    cpu_seconds: int = 60
    seconds: float = 120


@dataclass(frozen=True)
class Task:
    """What the process is told before the document's bytes. `clean`: as tidy.py does; `facts`: its title and author."""

    parser: str
    name: str
    kind: str
    size: int
    clean: bool = True
    facts: bool = True
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Reading:
    pages: list[tuple[int | None, str]]
    metadata: dict[str, Any] = field(default_factory=dict)
