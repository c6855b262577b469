"""Which answers with vectors go on as they are: lists of numbers, or base64, and nothing else in them."""

import msgspec
import pytest

from apps.inference.lane.replies import Vectors, conforming

DECODER = msgspec.json.Decoder(Vectors)
ANSWER = b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":%b}],"model":"m"}'


@pytest.mark.parametrize("vector", [b"[0.5,-1e-05, 3]", b"[]", b"[ \n1E+3 ]", b'"AAAAPw=="'])
def test_numbers_and_base64_go_on_as_they_are(vector: bytes) -> None:
    assert conforming(DECODER, ANSWER % vector) is not None


@pytest.mark.parametrize(
    "other", [b'"a"', b'""', b"[]", b"{}", b"null", b"true", b"false", b"NaN", b"Infinity", b"1.", b"1,", b",", b"--1"]
)
@pytest.mark.parametrize("vector", [b"[%b]", b"[0.5,%b]", b"[%b,0.5]", b"[ %b ]"])
def test_a_list_of_anything_else_does_not(vector: bytes, other: bytes) -> None:
    assert conforming(DECODER, ANSWER % (vector % other)) is None


@pytest.mark.parametrize("vector", [b"null", b"1", b"{}", b"true", b'"\\u0041"', b""])
def test_what_is_neither_does_not(vector: bytes) -> None:
    assert conforming(DECODER, ANSWER % vector) is None
