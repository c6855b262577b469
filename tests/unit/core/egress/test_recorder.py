"""What goes through egress is recorded as it came, and replayed without a connection."""

import asyncio
import base64
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llamastack.egress import Egress
from llamastack.egress.recorder import Recorder
from llamastack.egress.transport import Outgoing, Reply
from llamastack.errors import RateLimited, UpstreamError, UpstreamRejected
from llamastack.recording import Mode, Tape, Track, keeping, of_test
from llamastack.recording.nearest import RecordingMissing
from tests.upstream import close

CANARY = "canary-sk-7531"
EVENTS = b'data: {"a": 1}\n\ndata: {"b": [2]}\n\ndata: [DONE]\n\n'
STREAM = {"content-type": "text/event-stream; charset=utf-8"}


class Scripted:
    """A transport that says these pieces; one that is an exception breaks the connection, None waits for ever."""

    def __init__(self, *pieces: bytes | Exception | None, status: int = 200, **headers: str) -> None:
        self.script = pieces
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.asked: list[Outgoing] = []
        self.waiting = asyncio.Event()

    @asynccontextmanager
    async def send(self, outgoing: Outgoing) -> AsyncIterator[Reply]:
        self.asked.append(outgoing)
        yield Reply(self.status, "", self.headers, self._pieces())

    async def _pieces(self) -> AsyncIterator[bytes]:
        for piece in self.script:
            if isinstance(piece, Exception):
                raise piece
            if piece is None:
                self.waiting.set()
                await asyncio.Event().wait()
            else:
                yield piece

    async def close(self) -> None: ...


def egress(folder: Path, live: Scripted, mode: Mode = Mode.record, **options: Any) -> Egress:
    """An egress of the provider `x` whose network is `live`."""
    made = Egress(options.pop("url", "http://upstream.invalid/v1"), "Provider 'x'", **options)
    made.transport = Recorder(live, Track(Tape(mode, folder), "inference", "x", (CANARY,)))
    return made


def replaying(folder: Path, **options: Any) -> Egress:
    return egress(folder, Scripted(AssertionError("replay asks nobody")), Mode.replay, **options)


async def streamed(one: Egress, body: Any = None) -> list[Any]:
    return [event async for event in one.stream("chat/completions", body or {})]


def address_of(server: asyncio.Server) -> str:
    return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


