"""What HTTP promises, on a real uvicorn and a real daphne: streams, errors, bounds, connections."""

import http.client
import json
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conformance.conftest import PAGE
from tests.live import MAX_BODY, SERVERS, Live, live, read_all
from tests.servers import listening
from tests.upstream import WORDS

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]
JSON_HEAD = b"Host: localhost\r\nContent-Type: application/json\r\n"


def asked(model: str = "sky-1", **fields: Any) -> dict[str, Any]:
    return {"model": f"openai/{model}", "messages": HELLO, **fields}


def post(server: Live, path: str = CHAT, **options: Any) -> httpx.Response:
    return httpx.post(f"{server.url}{path}", **options)


def head_of(path: str = CHAT, method: str = "POST", **headers: str) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"{method} {path} HTTP/1.1\r\n".encode() + JSON_HEAD + lines.encode() + b"\r\n"


def past_the_words(response: httpx.Response) -> Iterator[str]:
    """The lines that follow those with which each answer of the upstream begins, and its endless one goes on."""
    lines = response.iter_lines()
    for _ in range(2 * len(WORDS) + 4):
        next(lines)
    return lines


def error_of(answer: bytes) -> tuple[int, str]:
    """The status and the message of a whole answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body[body.index(b"{") : body.rindex(b"}") + 1])["error"]["message"]


# --- answers ---


def test_a_chat_is_json_with_a_request_id_and_no_word_of_the_server(server: Live) -> None:
    response = post(server, json=asked())
    assert response.json()["choices"][0]["message"]["content"] == "The sky is blue."
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    assert "server" not in response.headers


def test_a_stream_is_events_that_end_in_done(server: Live) -> None:
    response = post(server, json=asked(stream=True, stream_options={"include_usage": True}))
    assert response.headers["content-type"] == "text/event-stream"
    assert response.headers["cache-control"] == "no-cache"
    *events, done, rest = response.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks[:-1]) == "The sky is blue."
    assert chunks[-1]["usage"]["total_tokens"] == 9


def test_an_alias_of_0_3_5_ends_without_done(server: Live) -> None:
    text = post(server, "/v1/openai/v1/chat/completions", json=asked(stream=True)).text
    assert text.endswith("}\n\n")


def test_events_arrive_one_by_one(server: Live) -> None:
    """The upstream's answer has no end, so whoever collects it would never show its beginning."""
    with httpx.stream("POST", f"{server.url}{CHAT}", json=asked("endless", stream=True)) as response:
        lines = response.iter_lines()
        assert [next(lines)[:6] for _ in range(10)] == ["data: ", ""] * 5


# --- whoever leaves ---


@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
def test_a_client_that_leaves_a_stream_closes_the_upstream(server: Live, path: str) -> None:
    body = asked("endless", stream=True) | ({"prompt": "The sky"} if path != CHAT else {})
    with httpx.stream("POST", f"{server.url}{path}", json=body) as response:
        past_the_words(response)
    server.upstream_closes(10)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_before_there_is_an_answer_closes_the_upstream(server: Live, stream: bool) -> None:
    body = json.dumps(asked("held", stream=stream)).encode()
    server.forget()
    with closing(server.connected()) as client:
        client.sendall(head_of(Content_Length=str(len(body))) + body)
        server.upstream_is_asked("held", times=1)
    server.upstream_closes(10)


def test_a_client_that_leaves_before_the_first_token_does_no_harm(server: Live) -> None:
    body = json.dumps(asked("held", stream=True)).encode()
    for _ in range(5):
        with closing(server.connected()) as client:
            client.sendall(head_of(Content_Length=str(len(body))) + body)
    assert post(server, json=asked()).status_code == 200


def test_a_client_that_leaves_within_its_body_does_no_harm(server: Live) -> None:
    for _ in range(5):
        with closing(server.connected()) as client:
            client.sendall(head_of(Content_Length="5000") + b'{"model":')
    assert post(server, json=asked()).status_code == 200


