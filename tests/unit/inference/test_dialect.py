"""The OpenAI dialect as vendors really write it, put right."""

from typing import Any

import pytest

from apps.inference.dialect import AnswerFailed, ChatStream, Malformed, TextStream, mended, mended_embeddings
from apps.inference.schemas import ChatCompletion, Completion

JSON = dict[str, Any]


def answer(message: JSON, **fields: Any) -> JSON:
    """A whole answer, mended and read."""
    choice = {"message": message, "finish_reason": "stop", **fields}
    whole = mended({"choices": [choice]}, "sky")
    ChatCompletion.model_validate(whole)
    [mended_choice] = whole["choices"]
    return dict(mended_choice)


def streamed(*events: JSON, wants_usage: bool = False, choices: int = 1) -> list[JSON]:
    stream = ChatStream("sky", choices, wants_usage)
    return [chunk for event in events for chunk in stream.chunks(event)] + list(stream.end())


def delta(finish_reason: str | None = None, index: int = 0, **said: Any) -> JSON:
    choice = {"index": index, "delta": said, "finish_reason": finish_reason}
    return {"id": "c1", "created": 1, "model": "sky", "choices": [choice]}


def deltas(chunks: list[JSON]) -> list[JSON]:
    return [choice["delta"] for chunk in chunks for choice in chunk["choices"]]


def call(**fields: Any) -> JSON:
    return {"function": {"name": "now", "arguments": "{}"}} | fields


@pytest.mark.parametrize(
    ("native", "ours"),
    [
        ("stop", "stop"),
        ("eos", "stop"),
        ("stop_sequence", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("tool_use", "tool_calls"),
        ("a word of the future", "stop"),
        ("", None),
        (None, None),
    ],
)
def test_a_finish_reason_of_a_vendors_own_means_one_of_openais_and_stays_beside_it(
    native: str | None, ours: str | None
) -> None:
    choice = answer({"content": "Hi"}, finish_reason=native)
    assert choice["finish_reason"] == ours
    assert choice.get("native_finish_reason") == (native if native not in ("stop", "", None) else None)


@pytest.mark.parametrize("native", ["error", "abort", "MALFORMED_FUNCTION_CALL"])
def test_an_answer_that_says_it_failed_is_none(native: str) -> None:
    with pytest.raises(AnswerFailed, match=native):
        answer({"content": "Hi"}, finish_reason=native)


@pytest.mark.parametrize(
    "event",
    [
        {"choices": "many"},
        {"choices": [1]},
        {"choices": [{"delta": 5}]},
        {"choices": [{"index": "0", "delta": {}}]},
        {"choices": [{"delta": {}, "finish_reason": ["stop"]}]},
        {"choices": [{"delta": {"content": [1]}}]},
        {"choices": [{"delta": {"tool_calls": "now"}}]},
        {"choices": [{"delta": {"tool_calls": [{"function": "now"}]}}]},
        {"choices": [{"delta": {"tool_calls": [{"index": [], "function": {"name": "now"}}]}}]},
        {"choices": [{"delta": {"tool_calls": [{"function": {"name": "now", "arguments": {"a": 2**70}}}]}}]},
        {"choices": [], "usage": "some"},
    ],
)
def test_what_no_vendor_means_is_malformed(event: JSON) -> None:
    with pytest.raises(Malformed):
        streamed(event)


def test_a_text_that_is_none_is_malformed() -> None:
    with pytest.raises(Malformed):
        TextStream("sky", 1, wants_usage=False).whole([{"choices": [{"text": ["x"]}]}])


def test_calls_make_the_reason_a_call_and_have_ids_and_arguments_as_text() -> None:
    calls = [call(), {"id": 0, "type": "function", "function": {"name": "now", "arguments": {"zone": "UTC"}}}]
    choice = answer({"content": None, "tool_calls": calls})
    first, second = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls"
    assert first["id"].startswith("call_")
    assert (first["type"], second["id"], second["function"]["arguments"]) == ("function", "0", '{"zone":"UTC"}')


def test_content_in_parts_is_text_with_the_reasoning_apart() -> None:
    parts = [{"type": "reasoning", "summary": [{"text": "Hm."}]}, {"type": "text", "text": "Hi"}]
    assert answer({"content": parts})["message"] == {"content": "Hi", "reasoning_content": "Hm."}


@pytest.mark.parametrize(("usage", "ours"), [(None, None), ({}, None), ({"prompt_tokens": None}, None)])
def test_usage_that_says_nothing_is_left_out(usage: Any, ours: JSON | None) -> None:
    assert mended({"choices": [], "usage": usage}, "sky").get("usage") == ours
    assert "usage" not in mended_embeddings({"data": [{"embedding": [0.5]}], "usage": usage}, "sky")


def test_a_missing_total_is_added_up_and_what_a_vendor_adds_stays() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 4, "queue_time": 0.5}
    assert mended({"choices": [], "usage": usage}, "sky")["usage"] == usage | {"total_tokens": 9}


