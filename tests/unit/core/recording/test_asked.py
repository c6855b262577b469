"""How a request is compared: what differs between two runs that mean the same is no difference."""

import json
from typing import Any

import pytest

from llamastack.recording.asked import Asked, content, data_of
from llamastack.recording.secrets import Secrets

URL = "https://api.example.com/v1/chat/completions"


def asked(body: Any = None, url: str = URL, upstream: str = "openai") -> Asked:
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    return Asked.of(upstream, "POST", url, data, Secrets([]))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"temperature": 0.30000000000000004}, {"temperature": 0.3}),
        ({"temperature": 0}, {"temperature": 0.0}),
        (
            {"messages": [{"tool_calls": [{"id": "call_8f"}]}, {"tool_call_id": "call_8f"}]},
            {"messages": [{"tool_calls": [{"id": "x1"}]}, {"tool_call_id": "x1"}]},
        ),
    ],
)
def test_these_are_the_same_request(one: Any, other: Any) -> None:
    assert asked(one).hash == asked(other).hash


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"temperature": 0.3}, {"temperature": 0.31}),
        ({"stream": True}, {"stream": False}),
        ({"n": 1}, {"n": True}),
        ({"input": ["a", "b"]}, {"input": ["b", "a"]}),
        ({"stop": None}, {}),
        ({}, None),
    ],
)
def test_these_are_not(one: Any, other: Any) -> None:
    assert asked(one).hash != asked(other).hash


def test_host_and_port_do_not_count_but_path_query_and_provider_do() -> None:
    assert asked(url=URL).hash == asked(url="http://127.0.0.1:9/v1/chat/completions").hash
    assert asked(url=URL).hash != asked(url="https://api.example.com/v2/chat/completions").hash
    assert asked(url=URL).hash != asked(url=f"{URL}?api-version=2").hash
    assert asked(url=f"{URL}?b=1&a=2").hash == asked(url=f"{URL}?a=2&b=1").hash
    assert asked(upstream="openai").hash != asked(upstream="vllm").hash


def test_a_key_in_the_query_does_not_count_and_is_not_kept() -> None:
    one, other = asked(url=f"{URL}?key=first-of-mine&a=1"), asked(url=f"{URL}?key=second-of-mine&a=1")
    assert one.hash == other.hash
    assert one.told["query"] == [["a", "1"], ["key", "***"]]
    assert asked(url=f"{URL}?page_token=1").hash != asked(url=f"{URL}?page_token=2").hash


def test_a_picture_counts_by_its_hash() -> None:
    def with_picture(picture: str) -> Asked:
        return asked({"image_url": f"data:image/png;base64,{picture}"})

    one, other = with_picture("A" * 5000), with_picture("A" * 4999 + "B")
    assert one.hash != other.hash
    url = one.told["body"]["json"]["image_url"]
    assert url.startswith("data:image/png;base64,sha256:")
    assert url.endswith("5000 characters")


@pytest.mark.parametrize("body", [b"\xff\xfe\x00", b"x" * 5000])
def test_a_large_or_binary_body_counts_by_its_hash(body: bytes) -> None:
    kept = asked(body)
    assert kept.told["body"] == {"sha256": kept.told["body"]["sha256"], "bytes": len(body)}
    assert kept.hash != asked(body + b"x").hash


def test_the_file_is_named_by_provider_path_model_and_hash() -> None:
    kept = asked({"model": "meta-llama/Llama 3.3"})
    assert kept.file_name == f"openai.chat-completions.meta-llama-llama-3-3.{kept.hash[:16]}.json"
    assert "/" not in asked({"model": "../../etc"}, url="http://x/../../etc/passwd", upstream="../..").file_name
    assert len(asked({"model": "m" * 500}, url=f"http://x/{'p' * 500}", upstream="u" * 500).file_name) < 200


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b'{"a": [1, 2.5, null, "\xc3\xa9"]}', "json"),
        (b"null", "json"),
        (b"", "text"),
        (b"<html>", "text"),
        (b'{"a": NaN}', "text"),
        (b'{"a": 1e999}', "text"),
        (b'"\\ud800"', "text"),
        (b"[" * 100_000, "text"),
        (b"\xff\x00", "base64"),
    ],
)
def test_a_body_comes_back_as_it_was(data: bytes, kind: str) -> None:
    kept = content(data)
    assert list(kept) == [kind]
    back = data_of(json.loads(json.dumps(kept)))
    assert json.loads(back) == json.loads(data) if kind == "json" else back == data
