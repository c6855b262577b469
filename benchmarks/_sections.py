"""Questions whose answers are known: a section's summary sentence, and the section without it.

The sections are what packages say of their functions and classes; each has a summary, as PEP 257 asks for.
"""

import hashlib
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks._texts import documentation

PACKAGES = ("networkx", "scipy", "sklearn", "numpy", "pandas", "django")
SHORTEST, LONGEST = 300, 900  # characters of a section
WORDS = 5  # of a summary, at least
SENTENCE = re.compile(r"(.+?[.!?])\s+(?=[A-Z`*:\"'\[(-])(.*)", re.DOTALL)


@dataclass(frozen=True)
class Section:
    summary: str
    text: str


def sections(*packages: str) -> list[Section]:
    """Each summary and each text once, mixed by a hash of the summary."""
    found: dict[str, Section] = {}
    texts: set[str] = set()
    for section in _all(packages or PACKAGES):
        if section.summary not in found and section.text not in texts:
            found[section.summary] = section
            texts.add(section.text)
    return sorted(found.values(), key=lambda section: hashlib.sha256(section.summary.encode()).digest())


def _all(packages: tuple[str, ...]) -> Iterator[Section]:
    for package in packages:
        for path in sorted((Path(sysconfig.get_paths()["purelib"]) / package).rglob("*.py")):
            if "tests" not in path.parts:
                for said in documentation(path):
                    yield from _parted(" ".join(said.split()))


def _parted(said: str) -> Iterator[Section]:
    match = SENTENCE.match(said)
    if match is None:
        return
    summary, text = match[1], match[2][:LONGEST]
    if len(summary.split()) >= WORDS and len(text) >= SHORTEST and summary not in text:
        yield Section(summary, text)
