"""What each family of Claude can do, as its name tells."""

import pytest

from apps.inference.providers.remote.anthropic.families import family


@pytest.mark.parametrize(
    ("names", "thinking", "samples", "schemas"),
    [
        (
            ["claude-3-haiku-20240307", "claude-3-5-sonnet-latest", "claude-2.1", "claude-instant-1.2"],
            "none",
            True,
            False,
        ),
        (["claude-3-7-sonnet-20250219", "claude-4-opus-20250514", "claude-opus-4-0"], "budget", True, False),
        (["claude-sonnet-4-20250514", "claude-opus-4-1", "claude-opus-4@20250514"], "budget", True, False),
        (["claude-haiku-4-5@20251001", "anthropic.claude-sonnet-4-5-20250929-v1:0"], "budget", True, True),
        (["claude-sonnet-4-6", "Claude-Opus-4-6"], "adaptive", True, True),
        (["claude-opus-4-8", "claude-fable-5", "claude-mythos-preview", "claude-verse-7-12"], "adaptive", False, True),
        (["kimi-k2", "my-model"], "budget", True, False),
    ],
)
def test_a_name_tells_what_its_family_can_do(names: list[str], thinking: str, samples: bool, schemas: bool) -> None:
    for name in names:
        able = family(name)
        assert (able.thinking, able.samples, able.follows_schemas) == (thinking, samples, schemas), name


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("claude-3-opus-20240229", 4096),
        ("claude-3-5-haiku-20241022", 8192),
        ("claude-3-7-sonnet-latest", 64_000),
        ("claude-opus-4-20250514", 32_000),
        ("claude-haiku-5-5", 128_000),
        ("claude-verse-7", 64_000),
    ],
)
def test_a_limit_is_known_or_one_that_every_model_of_its_time_has(name: str, limit: int) -> None:
    assert family(name).limit == limit


@pytest.mark.parametrize(
    ("name", "forced", "unasked", "quiet"),
    [
        ("claude-haiku-4-5", True, False, None),
        ("claude-opus-4-8", True, False, "disabled"),
        ("claude-sonnet-5", True, True, "disabled"),
        ("claude-haiku-5-5", True, True, "disabled"),
        ("claude-sonnet-5-5", False, True, "between_tools"),
        ("claude-fable-5", True, True, None),
        ("claude-fable-5-1", False, True, None),
        ("claude-opus-5-5", False, True, None),
    ],
)
def test_the_newest_think_unasked_or_always_and_some_cannot_be_forced(
    name: str, forced: bool, unasked: bool, quiet: str | None
) -> None:
    able = family(name)
    assert (able.can_be_forced, able.thinks_unasked, able.quiet) == (forced, unasked, quiet)
