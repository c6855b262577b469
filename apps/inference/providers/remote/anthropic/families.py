"""What each family of Claude can do, as its name tells: what may be asked, and how.

From https://platform.claude.com/docs: models/overview and each model's migration guide (as models/sonnet-5-5/…),
build-with-claude/thinking, …/effort, …/structured-outputs, and what Anthropic's OpenAPI document notes on `temperature`
(November 2026). A name of Claude's without a number is taken for the newest's; any other name is that of a model behind
another server that speaks the Messages API, of which the least is assumed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from apps.registry.known_models import known_model

Version = tuple[int, int]

# claude-3-5-haiku-20241022, claude-4-opus-20250514; claude-opus-4-1-20250805, claude-haiku-4-5@20251001
OLD = re.compile(r"claude-(?P<major>\d)(?:[-.](?P<minor>\d))?-(?P<line>[a-z]+)")
NEW = re.compile(r"claude-(?P<line>[a-z]+)-(?P<major>\d+)(?:[-.](?P<minor>\d{1,2}))?(?!\d)")
FIRST = re.compile(r"claude-(\d|instant)")
NEWEST = (99, 0)
# From which version on a line cannot be made to call a tool, and from which it cannot be asked not to think.
UNFORCED: Mapping[str, Version] = {"fable": (5, 1), "mythos": (5, 1), "opus": (5, 5), "sonnet": (5, 5)}
ALWAYS_THINK: Mapping[str, Version] = {"": (0, 0), "fable": (0, 0), "mythos": (0, 0), "opus": (5, 5)}
UNKNOWN_LIMIT = 4096
ANTHROPIC = "remote::anthropic"


@dataclass(frozen=True)
class Family:
    """`limit` is the most that `max_tokens` may be.

    `thinking` is told by a budget of tokens or, where the model finds it itself (adaptive), by one of `efforts`.
    `samples`: `temperature` and `top_p` are taken; `samples_by_both`: in one request. `follows_schemas`: by itself
    (output_config), and not only in the input of a tool. `can_be_forced`: to call a tool.
    `thinks_unasked`: also where nobody asks for it; `quiet` is the type of thinking by which a model that finds its
    own measure is asked not to, None where it always thinks.
    """

    limit: int
    thinking: Literal["none", "budget", "adaptive"]
    efforts: tuple[str, ...] = ()
    samples: bool = True
    samples_by_both: bool = True
    follows_schemas: bool = False
    can_be_forced: bool = True
    thinks_unasked: bool = False
    quiet: Literal["disabled", "between_tools"] | None = None


OTHER = Family(UNKNOWN_LIMIT, "budget")


@lru_cache(maxsize=1024)
def family(model: str) -> Family:
    """What a model can do. Its limit is the one that the data of known models have."""
    named, known = _named(model.lower()), known_model(ANTHROPIC, model)
    limit = known.facts.max_output_tokens if known else None
    return replace(named, limit=limit) if limit else named


def _named(name: str) -> Family:
    if "claude" not in name:
        return OTHER
    found = OLD.search(name) or NEW.search(name)
    if found is None:
        return Family(UNKNOWN_LIMIT, "none") if FIRST.search(name) else _of("", NEWEST)
    return _of(found["line"], (int(found["major"]), int(found["minor"] or 0)))


def _of(line: str, version: Version) -> Family:
    return Family(
        limit=_limit(line, version),
        thinking="none" if version < (3, 7) else "budget" if version < (4, 6) else "adaptive",
        efforts=_efforts(version),
        samples=version < (4, 7),
        samples_by_both=version < (4, 1),
        follows_schemas=version >= (4, 5),
        can_be_forced=line not in UNFORCED or version < UNFORCED[line],
        thinks_unasked=version >= (5, 0),
        quiet=None if version < (4, 6) else _quiet(line, version),
    )


def _quiet(line: str, version: Version) -> Literal["disabled", "between_tools"] | None:
    if line in ALWAYS_THINK and version >= ALWAYS_THINK[line]:
        return None
    return "between_tools" if line == "sonnet" and version >= (5, 5) else "disabled"


def _limit(line: str, version: Version) -> int:
    """Of models that the data of known ones lack."""
    if version < (3, 5):
        return 4096
    if version < (3, 7):
        return 8192
    return 32_000 if line == "opus" and version < (4, 5) else 64_000


def _efforts(version: Version) -> tuple[str, ...]:
    if version < (4, 6):
        return ()
    return ("low", "medium", "high", "max") if version < (4, 7) else ("low", "medium", "high", "xhigh", "max")
