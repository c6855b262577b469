"""X-LlamaStack-Provider-Data: what may stand in it, what is said of what may not, and that nobody else reads it."""

from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from llamastack.call import ANONYMOUS_ADMIN, Call
from llamastack.errors import BadRequest
from llamastack.provider_data import MAX_BYTES, MAX_DEPTH, ApiKey, ProviderData, from_headers

OURS, THEIRS = b"x-llamastack-provider-data", b"x-ogx-provider-data"
CANARY = "sk-canary-7"


def given(*values: bytes, name: bytes = OURS) -> ProviderData:
    return from_headers([(b"host", b"localhost"), *((name, value) for value in values)])


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


@pytest.mark.parametrize("name", [OURS, THEIRS])
def test_a_key_is_read_as_a_secret(name: bytes) -> None:
    data = given(orjson.dumps({"groq_api_key": CANARY}), name=name)
    assert data.read("groq_api_key", ApiKey) == SecretStr(CANARY)


@pytest.mark.parametrize("value", [b"{}", b'{"groq_api_key": null}', b'{"groq_api_key": ""}', b'{"later": {"a": 1}}'])
def test_what_is_not_given_is_none(value: bytes) -> None:
    assert given(value).read("groq_api_key", ApiKey) is None


def test_without_the_header_there_is_nothing() -> None:
    assert given().read("groq_api_key", ApiKey) is None


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([b"{}", b"{}"], "twice"),
        ([b'{"a": 1', b'"b": 2}'], "twice"),
        ([b'{"a": 1, "a": 2}'], "'a' stands here twice"),
        ([b'{"a": {"b": 1, "b": 1}}'], "'b' stands here twice"),
        ([b'{"a": "' + b"x" * MAX_BYTES + b'"}'], f"larger than {MAX_BYTES} bytes"),
        ([nested(MAX_DEPTH + 1)], "nested more than 8 deep"),
        ([b"[" * 4000], "not valid JSON"),
        ([b"["] * 1, "not valid JSON"),
        ([b""], "not valid JSON"),
        ([b"\xff\xfe"], "not valid JSON"),
        ([b'{"a": NaN}'], "not valid JSON"),
        ([b'{"a": ' + b"9" * 5000 + b"}"], "not valid JSON"),
        ([b"[]"], "must be a JSON object"),
        ([b'"text"'], "must be a JSON object"),
        ([b'{"__authenticated_user": "root"}'], "no key may begin with __"),
        ([b'{"__test_idx": "a"}'], "no key may begin with __"),
    ],
)
def test_what_may_not_stand_there_is_refused_and_said_why(values: list[bytes], why: str) -> None:
    with pytest.raises(BadRequest, match=why) as refused:
        given(*values)
    assert refused.value.code == "invalid_provider_data"
    assert len(refused.value.message) < 300


@pytest.mark.parametrize("first", [OURS, THEIRS])
def test_both_names_at_once_are_refused_where_they_differ(first: bytes) -> None:
    second = THEIRS if first == OURS else OURS
    with pytest.raises(BadRequest, match="twice"):
        from_headers([(first, b'{"a": "1"}'), (second, b'{"a": "2"}')])
    with pytest.raises(BadRequest, match="twice"):
        from_headers([(first, b"{}"), (second, b"{}"), (second, b"{}")])


def test_the_same_under_both_names_is_one() -> None:
    """So does a gateway send it that stands before a server of either kind."""
    assert from_headers([(OURS, b'{"a": "1"}'), (THEIRS, b'{"a": "1"}')])["a"] == "1"


@pytest.mark.parametrize("value", [nested(MAX_DEPTH), b'{"__test_id": "tests/a.py::b"}', b'{"a": [[], {}]}'])
def test_what_may_stand_there_passes(value: bytes) -> None:
    assert isinstance(given(value), ProviderData)


def test_as_much_as_fits_passes() -> None:
    value = b'{"a": "' + b"x" * (MAX_BYTES - 9) + b'"}'
    assert len(value) == MAX_BYTES
    assert given(value).read("a", ApiKey)


@pytest.mark.parametrize("wrong", [5, True, ["k"], {"k": "v"}, "a\nX-Injected: b", "cl\u00e9", "a\x00"])
def test_a_value_of_the_wrong_kind_is_named_and_not_repeated(wrong: Any) -> None:
    data = given(orjson.dumps({"groq_api_key": wrong}))
    with pytest.raises(BadRequest, match="'groq_api_key'") as refused:
        data.read("groq_api_key", ApiKey)
    assert refused.value.param == "groq_api_key"
    assert "Injected" not in refused.value.message
    assert refused.value.__cause__ is None


def test_no_representation_shows_it() -> None:
    data = given(orjson.dumps({"groq_api_key": CANARY}))
    call = Call(ANONYMOUS_ADMIN, provider_data=data)
    shown = f"{data} {data!r} {call} {call!r} {data.read('groq_api_key', ApiKey)!r}"
    assert CANARY not in shown


@pytest.mark.parametrize("value", ['{"a": "%s"', '["%s"]', '{"__a": "%s"}', '{"a": "%s", "a": 1}'])
def test_what_is_refused_is_not_repeated(value: str) -> None:
    with pytest.raises(BadRequest) as refused:
        given((value % CANARY).encode())
    assert CANARY not in f"{refused.value} {refused.value.__cause__} {refused.value.param}"
