"""What Google answers, in OpenAI's words."""

import json
from typing import Any

import pytest

from apps.inference.dialect import AnswerFailed, ChatStream, Malformed, mended
from apps.inference.providers.remote.gemini import Gemini, GeminiConfig
from apps.inference.providers.remote.google import GenerateContent
from apps.inference.providers.unsupported import GeneratesConfig
from apps.inference.schemas import ChatCompletion, ChatCompletionRequest
from llamastack.errors import UpstreamError
from tests.unit.inference.scripted import CALL, Stream, chat, scripted, started

Parts = list[dict[str, Any]]


def translation(**fields: Any) -> GenerateContent:
    body = {"model": "sky", "messages": [{"role": "user", "content": "Hi"}], **fields}
    request = ChatCompletionRequest.model_validate(body)
    return GenerateContent(request, "models/sky", "Provider 'gemini'", GeneratesConfig())


def answer(parts: Parts | None = None, reason: str | None = "STOP", **fields: Any) -> dict[str, Any]:
    content = {"content": {"role": "model", "parts": parts}} if parts is not None else {}
    ended = {"finishReason": reason} if reason else {}
    return {"candidates": [{**content, **ended, "index": 0, **fields}]}


def whole(said: dict[str, Any]) -> dict[str, Any]:
    read = ChatCompletion.model_validate(mended(translation().whole(said), "sky"))
    told: dict[str, Any] = json.loads(read.model_dump_json())
    return told


def choice(said: dict[str, Any]) -> dict[str, Any]:
    [one] = whole(said)["choices"]
    told: dict[str, Any] = one
    return told


def streamed(*events: dict[str, Any]) -> dict[str, Any]:
    """What a stream of these events adds up to."""
    asked, stream = translation(stream=True), ChatStream("sky", 1, wants_usage=True)
    return stream.whole([chunk for event in events for chunk in asked.chunks(event)])


def test_text_and_thoughts_come_apart() -> None:
    said = choice(answer([{"text": "Hm. ", "thought": True}, {"text": "Well.", "thought": True}, {"text": "Blue."}]))
    assert (said["message"]["content"], said["message"]["reasoning_content"]) == ("Blue.", "Hm. Well.")
    assert (said["finish_reason"], said["native_finish_reason"]) == ("stop", "STOP")


