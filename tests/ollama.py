"""A scripted Ollama server, as its documentation has it: https://github.com/ollama/ollama/blob/main/docs/api.md"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests import upstream as dialect
from tests.upstream import UPSTREAM, Upstream, on_loopback

LAYER = "sha256:8daa9615cce30c259a9555b1cc250d461d1bc69980a274b44d7eda0be78076d8"
CONFIG = "sha256:34bb5ab01051a11372a91f95f3fbbc51173eed8e7f13ec395b9ae9b8bd0e242b"


def layer(completed: int | None, total: int = 2_000, digest: str = LAYER) -> dict[str, Any]:
    """A line of a pull. Before anything of a layer has come, `completed` may be left out."""
    line = {"status": f"pulling {digest[7:19]}", "digest": digest, "total": total}
    return line if completed is None else line | {"completed": completed}


BEGINS = [{"status": "pulling manifest"}, layer(None)]
ENDS = [{"status": "verifying sha256 digest"}, {"status": "writing manifest"}, {"status": "success"}]
WHOLE = [*BEGINS, layer(500), layer(2_000), layer(561, 561, CONFIG), *ENDS]


@dataclass
class OllamaServer:
    """`library` is what can be pulled: a model -> the lines of its pull. A None in them waits for `go_on`.

    Without `keeps` it says that it has pulled a model, and lacks it still.
    """

    library: dict[str, list[dict[str, Any] | None]] = field(default_factory=dict)
    keeps: bool = True
    models: set[str] = field(default_factory=set)
    pulled: list[str] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    async def pull(self, request: web.Request) -> web.StreamResponse:
        name = (await request.json())["model"]
        self.pulled.append(name)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self._send(request, name)
        finally:
            self.at_once -= 1

    async def _send(self, request: web.Request, name: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        missing: list[dict[str, Any] | None] = [BEGINS[0], {"error": "pull model manifest: file does not exist"}]
        for line in self.library.get(name, missing):
            if line is None:
                self.waiting.set()
                await self.go_on.wait()
                continue
            if line.get("status") == "success" and self.keeps:
                self.models.add(name)
            await response.write(json.dumps(line).encode() + b"\n")
        return response

    async def generate(self, request: web.Request) -> web.StreamResponse:
        return self._refused(await request.json()) or await dialect.generate(request)

    async def embeddings(self, request: web.Request) -> web.StreamResponse:
        return self._refused(await request.json()) or await dialect.embeddings(request)

    def _refused(self, body: dict[str, Any]) -> web.Response | None:
        if body["model"] in self.models:
            return None
        said = {"message": f"model '{body['model']}' not found", "type": "not_found_error", "param": None, "code": None}
        return web.json_response({"error": said}, status=404)

    async def listed(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": name} for name in sorted(self.models)]})

    async def show(self, request: web.Request) -> web.Response:
        return web.json_response({"capabilities": ["completion"], "model_info": {}})


@asynccontextmanager
async def ollama(**library: list[dict[str, Any] | None]) -> AsyncIterator[OllamaServer]:
    server = OllamaServer(library)
    app = web.Application()
    app[UPSTREAM] = Upstream()
    app.router.add_post("/api/pull", server.pull)
    app.router.add_post("/api/show", server.show)
    app.router.add_get("/v1/models", server.listed)
    app.router.add_post("/v1/chat/completions", server.generate)
    app.router.add_post("/v1/completions", server.generate)
    app.router.add_post("/v1/embeddings", server.embeddings)
    async with on_loopback(app) as server.url:
        try:
            yield server
        finally:
            server.go_on.set()
