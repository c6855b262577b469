"""The figures that the gateway is judged by, each with what it must hold and what is aimed at, and their page."""

import datetime
import os
import platform
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

HEADING = "figure | must | aim | measured"
ELSEWHERE = (
    "OGX default / LiteLLM, same run | 20 × / 45 × | 28 × / 60 × | make bench-peers",
    "a registry change while serving, 10,000 models and keys, longest stall | 20 ms | 5 ms | make bench-registry",
)


@dataclass(frozen=True)
class Figure:
    """Few is good, unless `more` is. `measured` is None where it was not asked for."""

    name: str
    must: float | None
    aim: float | None
    measured: float | None
    unit: str = ""
    more: bool = False

    def reaches(self, limit: float | None) -> bool:
        assert self.measured is not None
        if limit is None:
            return False
        return self.measured >= limit if self.more else self.measured <= limit

    def __str__(self) -> str:
        if self.measured is None:
            return f"{self.name} | {self._of(self.must)} | {self._of(self.aim)} | not measured"
        reached = " (aim reached)" if self.reaches(self.aim) else " (held)" if self.reaches(self.must) else " (MISSED)"
        told = f"{self._of(self.measured)}{'' if self.must is None else reached}"
        return f"{self.name} | {self._of(self.must)} | {self._of(self.aim)} | {told}"

    def _of(self, value: float | None) -> str:
        if value is None:
            return ""
        return f"{100 * value:.1f} %" if self.unit == "%" else f"{value:.4g} {self.unit}".rstrip()


def lines(figures: Iterable[Figure]) -> list[str]:
    return [HEADING, *map(str, figures), *ELSEWHERE]


def machine() -> str:
    """In a sentence, for those who compare."""
    info = Path("/proc/cpuinfo")
    model = re.search(r"^model name\s*: (.*)$", info.read_text() if info.exists() else "", re.MULTILINE)
    today = datetime.datetime.now(datetime.UTC).strftime("%-d %B %Y")
    name = model[1] if model else platform.machine()
    return (
        f"{os.cpu_count()} cores of {name}, Python {sys.version.split()[0]}; "
        f"load before the run {os.getloadavg()[0]:.1f}; {today}"
    )


def write(page: Path, name: str, text: str) -> None:
    """Put the text between the page's two comments of that name. Raises ValueError where it has none."""
    before, began, rest = page.read_text().partition(f"<!-- {name} -->\n")
    _, ended, after = rest.partition(f"<!-- /{name} -->\n")
    if not (began and ended):
        raise ValueError(f"{page} has no comments '<!-- {name} -->' and '<!-- /{name} -->'.")
    page.write_text(f"{before}{began}{text.strip()}\n{ended}{after}")


def as_table(lines: Iterable[str]) -> str:
    head, *rest = [f"| {line} |" for line in lines]
    return "\n".join([head, "|---" * (head.count("|") - 1) + "|", *rest])
