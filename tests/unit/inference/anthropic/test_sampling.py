"""How a model thinks and samples, and what it takes of one beside the other."""

from typing import Any

import pytest

from apps.inference.providers.unsupported import GeneratesConfig
from llamastack.errors import BadRequest, UnsupportedParameter
from tests.unit.inference.anthropic.asking import JSON, body

BUDGETED, ADAPTIVE, NEWEST, OLDEST = (
    "claude-sonnet-4-5",
    "claude-opus-4-6",
    "claude-opus-4-8",
    "claude-3-5-haiku-latest",
)
DROPPING = GeneratesConfig(drop_unsupported=True)
TOOL: JSON = {"type": "function", "function": {"name": "look"}}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
CITY = {"type": "json_schema", "json_schema": {"name": "city", "schema": SCHEMA}}


def refused(**fields: Any) -> str | None:
    with pytest.raises(UnsupportedParameter) as caught:
        body(**fields)
    return caught.value.param


@pytest.mark.parametrize(
    ("effort", "budget"),
    [("minimal", 1024), ("low", 2048), ("medium", 8192), ("high", 16_384), ("xhigh", 32_000), ("max", 32_000)],
)
def test_an_effort_is_a_budget_of_at_most_half_of_the_limit(effort: str, budget: int) -> None:
    made = body(model=BUDGETED, reasoning_effort=effort)
    assert made["thinking"] == {"type": "enabled", "budget_tokens": budget}
    assert "output_config" not in made


@pytest.mark.parametrize(("limit", "budget"), [(1025, 1024), (2000, 1024), (6000, 3000), (20_000, 8192)])
def test_a_budget_is_a_part_of_the_limit(limit: int, budget: int) -> None:
    made = body(model=BUDGETED, reasoning_effort="medium", max_completion_tokens=limit)
    assert made["thinking"]["budget_tokens"] == budget < made["max_tokens"] == limit


def test_a_limit_that_leaves_no_room_to_think_is_refused_by_name() -> None:
    with pytest.raises(BadRequest, match="at least 1024") as caught:
        body(model=BUDGETED, reasoning_effort="low", max_tokens=1024)
    assert caught.value.param == "max_completion_tokens"


@pytest.mark.parametrize(
    ("model", "effort", "made"),
    [
        (ADAPTIVE, "minimal", "low"),
        (ADAPTIVE, "low", "low"),
        (ADAPTIVE, "high", "high"),
        (ADAPTIVE, "xhigh", "max"),
        (NEWEST, "xhigh", "xhigh"),
        (NEWEST, "max", "max"),
    ],
)
def test_newer_models_think_as_much_as_an_effort_says(model: str, effort: str, made: str) -> None:
    sent = body(model=model, reasoning_effort=effort, max_tokens=100)
    assert sent["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert sent["output_config"] == {"effort": made}


def test_no_effort_is_no_thinking() -> None:
    assert body(model=NEWEST, reasoning_effort="none")["thinking"] == {"type": "disabled"}
    assert "thinking" not in body(model=BUDGETED, reasoning_effort="none")
    assert "thinking" not in body(model=OLDEST, reasoning_effort="none")
    assert body(model="claude-sonnet-5-5", reasoning_effort="none")["thinking"] == {"type": "between_tools"}
    for always in ("claude-fable-5", "claude-opus-5-5", "claude-mythos-preview"):
        assert refused(model=always, reasoning_effort="none") == "reasoning_effort"


def test_an_effort_that_a_model_does_not_have_is_refused() -> None:
    assert refused(model=OLDEST, reasoning_effort="low") == "reasoning_effort"
    assert refused(model=BUDGETED, reasoning_effort="enormous") == "reasoning_effort"
    assert refused(model=NEWEST, reasoning_effort="enormous") == "reasoning_effort"


@pytest.mark.parametrize(
    "forcing",
    [
        {"tools": [TOOL], "tool_choice": "required"},
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "look"}}},
        {"response_format": {"type": "json_object"}},
    ],
    ids=str,
)
def test_nobody_thinks_who_is_forced_to_call(forcing: JSON) -> None:
    enabled = {"type": "enabled", "budget_tokens": 2000}
    assert refused(model=BUDGETED, reasoning_effort="low", **forcing) == "reasoning_effort"
    assert refused(model=BUDGETED, thinking=enabled, **forcing) == "thinking"
    for asked in ({"reasoning_effort": "low"}, {"thinking": enabled}):
        made = body(model=BUDGETED, config=DROPPING, **asked, **forcing)
        assert "thinking" not in made
        assert made["tool_choice"]["type"] in ("any", "tool")


@pytest.mark.parametrize(
    ("model", "thinking"),
    [("claude-sonnet-5", {"type": "disabled"}), ("claude-haiku-5-5", {"type": "disabled"}), (NEWEST, None)],
)
def test_who_thinks_unasked_is_asked_not_to_where_a_call_is_forced(model: str, thinking: Any) -> None:
    assert body(model=model, tools=[TOOL], tool_choice="required").get("thinking") == thinking
    assert "thinking" not in body(model=model, tools=[TOOL])


def test_who_may_call_may_think_and_so_may_who_follows_a_schema() -> None:
    assert "thinking" in body(model=BUDGETED, reasoning_effort="low", tools=[TOOL])
    made = body(model=NEWEST, reasoning_effort="low", response_format=CITY)
    assert made["output_config"].keys() == {"effort", "format"}


def test_thinking_is_asked_for_once() -> None:
    with pytest.raises(BadRequest, match="give one of them") as caught:
        body(thinking={"type": "adaptive"}, reasoning_effort="low")
    assert caught.value.param == "reasoning_effort"


@pytest.mark.parametrize("temperature", [0, 0.3, 0.99])
def test_a_temperature_of_claudes_is_sent(temperature: float) -> None:
    assert body(temperature=temperature)["temperature"] == temperature


def test_a_temperature_above_claudes_is_refused_or_left_out() -> None:
    assert refused(temperature=1.5) == "temperature"
    assert "temperature" not in body(temperature=1.5, config=DROPPING)


def test_who_thinks_does_so_at_a_temperature_of_one() -> None:
    assert refused(temperature=0.5, reasoning_effort="low") == "temperature"
    assert "temperature" not in body(temperature=1, reasoning_effort="low")
    assert refused(top_p=0.5, reasoning_effort="low") == "top_p"
    assert body(top_p=0.96, reasoning_effort="low")["top_p"] == 0.96


def test_newer_models_sample_by_themselves() -> None:
    assert refused(model=NEWEST, temperature=0.5) == "temperature"
    assert refused(model=NEWEST, top_p=0.5) == "top_p"
    assert not {"temperature", "top_p"} & body(model=NEWEST, temperature=1.0, top_p=0.99).keys()


def test_temperature_and_top_p_are_taken_together_by_older_models_alone() -> None:
    both = {"temperature": 0.5, "top_p": 0.5}
    assert both.items() <= body(model=OLDEST, **both).items()
    assert refused(model=BUDGETED, **both) == "top_p"
    made = body(model=BUDGETED, config=DROPPING, **both)
    assert (made["temperature"], "top_p" in made) == (0.5, False)