def test_an_id_a_time_and_a_model_that_say_nothing_are_left_to_us() -> None:
    whole = mended({"id": "", "object": "", "created": 1.7e9, "model": "", "choices": None, "x": 1}, "sky")
    assert whole == {"created": 1_700_000_000, "model": "sky", "choices": [], "x": 1}


def test_logprobs_that_are_a_number_stay_as_an_object() -> None:
    assert answer({"content": "Hi"}, logprobs=-0.5)["logprobs"] == {"token_logprobs": [-0.5]}


def test_vectors_without_an_index_keep_their_order() -> None:
    vectors = mended_embeddings({"data": [{"embedding": [0.5]}, {"embedding": [1.0]}]}, "sky")["data"]
    assert [vector["index"] for vector in vectors] == [0, 1]


def test_each_choice_is_begun_and_ended_once() -> None:
    events = [delta(role="assistant", content="H"), delta(role="assistant", content="i"), delta("stop"), delta("stop")]
    chunks = streamed(*events)
    assert [said.get("role") for said in deltas(chunks)] == ["assistant", None, None, None]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, "stop", None]


def test_every_chunk_has_the_id_and_the_time_of_the_first() -> None:
    chunks = streamed({"choices": [{"delta": {"content": "H"}}]}, delta(content="i"), delta("stop"))
    assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1
    assert all(chunk["id"].startswith("chatcmpl-") for chunk in chunks)


def test_what_comes_without_choices_goes_with_the_next_that_has() -> None:
    first = {"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": [1]}
    [chunk, last] = streamed(first, delta(content="Hi"), delta("stop"))
    assert (chunk["id"], chunk["created"], chunk["prompt_filter_results"]) == ("c1", 1, [1])
    assert "prompt_filter_results" not in last


@pytest.mark.parametrize("wants_usage", [False, True])
def test_usage_comes_last_and_alone_where_it_is_asked_for(wants_usage: bool) -> None:
    grown = [{"prompt_tokens": 5, "completion_tokens": count} for count in (1, 2)]
    events = [delta(content="H") | {"usage": grown[0]}, delta("stop") | {"usage": grown[1]}]
    body = streamed(*events, wants_usage=wants_usage)
    last = body.pop() if wants_usage else None
    assert not any("usage" in chunk for chunk in body)
    if last:
        assert (last["choices"], last["usage"]["total_tokens"], last["id"]) == ([], 7, "c1")


def test_usage_that_was_never_told_is_not_invented() -> None:
    assert len(streamed(delta("stop"), {"choices": [], "usage": None}, wants_usage=True)) == 1


def test_calls_without_an_index_are_told_apart() -> None:
    """As Gemini sends them: whole, one a chunk."""
    first, second = deltas(streamed(delta(tool_calls=[call(id="")]), delta("stop", tool_calls=[call(id="")])))
    [[one], [two]] = first["tool_calls"], second["tool_calls"]
    assert (one["index"], two["index"]) == (0, 1)
    assert one["id"] != two["id"]