# --- errors ---


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_before_the_first_token_keeps_its_status(server: Live, stream: bool) -> None:
    limited = post(server, json=asked("status-429", stream=stream))
    assert (limited.status_code, limited.headers["retry-after"]) == (429, "7")
    assert limited.json()["detail"] == limited.json()["error"]["message"]
    assert post(server, json=asked("status-500", stream=stream)).status_code == 502
    assert post(server, json=asked("nonsense", stream=stream)).status_code == 502
    assert post(server, json=asked("none-such", stream=stream)).status_code == 404
    assert post(server, json=asked(stream=stream, n="many")).status_code == 400


@pytest.mark.parametrize("model", ["cut", "broken"])
def test_an_error_after_the_first_token_is_an_event_without_done(server: Live, model: str) -> None:
    response = post(server, json=asked(model, stream=True))
    assert response.status_code == 200
    *_, last, rest = response.text.split("\n\n")
    assert (json.loads(last.removeprefix("data: "))["error"]["type"], rest) == ("upstream_error", "")
    assert "[DONE]" not in response.text


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/models/no/such/model", "/v1/models/%00", "/v1/models/%ff%fe"])
def test_what_is_not_there_is_404_in_our_shape(server: Live, path: str) -> None:
    response = httpx.get(f"{server.url}{path}")
    assert (response.status_code, response.json()["error"]["type"]) == (404, "not_found_error")


# --- bounds ---


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent(server: Live) -> None:
    status, message = error_of(server.raw(head_of(Content_Length=str(MAX_BODY + 1))))
    assert (status, str(MAX_BODY) in message) == (413, True)


