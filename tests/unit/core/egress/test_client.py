"""The one HTTP client to the outside: every failure of a transport becomes an error with a status."""

import asyncio

import pytest

from llamastack.egress import Timeouts
from llamastack.errors import BadRequest, NotSupported, StackError, UpstreamError, UpstreamRejected, UpstreamTimeout
from tests.unit.core.egress.speaking import OK, answer, asking, saying, streamed, upstream

pytestmark = pytest.mark.usefixtures("each_transport")

ERRORS = [  # as vendors put them into a stream: OpenRouter, vLLM before 0.10, Gemini
    b'data: {"error": {"message": "no memory"}, "choices": [{"finish_reason": "error"}]}\n\n',
    b'data: {"object": "error", "message": "no memory", "code": 500}\n\n',
    b'data: [{"error": {"code": 503, "message": "no memory"}}]\n\n',
]


async def test_a_reply_of_one_value_a_line_is_read_as_it_comes() -> None:
    async with upstream(saying(OK, b'{"a": ', b'1}\r\n\n{"a"', b": 2}")) as egress:
        assert [line async for line in egress.lines("x", {})] == [{"a": 1}, {"a": 2}]
    async with upstream(saying(OK, b'{"a": 1}\n<html>\n')) as egress:
        with pytest.raises(UpstreamError, match="not JSON"):
            assert [line async for line in egress.lines("x", {})] == []


async def test_a_stream_that_ends_without_done_was_cut() -> None:
    async with upstream(saying(OK, b'data: {"a": 1}\n\n')) as egress:
        with pytest.raises(UpstreamError, match="without"):
            await streamed(egress)


async def test_a_stream_may_end_without_done_where_its_caller_checks_the_end() -> None:
    async with upstream(saying(OK, b'data: {"a": 1}\n\n')) as egress:
        assert [event async for event in egress.stream("x", {}, done=False)] == [{"a": 1}]


async def test_a_stream_that_breaks_off_is_an_error_with_or_without_done() -> None:
    chunked = OK.replace(b"Connection: close", b"Transfer-Encoding: chunked")
    async with upstream(saying(chunked, b'f\r\ndata: {"a": 1}\n\n'[:-2])) as egress:
        with pytest.raises(UpstreamError, match="broke"):
            assert [event async for event in egress.stream("x", {}, done=False)]


async def test_bytes_are_sent_as_they_are() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Content-Type: application/x-www-form-urlencoded\r\n" in head
        assert await reader.readexactly(3) == b"a=1"
        writer.write(answer("200 OK", b"{}"))

    async with upstream(handler) as egress:
        assert await egress.post("token", b"a=1", {"Content-Type": "application/x-www-form-urlencoded"}) == {}


async def test_an_error_in_a_list_of_one_is_that_error() -> None:
    body = b'[{"error": {"code": 400, "message": "Invalid value", "status": "INVALID_ARGUMENT"}}]'
    async with upstream(saying(answer("400 Bad Request", body))) as egress:
        with pytest.raises(UpstreamRejected, match=r"answered 400: Invalid value$"):
            await egress.post("chat/completions", {})


@pytest.mark.parametrize("data", [b"data: {broken\n\n", b"data: [1]\n\n", b'data: {"error": "no memory"}\n\n', *ERRORS])
async def test_events_that_cannot_be_read_are_errors(data: bytes) -> None:
    async with upstream(saying(OK, data, b"data: [DONE]\n\n")) as egress:
        with pytest.raises(UpstreamError):
            await streamed(egress)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect"])
async def test_a_redirect_is_not_followed(status: str) -> None:
    """It would carry the provider's key to another address."""
    async with upstream(saying(answer(status, b"", b"Location: http://127.0.0.1:9/"))) as egress:
        with pytest.raises(UpstreamError):
            await egress.get("models")


@pytest.mark.parametrize("path", ["model/../converse", "deployments/./chat?version=1", "../api/.."])
async def test_a_name_that_urls_read_as_a_way_is_not_asked_for(path: str) -> None:
    """A model may be registered under any name, and quoting leaves dots as they are."""
    async with upstream(saying(OK)) as egress:
        with pytest.raises(BadRequest) as refused:
            await egress.post(path, {})
        with pytest.raises(BadRequest):
            await anext(egress.stream(path, {}))
    assert refused.value.param == "model"


@pytest.mark.parametrize(("status", "ours"), [("404 Not Found", 502), ("403 Forbidden", 502), ("429 Slow Down", 429)])
async def test_a_page_of_a_proxy_is_said_to_be_one(status: str, ours: int) -> None:
    page = b"<html><head><style>p {}</style><title>nginx says no</title></head></html>"
    async with upstream(saying(answer(status, page, b"Content-Type: text/html; charset=utf-8"))) as egress:
        with pytest.raises(StackError, match=r"with an HTML page, .*: nginx says no$") as caught:
            await egress.post("chat/completions", {})
    assert caught.value.status == ours


