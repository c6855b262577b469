"""What an upstream's refusal is to our callers: its status, its sentence, and nothing that is secret."""

import orjson
import pytest

from llamastack.egress.sentences import LONGEST, sentence, shown
from llamastack.errors import RateLimited, StackError, UpstreamError, UpstreamRejected, UpstreamTimeout
from tests.unit.core.egress.speaking import OK, answer, asking, saying, streamed, upstream

pytestmark = pytest.mark.usefixtures("each_transport")

PAGE = b"<!DOCTYPE html><html><head><title>502</title></head><body><center>nginx</center></body></html>"
HTML = b"Content-Type: text/html; charset=utf-8"
KEY = "sk-1234567"
ZSTD = answer("200 OK", b"nothing", b"Content-Encoding: zstd")
HUGE_HEAD = b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n"


async def refused(status: str, body: bytes, *headers: bytes, sent: dict[str, str] | None = None) -> StackError:
    async with upstream(saying(answer(status, body, *headers))) as egress:
        with pytest.raises(StackError) as caught:
            await egress.post("chat/completions", {}, sent)
    return caught.value


@pytest.mark.parametrize(("status", "kind"), [(401, "authentication_error"), (403, "permission_error")])
async def test_a_wrong_key_is_the_vendors_refusal_with_its_sentence(status: int, kind: str) -> None:
    body = b'{"error": {"message": "Incorrect API key provided.", "code": "invalid_api_key"}}'
    error = await refused(f"{status} No", body)
    assert (error.status, error.type, error.code) == (status, kind, "invalid_api_key")
    said = f"Provider 'x' answered {status}: Incorrect API key provided. Check the credentials set for this provider."
    assert error.message == said


async def test_whose_key_it_may_be_is_said_where_the_call_has_one_of_its_own() -> None:
    error = await refused("401 No", b"{}", sent={"authorization": "Bearer mine"})
    assert error.message.endswith("No. Check the credentials set for this provider, or those sent with the request.")
    assert error.code == "upstream_error"


async def test_the_callers_fault_keeps_its_status_and_its_field() -> None:
    body = b'{"error": {"message": "no such", "param": "model", "code": "model_not_found"}}'
    error = await refused("404 Not Found", body)
    assert isinstance(error, UpstreamRejected)
    assert (error.status, error.param, error.code) == (404, "model", "model_not_found")


@pytest.mark.parametrize("body", [b"404 page not found", b'{"detail": "Not Found"}'])
async def test_a_404_that_is_no_error_of_the_dialect_names_the_address(body: bytes) -> None:
    error = await refused("404 Not Found", body)
    assert error.status == 404
    assert "'x' answered 404 at http://127.0.0.1:" in error.message


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (b"Retry-After: 70", 70.0),
        (b"Retry-After: Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        *((b"Retry-After: " + odd, None) for odd in (b"soon", b"nan", b"inf", b"1e999", b"-5", b"Thu, 99 Jan")),
    ],
)
async def test_too_many_requests_says_when_to_come_back(header: bytes, seconds: float | None) -> None:
    error = await refused("429 Too Many", b"{}", header)
    assert isinstance(error, RateLimited)
    assert error.retry_after == seconds


@pytest.mark.parametrize(("status", "ours"), [(502, 502), (503, 502), (500, 502), (403, 502), (404, 502), (504, 504)])
async def test_the_page_of_a_proxy_is_said_to_be_one_and_not_shown(status: int, ours: int) -> None:
    for headers in ((HTML,), ()):
        error = await refused(f"{status} Oh", PAGE, *headers)
        assert error.status == ours
        assert (
            f"'x' answered {status} with an HTML page, as a proxy or a wrong address does: 502 nginx" in error.message
        )


@pytest.mark.parametrize("kind", ["text/html", "application/json"])
async def test_another_type_than_json_is_a_bad_gateway_that_says_what_came(kind: str) -> None:
    async with upstream(saying(answer("200 OK", PAGE, b"Content-Type: " + kind.encode()))) as egress:
        with pytest.raises(UpstreamError, match=f"'x' answered with {kind} and something that is not JSON"):
            await egress.get("models")


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "no"}},
        {"error": "no"},
        {"error": ["no"]},
        {"error": {"error": {"message": "no"}}},
        [{"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}}],
        {"errors": ["no"]},
        {"errors": [{"message": "no", "code": 7}]},
        {"message": "no", "type": "invalid_request_error"},
        {"detail": "no"},
        {"detail": [{"loc": ["body", "model"], "msg": "no", "type": "missing"}]},
        {"detail": {"message": "no"}},
        {"Message": "no"},
        {"object": "error", "message": "no", "code": 400},
        "no",
    ],
)
def test_the_sentence_is_found_in_the_shapes_that_vendors_use(body: object) -> None:
    assert sentence(body) == "no"


