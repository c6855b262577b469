"""Our own connections: what they send, when they are kept, and that nothing of them stays behind."""

import asyncio
import gc
import socket
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import aiohttp
import pytest

from llamastack.egress.connection import WRITE_BYTES, Connected
from llamastack.egress.lean import Exchange, LeanTransport
from llamastack.egress.routes import Network, Route
from llamastack.egress.transport import READ_AHEAD_BYTES, LiveTransport, Outgoing, Timeouts, Transport, written
from tests.unit.core.egress import speaking
from tests.unit.core.egress.speaking import answer

over_both = pytest.mark.usefixtures("each_transport")  # the others are of our own alone

GOOD = answer("200 OK", b'{"a": 1}')
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
MIB = 1024 * 1024
Speak = Callable[["Server", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    """A server of this test: the requests that reached it, by the connection that they came over."""

    url: str = ""
    by_connection: dict[asyncio.StreamReader, list[bytes]] = field(default_factory=dict)
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def asked(self) -> list[list[bytes]]:
        return list(self.by_connection.values())

    async def request(self, reader: asyncio.StreamReader) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next((int(line[16:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"), 0)
        self.by_connection[reader].append(head + await reader.readexactly(length))


@asynccontextmanager
async def serving(speak: Speak) -> AsyncIterator[Server]:
    server = Server()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.by_connection[reader] = []
        try:
            await speak(server, reader, writer)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            server.gone.set()

    async with speaking.listening(handler) as server.url:
        yield server


@asynccontextmanager
async def opened(network: Network | None = None, timeouts: Timeouts | None = None) -> AsyncIterator[Transport]:
    transport = speaking.TRANSPORTS[speaking.chosen](timeouts or Timeouts(), network)
    try:
        yield transport
    finally:
        await transport.close()


def saying(*answers: bytes) -> Speak:
    """Each connection is given these answers, one a request, and then closed."""

    async def speak(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for said in answers:
            await server.request(reader)
            writer.write(said)
            await writer.drain()

    return speak


async def said(transport: Transport, server: Server, body: bytes | None = b"{}", method: str = "POST") -> bytes:
    async with transport.send(Outgoing(method, f"{server.url}/chat", {}, body)) as reply:
        return b"".join([piece async for piece in reply.pieces])


# --- what is sent ---

REQUESTS = [
    Outgoing("GET", "/models"),
    Outgoing("GET", "/models?a=b&c=%20#fragment"),
    Outgoing("GET", "/a b/ü?q=ü x"),
    Outgoing("GET", "/arn%3Aaws%2Fmodel/converse"),
    Outgoing("GET", "/models?key=a%2Bb%3D"),
    Outgoing("GET", ""),
    Outgoing("POST", "/chat", {"Authorization": "Bearer sk-1", "Content-Type": "application/json"}, b'{"a": 1}'),
    Outgoing("POST", "/chat", {}, b"raw"),
    Outgoing("POST", "/chat", {}, b""),
    Outgoing("POST", "/chat"),
    Outgoing("PUT", "/file", {"content-length": "3"}, b"abc"),
    Outgoing("PATCH", "/file"),
    Outgoing("DELETE", "/file"),
    Outgoing("DELETE", "/file", {}, b"{}"),
    Outgoing("POST", "/chat", {"host": "other.example", "USER-AGENT": "mine", "accept": "a/b"}, b"{}"),
    Outgoing("POST", "/chat", {"Accept-Encoding": "identity", "X-Ü": "wörd", "X-Empty": ""}, b"{}"),
]


@pytest.mark.parametrize("keepalive", [15.0, 0])
async def test_a_request_is_what_aiohttp_writes(keepalive: float) -> None:
    network = Network(keepalive=keepalive)
    async with serving(saying(*[GOOD] * len(REQUESTS))) as server:
        for transport in (LeanTransport(Timeouts(), network), LiveTransport(Timeouts(), network)):
            for asked in REQUESTS:
                outgoing = Outgoing(asked.method, server.url + asked.url, asked.headers, asked.body)
                async with transport.send(outgoing) as reply:
                    assert b"".join([piece async for piece in reply.pieces]) == b'{"a": 1}'
            await transport.close()
    sent = [parts(request) for connection in server.asked for request in connection]
    assert sent[: len(REQUESTS)] == sent[len(REQUESTS) :]


def parts(request: bytes) -> tuple[bytes, list[bytes], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    line, *fields = head.split(b"\r\n")
    return line, sorted(fields), body


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/v1",
        "http://[::1]:8000/v1",
        "http://[FE80::0:1]/v1",
        "https://api.example:443/v1",
        "http://api.example:80/v1",
        "https://api.example:80/v1",
        "https://API.example./v1",
        "https://bücher.example/v1",
        "https://api.example/arn%3Aaws/%2e%2e/ü?q=%41+b&c",
    ],
)
async def test_a_host_and_a_target_are_what_aiohttp_makes_of_an_address(url: str) -> None:
    transport = LeanTransport(Timeouts())
    exchange = transport.send(Outgoing("GET", url))
    assert isinstance(exchange, Exchange)
    theirs = aiohttp.ClientRequest("GET", written(url))
    begin = f"GET {theirs.url.raw_path_qs} HTTP/1.1\r\nHost: {theirs.headers['Host']}\r\n"
    assert exchange.head.startswith(begin.encode())
    await transport.close()


@over_both
@pytest.mark.parametrize("headers", [{"X-A": "b\r\nX-C: d"}, {"X-A": "b\nc"}, {"X-A\r\nX-C": "d"}, {"X-A": "b\0"}])
async def test_no_header_can_be_the_way_in_for_another(headers: dict[str, str]) -> None:
    async with serving(saying(GOOD)) as server, opened() as transport:
        with pytest.raises(ValueError, match="control character"):
            async with transport.send(Outgoing("POST", server.url, headers, b"{}")):
                pass
    assert [request for connection in server.asked for request in connection] == []


async def test_a_large_body_goes_as_fast_as_it_is_read() -> None:
    body = bytes(range(256)) * 4 * 4096

    async def slow(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(GOOD)
        await server.request(reader)
        writer.write(GOOD)

    async with serving(slow) as server, opened() as transport:
        assert [await said(transport, server, body) for _ in range(2)] == [b'{"a": 1}'] * 2
    [requests] = server.asked
    assert [request.partition(b"\r\n\r\n")[2] == body for request in requests] == [True, True]


async def test_a_kept_connection_keeps_nothing_of_a_body_that_it_has_sent() -> None:
    """Parts of large files would take as much memory again as there are connections."""

    gone = asyncio.Event()

    class Body(bytes):
        """Bytes that tell when they are gone."""

        def __del__(self) -> None:
            gone.set()

    async def kept(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(GOOD)
        await asyncio.Event().wait()

    async with serving(kept) as server, opened() as transport:
        body = Body(bytes(4 * WRITE_BYTES + 1))
        assert await said(transport, server, body) == b'{"a": 1}'
        del body
        gc.collect()
        assert gone.is_set()


async def test_an_answer_to_half_a_request_is_read_and_its_connection_is_not_used_again() -> None:
    async def early(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer("413 Too Large", b"no"))
        await asyncio.Event().wait()  # and reads no more

    async with serving(early) as server, opened() as transport:
        for _ in range(2):
            async with transport.send(Outgoing("POST", server.url, {}, b"x" * 32 * MIB)) as reply:
                assert reply.status == 413
    assert len(server.asked) == 2


# --- what is kept ---


@over_both
async def test_a_connection_is_kept_for_the_next_request() -> None:
    ended = CHUNKED + b"2\r\n{}\r\n0\r\nX-Late: 1\r\n\r\n"
    empty = b"HTTP/1.1 204 No Content\r\n\r\n"
    async with serving(saying(GOOD, ended, empty, GOOD)) as server, opened() as transport:
        assert [await said(transport, server) for _ in range(4)] == [b'{"a": 1}', b"{}", b"", b'{"a": 1}']
    assert [len(connection) for connection in server.asked] == [4]


@over_both
async def test_none_is_kept_where_that_is_not_wanted() -> None:
    async with serving(saying(GOOD, GOOD)) as server, opened(Network(keepalive=0)) as transport:
        assert [await said(transport, server) for _ in range(2)] == [b'{"a": 1}'] * 2
    assert [b"\r\nConnection: close\r\n" in request for [request] in server.asked] == [True, True]


@over_both
async def test_one_that_nobody_uses_is_closed_in_time() -> None:
    async with serving(saying(GOOD, GOOD)) as server, opened(Network(keepalive=0.05)) as transport:
        assert await said(transport, server) == b'{"a": 1}'
        async with asyncio.timeout(10):
            await server.gone.wait()


@pytest.mark.parametrize(
    "wire",
    [
        GOOD.replace(b"HTTP/1.1", b"HTTP/1.0"),
        answer("200 OK", b'{"a": 1}', b"Connection: close"),
        GOOD + GOOD,
        GOOD + b"HTTP/1.1 ",
    ],
)
async def test_one_whose_reply_leaves_a_doubt_is_not(wire: bytes) -> None:
    async with serving(saying(wire, GOOD)) as server, opened() as transport:
        for _ in range(2):
            assert await said(transport, server) == b'{"a": 1}'
    assert len(server.asked) == 2


async def test_what_comes_unasked_closes_the_connection_and_is_nobodys_answer() -> None:
    more = asyncio.Event()

    async def talkative(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(GOOD)
        await more.wait()
        writer.write(answer("200 OK", b'{"for": "somebody else"}'))
        await reader.read()

    async with serving(talkative) as server, opened() as transport:
        assert await said(transport, server) == b'{"a": 1}'
        more.set()
        await server.gone.wait()
        assert await said(transport, server) == b'{"a": 1}'
    assert len(server.asked) == 2


@over_both
async def test_a_kept_connection_that_was_closed_meanwhile_is_not_used() -> None:
    async with serving(saying(GOOD)) as server, opened() as transport:
        for _ in range(3):
            assert await said(transport, server) == b'{"a": 1}'
            await server.gone.wait()
            server.gone.clear()
            for _ in range(3):  # turns of the loop, in which we hear of it too
                await asyncio.sleep(0)
    assert [len(connection) for connection in server.asked] == [1, 1, 1]


@over_both
async def test_one_that_closes_when_it_is_used_again_is_a_broken_connection_but_to_what_is_harmless_twice() -> None:
    """A POST may have been read before it closed: whoever asks again is to know."""

    async def once(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(GOOD)
        await server.request(reader)

    async with serving(once) as server, opened() as transport:
        assert await said(transport, server) == b'{"a": 1}'
        with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
            await said(transport, server)
        assert await said(transport, server) == b'{"a": 1}'
        assert await said(transport, server, None, "GET") == b'{"a": 1}'
    assert [len(connection) for connection in server.asked] == [2, 2, 1]


# --- what is no answer ---

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"


@pytest.mark.parametrize(
    ("wire", "failure"),
    [
        (b"", aiohttp.ServerDisconnectedError),
        (b"HTTP/1.1 200 OK\r\nContent-", aiohttp.ServerDisconnectedError),
        (b"HTTP/1.1 100 Continue\r\n\r\n", aiohttp.ServerDisconnectedError),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n\r\n", aiohttp.ClientResponseError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", aiohttp.ClientResponseError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", aiohttp.ClientResponseError),
        (b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 9000 + b"\r\n\r\n", aiohttp.ClientResponseError),
        (b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 129 + b"\r\n", aiohttp.ClientResponseError),
        (LENGTH.replace(b"\r\n\r\n", b"\r\nContent-Encoding: br\r\n\r\n") + b"0123456789", aiohttp.ClientResponseError),
        (LENGTH + b"Hello", aiohttp.ClientPayloadError),
        (CHUNKED + b"5\r\nHello\r\n", aiohttp.ClientPayloadError),
        (CHUNKED + b"5\r\nHelloX\r\n", aiohttp.ClientPayloadError),
        (CHUNKED + b"x\r\n", aiohttp.ClientPayloadError),
    ],
)
async def test_failures_are_of_the_kinds_that_aiohttp_has(wire: bytes, failure: type[Exception]) -> None:
    async with serving(saying(wire)) as server, opened() as transport:
        with pytest.raises(failure):
            await said(transport, server)


@over_both
async def test_a_body_that_ends_with_its_connection_is_whole() -> None:
    async with serving(saying(b"HTTP/1.0 200 OK\r\n\r\nHello")) as server, opened() as transport:
        assert await said(transport, server) == b"Hello"
        assert await said(transport, server) == b"Hello"
    assert len(server.asked) == 2


async def test_of_such_a_body_a_reset_connection_is_no_end() -> None:
    read = asyncio.Event()

    async def reset(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nHello")
        await read.wait()
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async with serving(reset) as server, opened() as transport:
        async with transport.send(Outgoing("POST", server.url, {}, b"{}")) as reply:
            pieces = aiter(reply.pieces)
            assert await anext(pieces) == b"Hello"
            read.set()
            with pytest.raises(aiohttp.ClientPayloadError):
                await anext(pieces)


@over_both
@pytest.mark.parametrize("encoding", ["", "identity", "utf-8"])
async def test_what_is_called_an_encoding_and_packs_nothing_is_passed_over(encoding: str) -> None:
    wire = answer("200 OK", b'{"a": 1}', f"Content-Encoding: {encoding}".encode())
    async with serving(saying(wire)) as server, opened() as transport:
        assert await said(transport, server) == b'{"a": 1}'


@over_both
@pytest.mark.parametrize("length", [1, 10, 15])
async def test_a_body_that_is_packed_is_whole_or_a_failure(length: int) -> None:
    packed = zlib.compress(b'{"a": 1}')
    whole = answer("200 OK", packed, b"Content-Encoding: deflate")
    cut = answer("200 OK", packed[:length], b"Content-Encoding: deflate")
    async with serving(saying(whole, cut)) as server, opened() as transport:
        assert await said(transport, server) == b'{"a": 1}'
        with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientResponseError)):
            await said(transport, server)


@over_both
async def test_headers_are_in_lower_case_and_hold_what_json_can_repeat() -> None:
    wire = b"HTTP/1.1 200 \xfcber\r\nX-Name: \xff wert \r\nX-Twice: 1\r\nX-Twice: 2\r\nContent-Length: 0\r\n\r\n"
    async with serving(saying(wire)) as server, opened() as transport:
        async with transport.send(Outgoing("POST", server.url, {}, b"{}")) as reply:
            assert reply.reason == "?ber"
            assert reply.headers == {"x-name": "? wert", "x-twice": "2", "content-length": "0"}


# --- what nobody reads, and who goes ---


def endless(body: bytes) -> Speak:
    async def speak(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(CHUNKED)
        while not writer.is_closing():
            writer.write(b"%x\r\n%b\r\n" % (len(body), body))
            await writer.drain()

    return speak


@over_both
async def test_a_body_larger_than_what_is_read_ahead_comes_whole() -> None:
    body = bytes(range(256)) * 32 * 1024
    async with serving(saying(answer("200 OK", body), GOOD)) as server, opened() as transport:
        async with transport.send(Outgoing("POST", server.url, {}, b"{}")) as reply:
            pieces = []
            async for piece in reply.pieces:
                assert len(piece) <= 3 * READ_AHEAD_BYTES
                pieces.append(piece)
                await asyncio.sleep(0)
            assert b"".join(pieces) == body
        assert await said(transport, server) == b'{"a": 1}'
    assert len(server.asked) == 1


async def test_who_pauses_stops_the_server_and_then_reads_the_rest() -> None:
    body = bytes(range(256)) * 64 * 1024
    async with serving(saying(answer("200 OK", body), GOOD)) as server, opened() as transport:
        exchange = transport.send(Outgoing("POST", server.url, {}, b"{}"))
        assert isinstance(exchange, Exchange)
        async with exchange as reply:
            while not exchange.connected.stopped:
                await asyncio.sleep(0)
            assert exchange.incoming.size < 3 * READ_AHEAD_BYTES
            assert b"".join([piece async for piece in reply.pieces]) == body
        assert await said(transport, server) == b'{"a": 1}'
    assert len(server.asked) == 1


@over_both
@pytest.mark.parametrize("reads", [0, 3])
async def test_who_leaves_a_reply_has_its_connection_closed(reads: int) -> None:
    async with serving(endless(b"x" * 1000)) as server, opened() as transport:
        async with transport.send(Outgoing("POST", server.url, {}, b"{}", True)) as reply:
            for _ in range(reads):
                await anext(aiter(reply.pieces))
        async with asyncio.timeout(10):
            await server.gone.wait()


@over_both
async def test_nothing_is_read_once_it_is_left() -> None:
    async with serving(saying(GOOD, GOOD)) as server, opened() as transport:
        async with transport.send(Outgoing("POST", server.url, {}, b"{}")) as reply:
            pass
        with pytest.raises(aiohttp.ClientConnectionError):
            assert [piece async for piece in reply.pieces] == []


async def hanging(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await server.request(reader)
    writer.write(CHUNKED + b"2\r\n{}\r\n")
    await reader.read()


@over_both
@pytest.mark.parametrize("turns", range(0, 12, 2))
async def test_it_can_be_cancelled_at_any_point(turns: int) -> None:
    async with serving(hanging) as server, opened() as transport:
        asking = asyncio.create_task(said(transport, server))
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        if server.asked:
            async with asyncio.timeout(10):
                await server.gone.wait()
    gc.collect()  # what was left open tells so now


@over_both
async def test_cancelled_while_the_body_is_awaited_it_closes_the_connection() -> None:
    async with serving(hanging) as server, opened() as transport:
        begun = asyncio.Event()

        async def ask() -> None:
            async with transport.send(Outgoing("POST", server.url, {}, b"{}")) as reply:
                async for _ in reply.pieces:
                    begun.set()

        asking = asyncio.create_task(ask())
        await begun.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        async with asyncio.timeout(10):
            await server.gone.wait()


@pytest.mark.parametrize("wire", [CHUNKED + b"2\r\n{}\r\n", b"HTTP/1.1 200 OK\r\n\r\n{}"])
async def test_closing_it_breaks_off_what_is_under_way(wire: bytes) -> None:
    async def speak(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(wire)
        await reader.read()

    async with serving(speak) as server, opened() as transport:
        async with transport.send(Outgoing("POST", server.url, {}, b"{}")) as reply:
            pieces = aiter(reply.pieces)
            assert await anext(pieces) == b"{}"
            await transport.close()
            with pytest.raises(aiohttp.ClientPayloadError):
                await anext(pieces)
        async with asyncio.timeout(10):
            await server.gone.wait()


@over_both
async def test_closing_it_closes_what_is_kept() -> None:
    async with serving(saying(GOOD, GOOD)) as server, opened() as transport:
        await said(transport, server)
        await transport.close()
        async with asyncio.timeout(10):
            await server.gone.wait()


async def test_a_connection_that_is_lost_before_it_is_used_is_a_broken_one() -> None:
    for lost, failure in ((None, aiohttp.ServerDisconnectedError), (ConnectionResetError(), aiohttp.ClientOSError)):
        connected = Connected(asyncio.get_running_loop())
        connected.connection_lost(lost)
        with pytest.raises(failure):
            connected.ask(b"GET / HTTP/1.1\r\n\r\n", b"")


# --- what is aiohttp's ---


def served_by(transport: LeanTransport, outgoing: Outgoing) -> bool:
    return isinstance(transport.send(outgoing), Exchange)


async def test_what_is_out_of_the_ordinary_is_left_to_aiohttp() -> None:
    there = "https://api.example/v1"
    proxied = LeanTransport(Timeouts(), Network(by_proxy={"https": Route(aiohttp.client.URL("http://127.0.0.1:9"))}))
    assert not served_by(proxied, Outgoing("POST", there))
    assert served_by(proxied, Outgoing("POST", there.replace("https", "http")))
    plain = LeanTransport(Timeouts())
    assert served_by(plain, Outgoing("POST", there))
    for outgoing in (
        Outgoing("HEAD", there),
        Outgoing("OPTIONS", there),
        Outgoing("POST", there.replace("//", "//user:password@")),
        Outgoing("POST", "ws://api.example"),
        Outgoing("POST", "not a url"),
        Outgoing("POST", "http://"),
        Outgoing("POST", "http://host:port"),
        Outgoing("POST", there, {"Expect": "100-continue"}),
        Outgoing("POST", there, {"content-length": "7"}, b"{}"),
    ):
        assert not served_by(plain, outgoing), outgoing
    await plain.close()
    await proxied.close()


async def test_no_more_addresses_are_remembered_than_are_in_use() -> None:
    transport = LeanTransport(Timeouts())
    for number in range(1000):
        transport.send(Outgoing("POST", f"http://127.0.0.1:9/{number}"))
    assert len(transport._places) <= 256
    await transport.close()
