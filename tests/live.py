"""A real server before the small upstream, both outside of the test's own event loop."""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal

from tests import upstream as dialect
from tests.servers import ANSWER_SECONDS, Server, serving
from tests.upstream import Upstream

SERVERS = ["uvicorn", "daphne"]
MODELS = ["sky-1", "endless", "cut", "broken", "nonsense", "held", "status-429", "status-500"]
EMBEDDING = "openai/vectors"
RERANK = "openai/ranker"
MAX_BODY = 100_000
DISCOVERY_SECONDS = ASKED_SECONDS = 60


@dataclass
class Live:
    """`kind` is the server's name; the upstream is its provider `openai`, and lives in a thread of its own.

    `headers` are an admin's, where keys are asked for.
    """

    kind: str
    server: Server
    upstream: Upstream
    portal: BlockingPortal
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.server.url

    def upstream_closes(self, seconds: float) -> None:
        """Wait until the upstream's endless answer was closed. Raises TimeoutError."""

        async def closed() -> None:
            await asyncio.wait_for(self.upstream.closed.wait(), seconds)
            self.upstream.closed.clear()

        self.portal.call(closed)

    def forget(self) -> None:
        """Whatever the upstream was asked, and whether it was left."""
        self.upstream.requests.clear()
        self.portal.call(self.upstream.closed.clear)

    def upstream_is_asked(self, model: str, times: int) -> None:
        """Wait until the upstream was asked so often for a model."""
        began = time.monotonic()
        while [body["model"] for body in self.upstream.requests].count(model) < times:
            assert time.monotonic() - began < ASKED_SECONDS
            time.sleep(0.01)

    def release(self) -> None:
        """Let the upstream answer who asked for the model `held`."""
        self.portal.call(self.upstream.released.set)

    def raw(self, *parts: bytes) -> bytes:
        """What the server answers to these bytes until it closes the connection."""
        with closing(self.connected()) as client:
            for part in parts:
                client.sendall(part)
            return read_all(client)

    def connected(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=10)


def read_all(client: socket.socket) -> bytes:
    answer = b""
    try:
        while piece := client.recv(2**16):
            answer += piece
    except ConnectionResetError:  # closed while we still sent
        pass
    return answer


@contextmanager
def live(kind: str, home: Path, config: str = "remote-only", workers: int = 1, **variables: str) -> Iterator[Live]:
    """`llama stack run CONFIG --server KIND`, its upstream's models listed. `variables` set its environment."""
    with start_blocking_portal() as portal:
        with portal.wrap_async_context_manager(dialect.serving(Upstream(models=MODELS))) as upstream:
            env = {"OPENAI_API_KEY": "sk-upstream", "OPENAI_BASE_URL": upstream.url}
            with serving(config, "--server", kind, "--workers", str(workers), home=home, env=env | variables) as server:
                asks = variables.get("LLAMA_STACK_AUTH") == "required"
                headers = {"Authorization": f"Bearer {server.first_key}"} if asks else {}
                discovered(server, headers)
                _registered(server, headers)
                yield Live(kind, server, upstream, portal, headers)


def discovered(server: Server, headers: dict[str, str] | None = None) -> None:
    """Until the upstream's models are listed: the server is ready before it has asked for them."""
    began = time.monotonic()
    while "openai/endless" not in httpx.get(f"{server.url}/v1/models", headers=headers, timeout=ANSWER_SECONDS).text:
        assert time.monotonic() - began < DISCOVERY_SECONDS, server.output
        time.sleep(0.02)


def _registered(server: Server, headers: dict[str, str]) -> None:
    """Models of the upstream that embed and rerank, which its list does not tell from the others."""
    for body in (
        {"model_id": EMBEDDING, "model_type": "embedding", "metadata": {"embedding_dimension": 2}},
        {"model_id": RERANK, "model_type": "rerank"},
    ):
        assert (
            httpx.post(f"{server.url}/v1/models", json=body, headers=headers, timeout=ANSWER_SECONDS).status_code == 200
        )