@pytest.mark.parametrize("body", [{}, [], None, {"error": {}}, {"error": None}, {"data": "no"}, {"errors": [{}]}])
def test_where_there_is_none_the_reason_stands(body: object) -> None:
    assert sentence(body) == ""


async def test_a_nest_of_errors_has_an_end() -> None:
    error = await refused("400 Bad", b'{"error":' * 900 + b"1" + b"}" * 900)
    assert error.status == 400


async def test_a_long_sentence_is_cut() -> None:
    error = await refused("400 Bad", orjson.dumps({"error": {"message": "long " * 1000, "code": "c" * 1000}}))
    assert len(error.message) < LONGEST + 100
    assert len(error.code or "") <= 200


@pytest.mark.parametrize("body", [{"error": {"message": f"Bad key {KEY}", "code": KEY}}, f"Bearer {KEY} is bad"])
async def test_no_key_that_we_sent_is_shown_though_the_upstream_repeats_it(body: object) -> None:
    error = await refused("401 No", orjson.dumps(body))
    assert "***" in error.message
    assert KEY not in f"{error.message} {error.code}"
    other = await refused("400 No", b"the-callers-own", sent={"X-Api-Key": "the-callers-own"})
    assert "the-callers-own" not in other.message


async def test_no_key_is_shown_in_a_stream_either() -> None:
    event = orjson.dumps({"error": {"message": f"{KEY} is out of money"}})
    async with upstream(saying(OK + b"data: " + event + b"\n\n")) as egress:
        with pytest.raises(UpstreamError, match=r"broke off the stream: \*\*\* is out of money"):
            await streamed(egress)


def test_a_short_secret_is_masked_as_a_word_alone() -> None:
    assert shown("The token is no max_tokens", {"token"}) == "The *** is no max_tokens"


def test_a_key_at_the_place_of_the_cut_is_masked_first() -> None:
    assert KEY[:4] not in shown("x" * (LONGEST - 5) + KEY, {KEY})


async def test_an_error_does_not_tell_the_password_or_the_query_of_an_address() -> None:
    egress = asking("http://maya:s3cret@127.0.0.1:9?key=s3cret")
    with pytest.raises(UpstreamError, match=r"http://127\.0\.0\.1:9") as caught:
        await egress.get("models")
    assert "s3cret" not in caught.value.message
    await egress.close()


async def test_what_opened_the_breaker_is_told_without_the_upstreams_words() -> None:
    async with upstream(saying(answer("520 Oh", b'{"error": "you said: my secret prompt"}'))) as egress:
        for _ in range(6):
            with pytest.raises(StackError) as caught:
                await egress.get("models")
    assert caught.value.code == "breaker_open"
    assert "secret" not in caught.value.message


async def test_what_cannot_be_reached_opens_it_too_and_says_how() -> None:
    egress = asking("http://127.0.0.1:9")
    egress.retries.saved = -100
    for _ in range(6):
        with pytest.raises(StackError) as caught:
            await egress.get("models")
    assert "the last one because it cannot be reached at http://127.0.0.1:9 (" in caught.value.message
    assert caught.value.message.endswith(").")
    await egress.close()


@pytest.mark.parametrize("said", [b"HTTP/1.1 9999\r\n\r\n", b"SSH-2.0-OpenSSH_9.6\r\n", HUGE_HEAD, ZSTD])
async def test_what_is_no_http_or_cannot_be_unpacked_is_said_to_be_that(said: bytes) -> None:
    async with upstream(saying(said)) as egress:
        with pytest.raises(UpstreamError) as caught:
            await egress.get("models")
    assert "HTTP" in caught.value.message


async def test_a_time_out_of_the_upstreams_own_is_one_of_ours() -> None:
    assert isinstance(await refused("408 Slow", b"{}"), UpstreamTimeout)


async def test_a_head_that_is_no_utf_8_can_be_told_all_the_same() -> None:
    for status, kind in (("200 O\udcff", "application/j\udcf6on"), ("500 \udcff", "text/plain")):
        head = f"HTTP/1.1 {status}\r\nContent-Length: 2\r\nContent-Type: {kind}\r\n\r\n"
        raw = head.encode(errors="surrogateescape") + b"oh"
        async with upstream(saying(raw)) as egress:
            with pytest.raises(UpstreamError) as caught:
                await egress.get("models")
        assert orjson.dumps(caught.value.message)


async def test_keys_that_are_sent_on_within_a_header_are_masked_one_by_one() -> None:
    sent = {"X-LlamaStack-Provider-Data": '{"groq_api_key": "gsk-7654321", "more": ["gsk-1357911"]}'}
    error = await refused("400 No", b'{"error": "neither gsk-7654321 nor gsk-1357911"}', sent=sent)
    assert error.message.endswith("neither *** nor ***")
