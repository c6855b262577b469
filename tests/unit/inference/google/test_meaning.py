"""A conversation there and back keeps its meaning: read by the scripted server, which knows no line of our own."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from apps.inference.dialect import ChatStream, mended
from apps.inference.providers.remote.google import GenerateContent
from apps.inference.providers.unsupported import GeneratesConfig
from apps.inference.schemas import ChatCompletion, ChatCompletionRequest
from tests.conformance.vendors.google import GEMINI, VERTEX
from tests.conformance.vendors.vendor import CHAT, Answer
from tests.conversations import OBJECTS, TEXTS, meaning, requests

WITHOUT = ("user", "parallel_tool_calls")  # which Google has no word for
MODELS = st.sampled_from(("gemini-2.5-flash", "gemini-3-pro", "gemini-flash-latest"))
HELLO = [{"role": "user", "content": "Hi"}]


def translated(body: dict[str, Any]) -> GenerateContent:
    request = ChatCompletionRequest.model_validate(body)
    return GenerateContent(request, f"models/{request.model}", "Provider 'gemini'", GeneratesConfig())


@given(MODELS.flatmap(lambda model: requests(without=WITHOUT, model=model)))
def test_what_is_asked_means_the_same_in_googles_words(body: dict[str, Any]) -> None:
    asked = translated(body)
    assert meaning(GEMINI.question(CHAT, asked.body)) == meaning(body)
    assert asked.request == ChatCompletionRequest.model_validate(body)  # which has not been changed


@given(requests(without=WITHOUT, model="gemini-2.5-flash"))
def test_without_ids_results_are_told_apart_by_their_order(body: dict[str, Any]) -> None:
    """As models before Gemini 3 are asked on Vertex AI."""
    request = ChatCompletionRequest.model_validate(body)
    asked = GenerateContent(request, "models/x", "Provider 'vertexai'", GeneratesConfig(), older_ids=False)
    assert meaning(VERTEX.question(CHAT, asked.body)) == meaning(body)


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    names = draw(st.lists(st.sampled_from(("get_weather", "get_time")), max_size=3))
    arguments = [json.dumps(draw(OBJECTS)) for _ in names]
    functions = [{"name": name, "arguments": said} for name, said in zip(names, arguments, strict=True)]
    calls = [{"id": f"c{i}", "type": "function", "function": function} for i, function in enumerate(functions)]
    reason = "tool_calls" if calls else draw(st.sampled_from(("stop", "length", "content_filter")))
    asked = {"model": "sky", "messages": HELLO, "n": draw(st.integers(1, 2))}
    return Answer(asked, draw(st.lists(TEXTS, max_size=4)), draw(st.lists(TEXTS, max_size=3)), calls, reason)


def said(reply: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What each choice says, and why it ends."""
    told = []
    for choice in ChatCompletion.model_validate(reply).choices:
        message = choice.message.model_dump()
        calls = [call["function"] for call in message.get("tool_calls") or ()]
        called = [(call["name"], json.loads(call["arguments"])) for call in calls]
        told.append((message["content"] or "", message.get("reasoning_content") or "", called, choice.finish_reason))
    return told


@given(answers())
def test_what_is_answered_says_the_same_whole_and_streamed(answer: Answer) -> None:
    called = [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in answer.calls]
    expected = [(answer.text, answer.thought, called, answer.reason)] * answer.choices
    whole = translated(answer.body).whole(GEMINI.whole(answer))
    assert said(mended(whole, "sky")) == expected
    asked = translated(answer.body | {"stream": True})
    stream = ChatStream("sky", answer.choices, wants_usage=True)
    together = stream.whole([chunk for event in GEMINI.events(answer) for chunk in asked.chunks(event)])
    assert stream.finished
    assert said(together) == expected
    assert together["usage"] == whole["usage"]


@given(answers())
def test_an_answer_that_is_sent_back_is_what_google_said(answer: Answer) -> None:
    """With its thoughts, its signatures and the ids of its calls."""
    heard = GEMINI.whole(answer)
    content = heard["candidates"][0].get("content")
    [message, *_] = [choice["message"] for choice in translated(answer.body).whole(heard)["choices"]]
    back = translated({"model": "sky", "messages": [*HELLO, message, *HELLO]}).body["contents"][1:-1]
    plain = [turn | {"parts": [_without_id(part) for part in turn["parts"]]} for turn in back]
    assert plain == ([] if content is None else [{"role": "model", "parts": _thoughts_joined(content["parts"])}])


def _thoughts_joined(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    thought = "".join(part["text"] for part in parts if part.get("thought"))
    rest = [part for part in parts if not part.get("thought")]
    return [{"text": thought, "thought": True}, *rest] if thought else rest


def _without_id(part: dict[str, Any]) -> dict[str, Any]:
    """Google has given none."""
    if "functionCall" not in part:
        return part
    call = {name: value for name, value in part["functionCall"].items() if name != "id"}
    return part | {"functionCall": call}