def test_a_body_that_does_not_say_how_large_it_is_is_counted(server: Live) -> None:
    """It never ends: the answer comes while it is being sent."""
    chunk = b"1000\r\n" + b" " * 0x1000 + b"\r\n"
    with closing(server.connected()) as client:
        client.sendall(head_of(Transfer_Encoding="chunked"))
        client.sendall(chunk * (MAX_BODY // 0x1000 + 1))
        assert error_of(read_all(client))[0] == 413


def test_a_body_of_the_largest_size_is_read(server: Live) -> None:
    body = json.dumps(asked()).encode()
    content = body + b" " * (MAX_BODY - len(body))
    assert post(server, content=content, headers={"Content-Type": "application/json"}).status_code == 200


@pytest.mark.parametrize("length", ["-1", "1e3", "many", "18446744073709551616"])
def test_a_length_that_is_none_is_refused(server: Live, length: str) -> None:
    answer = server.raw(head_of(Content_Length=length))
    assert answer[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 413", b""), answer


def test_a_head_that_is_too_long_is_refused(server: Live) -> None:
    with closing(server.connected()) as client:
        client.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
        with pytest.raises(ConnectionError):
            client.sendall(b"x" * 2**25)


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"G\0T / HTTP/1.1\r\n\r\n", b"\r\n" * 9])
def test_what_is_no_http_does_no_harm(server: Live, garbage: bytes) -> None:
    with closing(server.connected()) as client:
        client.sendall(garbage)
    assert httpx.get(f"{server.url}/v1/health").status_code == 200


def test_a_host_and_an_origin_that_are_not_ours_are_refused(server: Live) -> None:
    assert httpx.get(f"{server.url}/v1/models", headers={"Host": "evil.example"}).status_code == 400
    assert post(server, json=asked(), headers={"Origin": "https://evil.example"}).status_code == 403


def test_what_is_not_json_is_refused(server: Live) -> None:
    assert post(server, content=b"{}", headers={"Content-Type": "text/plain"}).status_code == 400
    assert post(server, content=b"{", headers={"Content-Type": "application/json"}).status_code == 400


def test_a_header_cannot_move_the_api_from_under_the_guards(server: Live) -> None:
    """Daphne reads a path to strip from a header that anybody may send."""
    content = json.dumps(asked()).encode()
    headers = {"Content-Type": "text/plain", "Daphne-Root-Path": "/x"}
    assert post(server, f"/x{CHAT}", content=content, headers=headers).status_code in (403, 404)


# --- methods and connections ---


def test_head_is_get_without_a_body(server: Live) -> None:
    for path in ("/v1/health", "/v1/models", "/static/console/page.css", "/docs"):
        got, head = httpx.get(f"{server.url}{path}"), httpx.head(f"{server.url}{path}")
        assert (head.status_code, head.content) == (200, b""), path
        assert head.headers["content-type"] == got.headers["content-type"]


def test_a_method_that_is_not_there_names_those_that_are(server: Live) -> None:
    response = httpx.get(f"{server.url}/v1/embeddings")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert response.json()["error"]["code"] == "method_not_allowed"
    assert httpx.request("BREW", f"{server.url}/v1/models").status_code in (400, 405)


def test_a_page_elsewhere_that_may_call_is_told_so(server: Live) -> None:
    asks = {"Origin": PAGE, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    preflight = httpx.options(f"{server.url}{CHAT}", headers=asks)
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (204, PAGE)
    assert post(server, json=asked(), headers={"Origin": PAGE}).headers["access-control-allow-origin"] == PAGE


def test_one_connection_serves_chats_streams_and_errors_one_after_another(server: Live) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", server.server.port, timeout=10)) as connection:
        connection.connect()
        ours = connection.sock
        for body, status in ((asked(), 200), (asked(stream=True), 200), (asked("none-such"), 404), (asked(), 200)):
            connection.request("POST", CHAT, json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            assert (response.status, bool(response.read())) == (status, True)
        assert connection.sock is ours


def test_requests_that_are_sent_ahead_are_answered_in_order(server: Live) -> None:
    body = json.dumps(asked()).encode()
    chat = head_of(Content_Length=str(len(body))) + body
    last = head_of("/v1/version", "GET", Connection="close")
    answer = server.raw(chat + chat + last)
    assert answer.count(b"HTTP/1.1 200") == 3
    assert answer.index(b"The sky is blue.") < answer.index(b'"version"')


def test_http_1_0_gets_its_answer_and_its_connection_closed(server: Live) -> None:
    body = json.dumps(asked()).encode()
    head = b"POST %s HTTP/1.0\r\n" % CHAT.encode() + JSON_HEAD + b"Content-Length: %d\r\n\r\n" % len(body)
    answer = server.raw(head + body)
    assert b"The sky is blue." in answer
    assert b"chunked" not in answer.lower()


def test_a_client_that_expects_100_continue_gets_it(server: Live) -> None:
    body = json.dumps(asked()).encode()
    with closing(server.connected()) as client:
        client.sendall(head_of(Content_Length=str(len(body)), Expect="100-continue", Connection="close"))
        assert client.recv(100).startswith(b"HTTP/1.1 100 Continue")
        client.sendall(body)
        assert b"The sky is blue." in read_all(client)


# --- start and stop ---


@pytest.mark.slow
@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_that_is_interrupted_cuts_what_has_no_end(kind: str, tmp_path: Path) -> None:
    with live(kind, tmp_path / "home") as server:
        with httpx.stream("POST", f"{server.url}{CHAT}", json=asked("endless", stream=True), timeout=15) as response:
            lines = past_the_words(response)
            server.server.send(signal.SIGINT)
            with suppress(httpx.RemoteProtocolError):
                assert "[DONE]" not in list(lines)
        server.upstream_closes(10)
        assert server.server.process.wait(30) == 0
    assert "Traceback" not in server.server.output


@pytest.mark.slow
@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_that_is_told_to_end_answers_who_has_asked_and_nobody_else(kind: str, tmp_path: Path) -> None:
    with live(kind, tmp_path / "home") as server, ThreadPoolExecutor() as threads:
        bodies = [asked("held", stream=stream) for stream in (True, False)]
        chats = [threads.submit(post, server, json=body, timeout=15) for body in bodies]
        server.upstream_is_asked("held", times=2)
        server.server.send(signal.SIGTERM)
        while listening(server.server.port):
            time.sleep(0.01)
        server.release()
        streamed, whole = (chat.result() for chat in chats)
        assert streamed.text.endswith("data: [DONE]\n\n")
        assert whole.json()["choices"][0]["message"]["content"] == "The sky is blue."
        assert server.server.process.wait(30) == 0
    assert "Traceback" not in server.server.output