def test_calls_have_ids_arguments_as_text_and_their_signatures() -> None:
    first = {"functionCall": {"id": "abc", "name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"}
    said = choice(answer([first, {"functionCall": {"name": "g"}}]))
    one, two = said["message"]["tool_calls"]
    assert one["id"] == "abc"
    assert one["function"] == {"name": "f", "arguments": '{"a":1}'}
    assert one["extra_content"] == {"google": {"thought_signature": "c2ln"}}
    assert two["id"].startswith("call_")
    assert two["function"] == {"name": "g", "arguments": "{}"}
    assert "extra_content" not in two
    assert (said["finish_reason"], said["message"]["content"]) == ("tool_calls", None)


def test_calls_of_a_stream_are_numbered_and_its_last_signature_is_the_messages() -> None:
    told = streamed(
        answer([{"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "one"}], None),
        answer([{"functionCall": {"name": "f", "args": {"a": 1}}}], None),
        answer([{"text": "", "thoughtSignature": "last"}]),
    )
    [said] = told["choices"]
    calls = said["message"]["tool_calls"]
    assert [call["function"]["arguments"] for call in calls] == ["{}", '{"a":1}']
    assert calls[0]["extra_content"] == {"google": {"thought_signature": "one"}}
    assert said["message"]["extra_content"] == {"google": {"thought_signature": "last"}}
    assert said["finish_reason"] == "tool_calls"


def test_images_that_a_model_made_and_code_that_google_ran_are_kept() -> None:
    code: Parts = [{"executableCode": {"code": "1"}}, {"codeExecutionResult": {"output": "1"}}]
    shown = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}, "thoughtSignature": "c2ln"}
    message = choice(answer([{"text": "Look:"}, *code, shown]))["message"]
    assert message["extra_content"] == {"google": {"parts": code}}
    [image] = message["images"]
    assert image["image_url"] == {"url": "data:image/png;base64,AAAA"}
    assert image["extra_content"] == {"google": {"thought_signature": "c2ln"}}


@pytest.mark.parametrize(
    ("reason", "ours"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("OTHER", "stop"),
        *((reason, "content_filter") for reason in ("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "SPII")),
        *((reason, "content_filter") for reason in ("PROHIBITED_CONTENT", "IMAGE_SAFETY", "MODEL_ARMOR")),
        *((reason, "content_filter") for reason in ("IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION")),
    ],
)
def test_each_end_has_openais_word_beside_googles(reason: str, ours: str) -> None:
    said = choice(answer([{"text": "Blue"}], reason))
    assert (said["finish_reason"], said["native_finish_reason"]) == (ours, reason)
    [again] = streamed(answer([{"text": "Blue"}], None), answer(None, reason))["choices"]
    assert (again["finish_reason"], again["native_finish_reason"]) == (ours, reason)


FAILED = (
    *("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS"),
    *("MISSING_THOUGHT_SIGNATURE", "MALFORMED_RESPONSE"),
)


@pytest.mark.parametrize("reason", FAILED)
def test_an_end_that_makes_an_answer_none_is_a_failure_with_googles_words(reason: str) -> None:
    for said in (answer([{"text": "x"}], reason), answer(None, reason, finishMessage="print(f(")):
        with pytest.raises(AnswerFailed, match=reason):
            whole(said)
        with pytest.raises(AnswerFailed, match=reason):
            streamed(said)
    with pytest.raises(AnswerFailed, match=r"print\(f\("):
        whole(answer(None, reason, finishMessage="print(f("))


def test_an_answer_that_is_withheld_says_why() -> None:
    said = answer([{"text": "Blue"}], "SAFETY", finishMessage="It may do harm.", safetyRatings=[{"blocked": True}])
    for told in (choice(said), streamed(said)["choices"][0]):
        assert (told["finish_reason"], told["message"]["refusal"]) == ("content_filter", "It may do harm.")
        assert told["safetyRatings"] == [{"blocked": True}]


@pytest.mark.parametrize("n", [1, 2])
def test_a_blocked_prompt_is_a_refusal_and_no_error(n: int) -> None:
    feedback = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 4}}
    told = translation(n=n).whole(feedback)
    stream = ChatStream("sky", n, wants_usage=True)
    added = stream.whole(list(translation(n=n, stream=True).chunks(feedback)))
    assert stream.finished
    for reply in (told, added):
        assert [said["index"] for said in reply["choices"]] == list(range(n))
        for said in reply["choices"]:
            assert (said["finish_reason"], said["message"]["content"]) == ("content_filter", None)
            assert said["message"]["refusal"] == "Google blocked the prompt: PROHIBITED_CONTENT."
        assert reply["usage"]["prompt_tokens"] == 4


def test_vertex_says_more_of_why_a_prompt_was_blocked() -> None:
    feedback = {"promptFeedback": {"blockReason": "MODEL_ARMOR", "blockReasonMessage": "An injection"}}
    assert choice(feedback)["message"]["refusal"] == "Google blocked the prompt: MODEL_ARMOR (An injection)."


def test_usage_counts_thoughts_as_answer_and_what_tools_read_as_prompt() -> None:
    counts = {
        "promptTokenCount": 10,
        "cachedContentTokenCount": 8,
        "toolUsePromptTokenCount": 5,
        "candidatesTokenCount": 3,
        "thoughtsTokenCount": 7,
        "totalTokenCount": 25,
    }
    assert translation().whole(answer([{"text": "x"}]) | {"usageMetadata": counts})["usage"] == {
        "prompt_tokens": 15,
        "completion_tokens": 10,
        "total_tokens": 25,
        "prompt_tokens_details": {"cached_tokens": 8, "tool_use_tokens": 5},
        "completion_tokens_details": {"reasoning_tokens": 7},
    }


@pytest.mark.parametrize("counts", [None, 5, []])
def test_usage_that_is_not_told_is_none(counts: Any) -> None:
    assert whole(answer([{"text": "x"}]) | {"usageMetadata": counts}).get("usage") is None


def test_the_usage_of_a_stream_is_the_last_one_told() -> None:
    first = answer([{"text": "a"}], None) | {"usageMetadata": {"promptTokenCount": 3}}
    last = answer([{"text": "b"}]) | {"usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2}}
    told = streamed(first, {"usageMetadata": {"promptTokenCount": 3}}, last)
    assert told["choices"][0]["message"]["content"] == "ab"
    assert told["usage"]["total_tokens"] == 5


def test_log_probabilities_are_read_with_their_alternatives() -> None:
    def token(text: str, value: float) -> dict[str, Any]:
        return {"token": text, "tokenId": 7, "logProbability": value}

    result = {
        "chosenCandidates": [token("é", -0.1), token("!", -2.0)],
        "topCandidates": [{"candidates": [token("é", -0.1), token("e", -1.5)]}],
    }
    told = choice(answer([{"text": "é!"}], logprobsResult=result, avgLogprobs=-1.05))
    first, second = told["logprobs"]["content"]
    assert (first["token"], first["logprob"], first["bytes"]) == ("é", -0.1, [195, 169])
    assert [(top["token"], top["logprob"]) for top in first["top_logprobs"]] == [("é", -0.1), ("e", -1.5)]
    assert second["top_logprobs"] == []
    assert told["avgLogprobs"] == -1.05
    halves = [answer([{"text": t}], r, logprobsResult=result) for t, r in (("é", None), ("!", "STOP"))]
    assert len(streamed(*halves)["choices"][0]["logprobs"]["content"]) == 4


def test_an_answer_has_googles_id_and_the_version_of_the_model_that_gave_it() -> None:
    told = whole(answer([{"text": "x"}]) | {"responseId": "r1", "modelVersion": "sky-001"})
    assert (told["id"], told["model"]) == ("r1", "sky-001")
    assert whole(answer([{"text": "x"}]))["model"] == "sky"


NONSENSE: list[Any] = [
    {"candidates": 5},
    {"candidates": ["x"]},
    {"candidates": [{"content": 5}]},
    {"candidates": [{"content": {"parts": "x"}}]},
    {"candidates": [{"content": {"parts": [5]}}]},
    {"candidates": [{"finishReason": 5}]},
    {"candidates": [{"index": "x"}]},
    {"candidates": [{"content": {"parts": [{"functionCall": {}}]}}]},
    {"candidates": [{"logprobsResult": {"chosenCandidates": 5}}]},
]


@pytest.mark.parametrize("said", NONSENSE, ids=str)
def test_an_answer_that_no_google_gives_is_told_to_be_none(said: Any) -> None:
    for read in (translation().whole, lambda event: list(translation().chunks(event))):
        with pytest.raises(Malformed):
            read(said)


@pytest.mark.parametrize("said", [{}, {"candidates": []}, {"promptFeedback": {}}, {"promptFeedback": 5}])
def test_an_answer_without_any_candidate_is_none(said: Any) -> None:
    with pytest.raises(Malformed, match="neither candidates nor the reason"):
        translation().whole(said)


async def test_what_is_wrong_with_an_answer_names_the_provider() -> None:
    path = "POST /v1beta/models/sky:{}"
    failed = answer(None, "MALFORMED_FUNCTION_CALL")
    script = {
        path.format("generateContent"): {"candidates": 5},
        path.format("streamGenerateContent?alt=sse"): Stream([answer([{"text": "x"}], None), failed], done=False),
    }
    async with scripted(script) as vendor:
        config = GeminiConfig.model_validate({"base_url": f"{vendor.url}/v1beta"})
        async with started(Gemini("gemini", config)) as provider:
            with pytest.raises(UpstreamError, match="'gemini' sent an answer that is not a ChatCompletion"):
                await provider.post_chat_completion(CALL, chat())
            reply = await provider.post_chat_completion(CALL, chat(stream=True))
            with pytest.raises(UpstreamError, match="gave as the reason 'MALFORMED_FUNCTION_CALL'"):
                assert [chunk async for chunk in reply]