@pytest.mark.parametrize("kind", [b"Content-Type: text/html", b"Content-Type: text/plain", b"X-None: of it"])
async def test_what_is_no_json_is_told_with_its_type_and_beginning(kind: bytes) -> None:
    async with upstream(saying(answer("200 OK", b"<b>Wel</b>come", kind))) as egress:
        with pytest.raises(UpstreamError, match=r"(text/\w+|no content type) and .*: Wel come$"):
            await egress.post("chat/completions", {})


async def test_an_event_stream_where_json_is_due_is_the_list_of_its_events() -> None:
    async with upstream(saying(OK, b'data: {"a": 1}\n\ndata: {"a": 2}\n\ndata: [DONE]\n\n')) as egress:
        assert await egress.post("x", {}) == [{"a": 1}, {"a": 2}]
    async with upstream(saying(OK, b'data: {"a": 1}\n\n')) as egress:
        with pytest.raises(UpstreamError, match="without"):
            await egress.post("x", {})


async def test_json_where_an_event_stream_is_due_is_its_one_event() -> None:
    json = b"Content-Type: application/json"
    async with upstream(saying(answer("200 OK", b'{"a": 1}', json))) as egress:
        assert await streamed(egress) == [{"a": 1}]
    async with upstream(saying(answer("200 OK", b'{"error": {"message": "no memory"}}', json))) as egress:
        with pytest.raises(UpstreamError, match="no memory"):
            await streamed(egress)


async def test_a_page_where_an_event_stream_is_due_is_a_bad_gateway() -> None:
    page = b"<html><title>Sign in</title></html>"
    async with upstream(saying(answer("200 OK", page, b"Content-Type: text/html"))) as egress:
        with pytest.raises(UpstreamError, match=r"answered with text/html .*Sign in"):
            await streamed(egress)


@pytest.mark.parametrize("status", ["405 Method Not Allowed", "501 Not Implemented"])
async def test_what_an_upstream_does_not_offer_is_not_offered_here(status: str) -> None:
    async with upstream(saying(answer(status, b'{"error": {"message": "start it with --reranking"}}'))) as egress:
        with pytest.raises(NotSupported, match="start it with --reranking"):
            await egress.post("rerank", {})


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9", "http://", "not a url", "http://no-such-host.invalid", f"http://{'x' * 300}.invalid"]
)
async def test_an_address_that_leads_nowhere_is_a_bad_gateway(url: str) -> None:
    egress = asking(url, timeouts=Timeouts(connect=2))
    with pytest.raises((UpstreamError, UpstreamTimeout)):
        await egress.get("models")
    await egress.close()


async def test_the_line_break_at_the_end_of_a_key_is_not_sent() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert b"Authorization: Bearer sk-1\r\n" in await reader.readuntil(b"\r\n\r\n")
        writer.write(answer("200 OK", b"{}"))

    async with upstream(handler) as egress:
        keyed = asking(egress.base_url, {"Authorization": "Bearer sk-1\n"})
        assert await keyed.get("models") == {}
        await keyed.close()


async def test_a_key_beside_credentials_in_the_address_is_an_error_that_says_so() -> None:
    keyed = asking("http://user:password@127.0.0.1:9", {"Authorization": "Bearer sk-1"})
    with pytest.raises(UpstreamError, match="Provider 'x' cannot be asked") as told:
        await keyed.get("models")
    assert not [secret for secret in ("password", "sk-1") if secret in told.value.message]
    await keyed.close()


async def test_leaving_a_stream_closes_its_connection() -> None:
    gone = asyncio.Event()

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b'data: {"a": 1}\n\n')
        await reader.read()
        gone.set()

    async with upstream(endless) as egress:
        events = egress.stream("x", {})
        await anext(events)
        await events.aclose()
        async with asyncio.timeout(10):
            await gone.wait()


async def test_an_exchange_gives_any_status_with_its_body_to_who_reads_them() -> None:
    async with upstream(saying(answer("400 Bad Request", b"no", b"X-Why: grant"))) as egress:
        reply, body = await egress.exchange("POST", f"{egress.base_url}/token", b"grant=1", {"X-One": "1"})
        assert (reply.status, reply.headers["x-why"], body) == (400, "grant", b"no")
        with pytest.raises(UpstreamError, match=r"cannot be reached at http://127\.0\.0\.1:9/token \("):
            await egress.exchange("GET", "http://127.0.0.1:9/token?key=secret", None, {})


async def test_all_that_a_server_asks_for_by_401_is_told() -> None:
    head = b"HTTP/1.1 401 No\r\nConnection: close\r\nContent-Length: 0\r\n"
    asking_twice = head + b'WWW-Authenticate: Digest realm="a"\r\nwww-authenticate: Basic realm="b"\r\n\r\n'
    async with upstream(saying(asking_twice)) as egress:
        reply, _ = await egress.exchange("GET", egress.base_url, None, {})
        assert reply.headers["www-authenticate"] == 'Digest realm="a", Basic realm="b"'
    async with upstream(saying(head + b"\r\n")) as egress:
        reply, _ = await egress.exchange("GET", egress.base_url, None, {})
        assert "www-authenticate" not in reply.headers