def test_calls_that_all_have_the_index_0_are_told_apart() -> None:
    events = [delta(tool_calls=[call(index=0, id=name)]) for name in ("a", "b")]
    calls = [call for said in deltas(streamed(*events)) for call in said["tool_calls"]]
    assert [(call["index"], call["id"]) for call in calls] == [(0, "a"), (1, "b")]


def test_an_id_and_a_name_that_are_repeated_are_said_once() -> None:
    """The official client would add them up."""
    pieces = [call(index=0, id="a", function={"name": "now", "arguments": part}) for part in ("{", "}")]
    first, second = deltas(streamed(*(delta(tool_calls=[piece]) for piece in pieces)))
    assert first["tool_calls"][0]["id"] == "a"
    assert second["tool_calls"] == [{"index": 0, "function": {"arguments": "}"}}]


def test_a_stream_that_called_ends_with_a_call() -> None:
    chunks = streamed(delta(tool_calls=[call(index=0, id="a")]), delta("stop"))
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_a_single_call_may_come_outside_of_a_list() -> None:
    """As TGI 2 sent it."""
    [said] = deltas(streamed(delta(tool_calls=call(index=0, id="a"))))
    assert [call["id"] for call in said["tool_calls"]] == ["a"]


def test_a_whole_answer_is_a_chunk_a_choice_then_their_ends_then_usage() -> None:
    messages = [{"role": "assistant", "content": text} for text in ("Hi", "Ho")]
    choices = [{"index": i, "message": message, "finish_reason": "eos"} for i, message in enumerate(messages)]
    usage = {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}
    whole = {"id": "c1", "choices": choices, "usage": usage}
    *chunks, last = streamed(whole, wants_usage=True, choices=2)
    assert deltas(chunks) == [*messages, {}, {}]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, "stop", "stop"]
    assert chunks[-1]["choices"][0]["native_finish_reason"] == "eos"
    assert (last["choices"], last["usage"]) == ([], usage)


def test_a_stream_is_finished_when_each_choice_is() -> None:
    stream = ChatStream("sky", 2, wants_usage=False)
    for index in (0, 1):
        assert not stream.finished
        assert list(stream.chunks(delta("stop", index)))
    assert stream.finished


def test_the_parts_of_completions_make_the_whole() -> None:
    def part(text: str | None, index: int, reason: str | None = None) -> JSON:
        return {"id": "c1", "choices": [{"index": index, "text": text, "finish_reason": reason}]}

    usage = {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}
    parts = [part("The ", 0), part("A ", 1), part("sky", 0), part(None, 0, "eos"), part("sea", 1, "length")]
    whole = TextStream("sky", 2, wants_usage=True).whole([*parts, {"choices": [], "usage": usage}])
    read = Completion.model_validate(whole)
    assert [(choice.text, choice.finish_reason) for choice in read.choices] == [
        ("The sky", "stop"),
        ("A sea", "length"),
    ]
    assert read.usage
    assert read.usage.total_tokens == 9


def test_the_parts_of_a_chat_make_the_whole() -> None:
    events = [delta(content="H"), delta(content="i"), delta("stop") | {"usage": {"prompt_tokens": 1}}]
    read = ChatCompletion.model_validate(ChatStream("sky", 1, wants_usage=True).whole(events))
    assert (read.id, read.choices[0].message.content, read.choices[0].finish_reason) == ("c1", "Hi", "stop")
    assert read.usage
    assert read.usage.prompt_tokens == 1


def test_a_chunk_that_ends_a_choice_and_what_follows_it_is_told_from_the_others() -> None:
    stream = ChatStream("sky", 2, wants_usage=False)
    events = [delta(content="a"), delta(content="b", index=1), delta("stop"), delta(content="c", index=1), delta()]
    ends = [stream.ends(chunk) for event in events for chunk in stream.chunks(event)]
    assert (ends, stream.closed) == ([False, False, True, False, True], False)
    ends = [stream.ends(chunk) for chunk in stream.chunks(delta("stop", index=1))]
    assert (ends, stream.closed) == ([True], True)


def test_a_stream_without_a_choice_has_not_closed() -> None:
    assert not ChatStream("sky", 1, wants_usage=False).closed
