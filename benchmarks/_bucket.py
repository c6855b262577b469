"""A bucket of S3's protocol on the loopback, whose objects lie in a folder."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from tests.upstream import on_loopback

PART_BYTES = 8 * 1024 * 1024
READ_BYTES = 256 * 1024


class Bucket:
    """It believes every signature, and takes parts of the one size."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        key = request.path.rpartition("/")[2]
        path = self.folder / key
        if not key:
            return web.Response(text="<ListBucketResult></ListBucketResult>")
        match request.method:
            case "POST" if "uploads" in request.query:
                answer = "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"
                return web.Response(text=answer)
            case "POST":
                return web.Response(text="<CompleteMultipartUploadResult></CompleteMultipartUploadResult>")
            case "PUT":
                await self._keep(request, path)
                return web.Response(headers={"ETag": '"1"'})
            case "DELETE":
                path.unlink(missing_ok=True)
                return web.Response(status=204)
        return await self._sent(request, path)

    async def _keep(self, request: web.Request, path: Path) -> None:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT), "wb") as file:  # noqa: ASYNC230 - nobody else waits
            file.seek((int(request.query.get("partNumber", 1)) - 1) * PART_BYTES)
            async for piece in request.content.iter_any():
                file.write(piece)

    async def _sent(self, request: web.Request, path: Path) -> web.StreamResponse:
        asked = request.http_range
        start, end = asked.start, asked.stop
        response = web.StreamResponse(status=206, headers={"Content-Length": str(end - start)})
        await response.prepare(request)
        with path.open("rb") as file:
            file.seek(start)
            while start < end and (piece := file.read(min(READ_BYTES, end - start))):
                start += len(piece)
                await response.write(piece)
        return response


@asynccontextmanager
async def bucket(folder: Path) -> AsyncIterator[tuple[Bucket, str]]:
    kept = Bucket(folder)
    app = web.Application(client_max_size=2**40)
    app.router.add_route("*", "/{path:.*}", kept.answer)
    async with on_loopback(app) as url:
        yield kept, url
