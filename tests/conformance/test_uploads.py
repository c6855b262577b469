"""Uploads to the real server: how much memory one takes, what an early end leaves behind."""

import hashlib
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.live import SERVERS, read_all
from tests.servers import Server, serving

SIZE = 256 * 1024 * 1024
MOST_GROWTH = 32 * 1024 * 1024
HEAD = b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n--x\r\n'
HEAD += b'Content-Disposition: form-data; name="file"; filename="large"\r\n\r\n'
TAIL = b"\r\n--x--\r\n"
KIND = {"Content-Type": "multipart/form-data; boundary=x"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("uploads")
    with serving("remote-only", "--server", request.param, home=home) as running:
        yield running


def form(size: int) -> Iterator[bytes]:
    yield HEAD
    for _ in range(size // 65_536):
        yield bytes(65_536)
    yield TAIL


def peak(server: Server) -> int:
    """The most memory that the server ever had, in bytes."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@pytest.mark.parametrize("server", ["uvicorn"], indirect=True)
def test_memory_does_not_grow_with_a_file(server: Server) -> None:
    url = f"{server.url}/v1/files"
    small = httpx.post(url, content=form(65_536), headers=KIND).json()
    httpx.get(f"{url}/{small['id']}/content")
    before = peak(server)
    made = httpx.post(url, content=form(SIZE), headers=KIND, timeout=60).json()
    assert made["bytes"] == SIZE
    digest = hashlib.sha256()
    with httpx.stream("GET", f"{url}/{made['id']}/content", timeout=60) as content:
        for piece in content.iter_bytes():
            digest.update(piece)
    assert digest.digest() == hashlib.sha256(bytes(SIZE)).digest()
    assert peak(server) - before <= MOST_GROWTH


@pytest.mark.parametrize("server", ["daphne"], indirect=True)
def test_daphne_which_has_a_body_in_memory_takes_less(server: Server) -> None:
    made = httpx.post(f"{server.url}/v1/files", content=form(8 * 1024 * 1024), headers=KIND)
    assert made.json()["bytes"] == 8 * 1024 * 1024
    assert httpx.post(f"{server.url}/v1/files", content=form(SIZE), headers=KIND).status_code == 413


def test_an_upload_that_breaks_off_leaves_nothing(server: Server) -> None:
    url = f"{server.url}/v1/files"
    before = {file["id"] for file in httpx.get(url).json()["data"]}
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=10)) as client:
        client.sendall(b"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n")
        client.sendall(b"Content-Type: multipart/form-data; boundary=x\r\n\r\n" + HEAD + bytes(1_000_000))
    assert {file["id"] for file in httpx.get(url).json()["data"]} == before
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=10)) as client:
        client.sendall(b"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000000000\r\n")
        client.sendall(b"Content-Type: multipart/form-data; boundary=x\r\n\r\n")
        assert b" 413 " in read_all(client)[:20]


def test_who_may_not_upload_is_told_before_the_file_is_read(tmp_path: Path) -> None:
    env = {"LLAMA_STACK_AUTH": "required"}
    with serving("remote-only", home=tmp_path, env=env) as server:
        with closing(socket.create_connection(("127.0.0.1", server.port), timeout=10)) as client:
            client.sendall(b"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n")
            client.sendall(b"Content-Type: multipart/form-data; boundary=x\r\n\r\n" + HEAD)
            assert b" 401 " in client.recv(100)[:20]
