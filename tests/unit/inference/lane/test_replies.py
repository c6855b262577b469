"""Whole answers: which of them may go on as bytes, and under what name."""

import json
from typing import Any

import msgspec
import pytest

from apps.inference.lane.replies import ChatReply, TextReply, Vectors, conforming, renamed

CHATS, VECTORS = msgspec.json.Decoder(ChatReply), msgspec.json.Decoder(Vectors)
TEXTS = msgspec.json.Decoder(TextReply)
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
MESSAGE = {"role": "assistant", "content": "Hi", "refusal": None}
CHOICE = {"index": 0, "message": MESSAGE, "finish_reason": "stop", "logprobs": None}
REPLY = {"id": "c1", "object": "chat.completion", "created": 1, "model": "sky", "choices": [CHOICE], "usage": USAGE}
BARE = {"role": "assistant", "content": 'I say "role":"assistant" and "finish_reason": null'}
CALLS = [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
ANSWER = b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":%b}],"model":"m"}'
VECTOR = {"object": "embedding", "index": 0, "embedding": [0.5, -1e-05]}
EMBEDDED = {"object": "list", "data": [VECTOR], "model": "sky", "usage": {"prompt_tokens": 1, "total_tokens": 1}}


def reply(**fields: Any) -> bytes:
    return json.dumps(REPLY | fields).encode()


def choice(**fields: Any) -> bytes:
    return reply(choices=[CHOICE | fields])


@pytest.mark.parametrize(
    "data",
    [
        reply(),
        reply(system_fingerprint="fp", more=[{}]),
        choice(finish_reason="tool_calls", message=MESSAGE | {"content": None, "tool_calls": CALLS}),
        choice(stop_reason=None, message=MESSAGE | {"tool_calls": [], "reasoning_content": None}),
    ],
)
def test_what_says_all_that_ours_say_conforms(data: bytes) -> None:
    found, kept = conforming(CHATS, data)
    assert found is not None
    assert kept == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        reply(id=""),
        reply(created=0),
        reply(created=1.5),
        reply(object="chat"),
        reply(usage=None),
        reply(usage={"prompt_tokens": 1}),
        reply(choices=None),
        choice(finish_reason="eos"),
        choice(finish_reason="stop", message=MESSAGE | {"tool_calls": CALLS}),
        reply(choices=[CHOICE, CHOICE | {"message": BARE}]),
        choice(message=BARE, more={"role": "assistant"}),
        choice(message=BARE).replace(b'"role"', b'"r\\u006fle"'),
        choice(message=MESSAGE | {"content": [{"type": "text", "text": "in parts"}]}),
        reply(more="x").replace(b'"x"', b'"\xff"'),
    ],
)
def test_what_has_to_be_put_right_does_not_conform(data: bytes) -> None:
    assert conforming(CHATS, data) == (None, data)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("left_out", [("refusal",), ("logprobs",), ("refusal", "logprobs")])
@pytest.mark.parametrize("separators", [(",", ":"), (" , ", " : ")])
def test_nulls_that_are_left_out_are_put_in(count: int, left_out: tuple[str, ...], separators: tuple[str, str]) -> None:
    whole = REPLY | {"choices": [CHOICE | {"index": index, "message": MESSAGE | BARE} for index in range(count)]}
    bare = json.loads(json.dumps(whole))
    for one in bare["choices"]:
        for fields in (one, one["message"]):
            for name in left_out:
                fields.pop(name, None)
    found, filled = conforming(CHATS, json.dumps(bare, separators=separators).encode())
    assert found is not None
    assert json.loads(filled) == whole


def test_nulls_of_a_text_are_put_in() -> None:
    text = {"index": 0, "text": 'a "finish_reason": null', "finish_reason": "length"}
    data = json.dumps(REPLY | {"object": "text_completion", "choices": [text]}).encode()
    found, filled = conforming(TEXTS, data)
    assert found is not None
    assert json.loads(filled)["choices"] == [text | {"logprobs": None}]


@pytest.mark.parametrize("vector", [b"[0.5,-1e-05, 3]", b"[]", b"[ \n1E+3 ]", b'"AAAAPw=="'])
def test_numbers_and_base64_go_on_as_they_are(vector: bytes) -> None:
    assert conforming(VECTORS, ANSWER % vector)[0] is not None


@pytest.mark.parametrize(
    "other", [b'"a"', b'""', b"[]", b"{}", b"null", b"true", b"false", b"NaN", b"Infinity", b"1.", b"1,", b",", b"--1"]
)
@pytest.mark.parametrize("vector", [b"[%b]", b"[0.5,%b]", b"[%b,0.5]", b"[ %b ]"])
def test_a_list_of_anything_else_does_not(vector: bytes, other: bytes) -> None:
    assert conforming(VECTORS, ANSWER % (vector % other))[0] is None


@pytest.mark.parametrize("vector", [b"null", b"1", b"{}", b"true", b'"\\u0041"', b""])
def test_what_is_neither_does_not(vector: bytes) -> None:
    assert conforming(VECTORS, ANSWER % vector)[0] is None


LATE = {name: REPLY[name] for name in ("choices", "created", "model", "object", "usage", "id")}
SHAPES = [REPLY, LATE, REPLY | {"choices": [CHOICE | {"model": "sky", "id": "c1"}]}, {"system": 1.5, **REPLY}]


@pytest.mark.parametrize("answer", SHAPES)
@pytest.mark.parametrize("own_id", [None, "own"])
@pytest.mark.parametrize("home", [None, "sky/home"])
@pytest.mark.parametrize("indent", [None, 2])
def test_an_answer_gets_our_name_and_id_wherever_they_stand(
    answer: dict[str, Any], own_id: str | None, home: str | None, indent: int | None
) -> None:
    own = {} if own_id is None else {"id": own_id}
    usage = {} if home is None else {"usage": USAGE | {"served_by": home}}
    data = renamed(json.dumps(answer, indent=indent).encode(), 'my "model"', own_id, home)
    assert json.loads(data) == answer | {"model": 'my "model"'} | own | usage


def test_the_name_at_the_end_of_vectors_is_found() -> None:
    assert json.loads(renamed(json.dumps(EMBEDDED).encode(), "mine")) == EMBEDDED | {"model": "mine"}