def recordings(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


async def test_an_answer_is_replayed_as_it_was_recorded(tmp_path: Path) -> None:
    live = egress(tmp_path, Scripted(b'{"choices": [', b'{"n": 1.5}], "id": "x"}'))
    said = await live.post("chat/completions", {"model": "m"})
    again = await replaying(tmp_path).post("chat/completions", {"model": "m"})
    assert said == {"choices": [{"n": 1.5}], "id": "x"}
    assert again == said | {"id": again["id"]}
    assert again["id"].startswith("recorded-")


async def test_a_stream_is_replayed_event_by_event(tmp_path: Path) -> None:
    said = await streamed(egress(tmp_path, Scripted(EVENTS[:7], EVENTS[7:30], EVENTS[30:], **STREAM)))
    assert said == [{"a": 1}, {"b": [2]}]
    assert await streamed(replaying(tmp_path)) == said
    [file] = (tmp_path / "inference").iterdir()
    events = json.loads(file.read_text())["replies"][0]["events"]
    assert events == [{"data": {"a": 1}}, {"data": {"b": [2]}}, {"text": "[DONE]"}]


@pytest.mark.parametrize("end", [b"data: [DONE]\n\n", b"data:[DONE]\r\n\r\n", b"data: [DONE]\n\n: bye\n\n"])
async def test_what_follows_done_is_not_waited_for(tmp_path: Path, end: bytes) -> None:
    live = Scripted(b'data: {"a": 1}\n\ndata: {"b": "[DONE]"}\n\n', end, None, **STREAM)
    assert len(await streamed(egress(tmp_path, live))) == 2
    assert len(await streamed(replaying(tmp_path))) == 2


async def test_values_that_come_one_a_line_are_replayed(tmp_path: Path) -> None:
    """As Ollama tells how far a pull is."""
    live = Scripted(b'{"status": "pulling"}\n{"st', b'atus": "success"}\n', content_type="application/x-ndjson")
    told = [[line async for line in one.lines("api/pull", {})] for one in (egress(tmp_path, live), replaying(tmp_path))]
    assert told == [[{"status": "pulling"}, {"status": "success"}]] * 2


async def test_events_of_a_stream_come_as_they_are_said(tmp_path: Path) -> None:
    live = Scripted(b'data: {"a": 1}\n\n', None, **STREAM)
    events = egress(tmp_path, live).stream("chat/completions", {})
    assert await anext(events) == {"a": 1}
    await events.aclose()


async def test_a_stream_that_is_left_leaves_no_recording(tmp_path: Path) -> None:
    live = Scripted(b'data: {"a": 1}\n\n', None, **STREAM)
    events = egress(tmp_path, live).stream("chat/completions", {})
    await anext(events)
    await events.aclose()
    reading = asyncio.create_task(streamed(egress(tmp_path, live)))
    await live.waiting.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert recordings(tmp_path) == []


async def test_a_stream_that_is_cut_leaves_no_recording(tmp_path: Path) -> None:
    with pytest.raises(UpstreamError):
        await streamed(egress(tmp_path, Scripted(b'data: {"a": 1}\n\n', ConnectionResetError(), **STREAM)))
    with pytest.raises(UpstreamError):
        await egress(tmp_path, Scripted(b'{"a"', ConnectionResetError())).post("chat/completions", {})
    assert recordings(tmp_path) == []


async def test_an_upstream_that_cannot_be_reached_leaves_no_recording(tmp_path: Path) -> None:
    with keeping(Track(Tape(Mode.record, tmp_path), "inference", "x")):
        live = Egress("http://127.0.0.1:9/v1", "Provider 'x'")
    with pytest.raises(UpstreamError, match="cannot be reached"):
        await live.get("models")
    await live.close()
    assert recordings(tmp_path) == []


async def test_statuses_are_recorded_with_what_their_headers_say(tmp_path: Path) -> None:
    for status, kind in ((404, UpstreamRejected), (429, RateLimited), (500, UpstreamError)):
        live = Scripted(b'{"error": {"message": "told you so"}}', status=status, retry_after="7", server="x")
        for one in (egress(tmp_path, live), replaying(tmp_path)):
            with pytest.raises(kind, match="told you so") as caught:
                await one.post("chat/completions", {"status": status})
            assert caught.value.retry_after == (None if status == 404 else 7)
    kept = [json.loads(file.read_text())["replies"][0]["headers"] for file in (tmp_path / "inference").iterdir()]
    assert kept == [{"retry-after": "7"}] * 3


async def test_of_tries_only_what_came_of_them_is_recorded(tmp_path: Path) -> None:
    class Busy(Scripted):
        @asynccontextmanager
        async def send(self, outgoing: Outgoing) -> AsyncIterator[Reply]:
            async with super().send(outgoing) as reply:
                yield replace(reply, status=503 if len(self.asked) == 1 else 200)

    live = egress(tmp_path, Busy(b"{}"))
    live.retries.first_pause = 0
    assert await live.get("models") == {}
    [file] = (tmp_path / "inference").iterdir()
    assert [reply["status"] for reply in json.loads(file.read_text())["replies"]] == [200]


@pytest.mark.parametrize("mode", [Mode.replay, Mode.record_if_missing])
async def test_a_replay_waits_for_nothing_and_tells_nothing_of_the_upstream(tmp_path: Path, mode: Mode) -> None:
    """A pause would take the test longer than it may last, and a breaker would answer in the upstream's stead."""
    slow = egress(tmp_path, Scripted(b"{}", status=503, retry_after="9"))
    slow.retries.saved = 0
    with pytest.raises(UpstreamError):
        await slow.get("models")
    one = egress(tmp_path, Scripted(AssertionError("replay asks nobody")), mode)
    one.retries.first_pause = 1e9
    for _call in range(8):
        with pytest.raises(UpstreamError, match="503"):
            await one.get("models")
    assert not one.breaker.is_open


async def test_an_error_to_a_stream_is_recorded_too(tmp_path: Path) -> None:
    live = Scripted(b'{"error": "no such model"}', status=404)
    for one in (egress(tmp_path, live), replaying(tmp_path)):
        with pytest.raises(UpstreamRejected, match="no such model"):
            await streamed(one)


async def test_a_stream_nobody_asked_for_is_replayed_as_one(tmp_path: Path) -> None:
    said = await egress(tmp_path, Scripted(EVENTS, **STREAM)).post("chat/completions", {})
    assert await replaying(tmp_path).post("chat/completions", {}) == said


async def test_what_is_no_json_is_replayed_as_it_was(tmp_path: Path) -> None:
    for said in (b"<html>busy</html>", b"\xff\x00\xfe", b""):
        for one in (egress(tmp_path, Scripted(said)), replaying(tmp_path)):
            with pytest.raises(UpstreamError, match="not JSON"):
                await one.post("chat/completions", {})


async def test_a_reply_is_recorded_unpacked(tmp_path: Path) -> None:
    async def packed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = gzip.compress(b'{"a": "unpacked"}')
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Type: application/json\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(packed, "127.0.0.1", 0)
    with keeping(Track(Tape(Mode.record, tmp_path), "inference", "x")):
        live = Egress(address_of(server), "Provider 'x'")
    assert await live.get("models") == {"a": "unpacked"}
    await live.close()
    await close(server)
    assert await replaying(tmp_path).get("models") == {"a": "unpacked"}


async def test_a_large_reply_is_recorded_whole(tmp_path: Path) -> None:
    vectors = {"data": [{"embedding": [n / 7 for n in range(3000)]} for _ in range(100)]}
    text = json.dumps(vectors).encode()
    pieces = [text[n : n + 2**16] for n in range(0, len(text), 2**16)]
    assert await egress(tmp_path, Scripted(*pieces)).post("embeddings", {}) == vectors
    assert await replaying(tmp_path).post("embeddings", {}) == vectors


async def test_a_replay_opens_no_connection(tmp_path: Path) -> None:
    await egress(tmp_path, Scripted(b'{"data": []}')).get("models")
    met: list[object] = []
    server = await asyncio.start_server(lambda *streams: met.append(streams), "127.0.0.1", 0)
    with keeping(Track(Tape(Mode.replay, tmp_path), "inference", "x")):
        one = Egress(address_of(server), "Provider 'x'")
    assert await one.get("models") == {"data": []}
    await one.close()
    await close(server)
    assert met == []


async def test_a_miss_reaches_the_caller_with_its_difference(tmp_path: Path) -> None:
    await egress(tmp_path, Scripted(b"{}")).post("chat/completions", {"model": "m", "seed": 1})
    with pytest.raises(RecordingMissing, match="seed: recorded 1, asked 2"):
        await replaying(tmp_path).post("chat/completions", {"model": "m", "seed": 2})


async def test_if_missing_the_upstream_is_asked_once_for_all_runs(tmp_path: Path) -> None:
    live = Scripted(b"{}")
    for _run in range(3):
        await egress(tmp_path, live, Mode.record_if_missing).get("models")
    assert len(live.asked) == 1


async def test_recordings_of_a_test_lie_apart(tmp_path: Path) -> None:
    async def of_one(name: str) -> None:
        of_test(name)
        await egress(tmp_path, Scripted(b"{}")).get("models")

    await asyncio.gather(asyncio.create_task(of_one("tests/test_x.py::one")), asyncio.create_task(of_one("../..")))
    one, other = sorted((file.parent for file in tmp_path.rglob("*.json")), key=str)
    assert one.parent == other.parent == tmp_path / "inference"
    assert other.name.startswith("tests-test_x-py-one.")


async def test_no_secret_is_in_any_recording(tmp_path: Path) -> None:
    packed = base64.b64encode(f"maya:{CANARY}".encode()).decode()
    echo = json.dumps({"error": {"message": f"Wrong key {CANARY}, in {packed}", CANARY: [CANARY]}}).encode()
    url = f"https://maya:{CANARY}@upstream.invalid/v1/{CANARY}"
    body = {"model": CANARY, "messages": [{"content": f"My key is {CANARY}"}], "api_key": "anything-else"}
    asked = f"chat/completions?key={CANARY}&other={CANARY}"
    headers = {"Authorization": f"Basic {packed}", "X-Api-Key": f"{CANARY}"}
    for status in (200, 401):
        live = Scripted(echo, status=status, location=f"http://x/{CANARY}", set_cookie=CANARY)
        one = egress(tmp_path, live, url=url, headers=headers)
        try:
            await one.post(asked, body | {"status": status})
        except UpstreamError:
            assert status == 401
    event = b'data: {"choices": [{"delta": {"content": "%s"}}]}\n\n' % CANARY.encode()
    await streamed(egress(tmp_path, Scripted(event, b"data: [DONE]\n\n", **STREAM), headers=headers), body)
    with pytest.raises(UpstreamError):
        await egress(tmp_path, Scripted(f"<html>{CANARY}</html>".encode()), headers=headers).post("html", body)
    files = [file for file in recordings(tmp_path) if file.is_file()]
    assert len(files) == 4
    told = "".join(file.name + file.read_text() for file in files).lower()
    assert [secret for secret in (CANARY, packed.lower(), "anything-else", "upstream.invalid") if secret in told] == []


async def test_a_token_is_replayed_though_it_is_asked_for_with_another_signature(tmp_path: Path) -> None:
    said = json.dumps({"access_token": "ya29.of-maya", "expires_in": 3599}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    await egress(tmp_path, Scripted(said)).post("token", b"grant_type=jwt&assertion=signed-at-noon", headers)
    again = await replaying(tmp_path).post("token", b"grant_type=jwt&assertion=signed-at-one", headers)
    assert again == {"access_token": "***", "expires_in": 3599}
    [file] = (tmp_path / "inference").iterdir()
    assert [secret for secret in ("signed-at-noon", "ya29") if secret in file.read_text()] == []


async def test_a_caller_s_own_key_is_as_secret(tmp_path: Path) -> None:
    live = egress(tmp_path, Scripted(b'{"error": "no key-of-maya-1"}'))
    await live.post("x", {"content": "key-of-maya-1"}, {"Authorization": "Bearer key-of-maya-1"})
    [file] = (tmp_path / "inference").iterdir()
    assert "key-of-maya-1" not in file.read_text()


async def test_a_secret_in_pieces_or_in_bytes_is_not_recorded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    half = len(CANARY) // 2
    events = [{"choices": [{"delta": {"content": part}}]} for part in (CANARY[:half], CANARY[half:])]
    stream = b"".join(b"data: %s\n\n" % json.dumps(event).encode() for event in events)
    await streamed(egress(tmp_path, Scripted(stream, b"data: [DONE]\n\n", **STREAM)))
    with pytest.raises(UpstreamError):
        await egress(tmp_path, Scripted(b"\xff" + CANARY.encode())).post("x", {})
    assert recordings(tmp_path) == []
    assert caplog.text.count("Not recorded: POST") == 2
    assert CANARY not in caplog.text


async def test_many_at_once_are_recorded_each(tmp_path: Path) -> None:
    class Echo(Scripted):
        @asynccontextmanager
        async def send(self, outgoing: Outgoing) -> AsyncIterator[Reply]:
            async def said() -> AsyncIterator[bytes]:
                yield outgoing.body or b""

            yield Reply(200, "", {}, said())

    live = egress(tmp_path, Echo())
    bodies = [{"n": n} for n in range(40)]
    await asyncio.gather(*(live.post("x", body) for body in bodies for _ in range(2)))
    one = replaying(tmp_path)
    assert await asyncio.gather(*(one.post("x", body) for body in bodies)) == bodies


names = st.text(max_size=6).filter(lambda name: name not in ("id", "created", "created_at", "error", "modified_at"))
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(said=values, number=st.integers(0, 2**40))
async def test_any_answer_is_replayed_as_it_was(tmp_path: Path, said: Any, number: int) -> None:
    live = await egress(tmp_path, Scripted(json.dumps(said).encode())).post("x", {"n": number})
    assert await replaying(tmp_path).post("x", {"n": number}) == live


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(
    said=st.lists(st.dictionaries(names, values, max_size=4), max_size=8), number=st.integers(0, 2**40), data=st.data()
)
async def test_any_stream_is_replayed_as_it_was(
    tmp_path: Path, said: list[Any], number: int, data: st.DataObject
) -> None:
    """Cut anywhere, with any of the three ends of a line."""
    end = data.draw(st.sampled_from([b"\n", b"\r\n", b"\r"]))
    text = b"".join(b"data: %s%s%s" % (json.dumps(one).encode(), end, end) for one in said)
    text += b"data: [DONE]" + end + end
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    live = await streamed(egress(tmp_path, Scripted(*pieces, **STREAM)), {"n": number})
    assert live == said
    assert await streamed(replaying(tmp_path), {"n": number}) == live
