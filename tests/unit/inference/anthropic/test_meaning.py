"""Any conversation keeps its meaning: Anthropic is asked what its caller asked, as another reader reads it."""

from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from apps.inference.providers.remote.anthropic import MessagesTranslation
from apps.inference.providers.unsupported import GeneratesConfig
from apps.inference.schemas import ChatCompletionRequest
from tests.conformance.vendors.anthropic import ANTHROPIC
from tests.conformance.vendors.vendor import CHAT
from tests.conversations import meaning, requests
from tests.unit.inference.anthropic.asking import checked

JSON = dict[str, Any]
MODEL, NEWER = "claude-opus-4-6", "claude-opus-4-8"
LIMIT = 128_000  # of both
# An effort does not go with every temperature and choice, nor a temperature with top_p: test_sampling.py.
APART = ("reasoning_effort", "top_p")
ROLES = st.sampled_from(("system", "developer"))


def asked(body: JSON) -> JSON:
    """What Anthropic is asked, in OpenAI's words again."""
    request = ChatCompletionRequest.model_validate(body)
    before = request.model_dump_json()
    sent: JSON = MessagesTranslation(request, "'claude'", GeneratesConfig()).body
    assert request.model_dump_json() == before
    checked(sent)
    return ANTHROPIC.question(CHAT, sent)


def meant(body: JSON) -> JSON:
    """A temperature of one is what happens without any."""
    return {"limit": LIMIT} | {
        name: value for name, value in meaning(body).items() if (name, value) != ("temperature", 1)
    }


def of_any_object(body: JSON) -> bool:
    """Whether it asks for JSON of no given form, which comes by a tool: test_schemas.py."""
    asked = body.get("response_format", {})
    return asked.get("type") == "json_schema" and not asked["json_schema"]["schema"]["properties"]


BODIES = requests(any_json=False, without=APART, model=MODEL).filter(lambda body: not of_any_object(body))
THINKING = requests(any_json=False, without=("temperature", "top_p", "tool_choice"), model=NEWER)


@given(BODIES)
def test_a_conversation_there_and_back_keeps_its_meaning(body: JSON) -> None:
    assert meaning(asked(body)) == meant(body)


@given(THINKING)
def test_so_does_one_that_asks_to_think(body: JSON) -> None:
    assume(not of_any_object(body))
    assert meaning(asked(body)) == meant(body)


@given(BODIES, ROLES, st.integers(0, 20))
def test_instructions_within_a_conversation_are_not_lost(body: JSON, role: str, place: int) -> None:
    turns = [index for index, said in enumerate(body["messages"]) if said["role"] == "user"]
    body["messages"].insert(turns[place % len(turns)] + 1, {"role": role, "content": "Be brief."})
    assert meaning(asked(body)) == meant(body)
