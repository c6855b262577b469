"""Whatever Anthropic, or who stands before it, answers: a chat completion, or an error that says what is wrong."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from apps.inference.dialect import AnswerFailed, ChatStream, Malformed, mended
from apps.inference.providers.remote.anthropic.answer import completion
from apps.inference.providers.remote.anthropic.stream import Events
from apps.inference.schemas import ChatCompletion, ChatCompletionChunk
from tests.conversations import OBJECTS, TEXTS, VALUES
from tests.unit.inference.anthropic.saying import JSON, MODEL, message, text, thought, use
from tests.unit.inference.anthropic.spoiling import spoilt
from tests.unit.inference.anthropic.test_stream import ANSWERS, put_together, streamed, what_is_said

TOLD = (AnswerFailed, Malformed, ValidationError)  # what translation.reading makes an error of the upstream's
CALLS = st.builds(lambda name, number, given: use(name, f"toolu_{number}", **given), TEXTS, st.integers(), OBJECTS)
BLOCKS = st.lists(TEXTS.map(text) | TEXTS.map(thought) | CALLS, min_size=1, max_size=4, unique_by=str)


@given(BLOCKS)
def test_a_stream_says_what_a_whole_answer_says_whatever_it_is(content: list[JSON]) -> None:
    called = any(block["type"] == "tool_use" for block in content)
    whole = message(*content, stop_reason="tool_use" if called else "end_turn")
    assert what_is_said(put_together(streamed(whole))) == what_is_said(mended(completion(whole, MODEL, None), MODEL))


@settings(max_examples=150)
@given(st.sampled_from(list(ANSWERS.values())), st.integers(0, 10_000), VALUES)
def test_a_spoilt_answer_is_read_or_told(whole: JSON, where: int, by: Any) -> None:
    try:
        ChatCompletion.model_validate(mended(completion(spoilt(whole, where, by), MODEL, None), MODEL))
    except TOLD:
        return


@settings(max_examples=150)
@given(st.sampled_from(list(ANSWERS.values())), st.integers(0, 10_000), VALUES)
def test_a_spoilt_stream_is_read_or_told(whole: JSON, where: int, by: Any) -> None:
    reader, stream = Events(MODEL, None), ChatStream(MODEL, 1, wants_usage=True)
    try:
        for event in spoilt(streamed(whole), where, by):
            if not isinstance(event, dict):  # which the pipeline tells
                return
            for part in reader.chunks(event):
                for chunk in stream.chunks(part):
                    ChatCompletionChunk.model_validate(chunk)
    except TOLD:
        return
