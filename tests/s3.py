"""Servers of S3's protocol for tests: a scripted one, which checks signatures and fails as it is told, and moto's."""

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSPreparedRequest, AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials

from tests.upstream import on_loopback

KEYS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI")
BEGUN = "2020-01-01T00:00:00.000Z"


@dataclass
class Failure:
    """What comes in place of the next answers to requests of this method whose address holds these words."""

    method: str
    code: str
    status: int = 400
    words: str = ""
    times: int = 1
    more: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def response(self) -> web.Response:
        return said(self.code, self.status, self.more, self.headers)


@dataclass
class ScriptedS3:
    """One bucket. `objects` by their keys; `uploads` by their ids, each with its key and its parts by number."""

    bucket: str | None = "kept"
    region: str = "us-east-1"
    url: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, tuple[str, dict[int, bytes]]] = field(default_factory=dict)
    begun: str = BEGUN
    asked: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)  # after how many bytes each of the next downloads breaks off
    held: asyncio.Event | None = None  # parts and objects wait for it
    arrived: asyncio.Event = field(default_factory=asyncio.Event)  # one of them has
    largest: int = 0
    _ids: Any = field(default_factory=lambda: itertools.count(1))

    def fail(self, *args: Any, **kwargs: Any) -> None:
        self.failures.append(Failure(*args, **kwargs))

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.largest = max(self.largest, len(body))
        self.asked.append(f"{request.method} {request.path_qs}")
        if failure := self._failure(request):
            return failure.response()
        if wrong := unsigned(request, body, self.region):
            return wrong
        bucket, _, key = request.path.removeprefix("/").partition("/")
        if not key and request.method == "PUT":
            self.bucket = bucket
            return web.Response()
        if bucket != self.bucket:
            return said("NoSuchBucket", 404)
        if request.method == "PUT" and self.held is not None:
            self.arrived.set()
            await self.held.wait()
        return await self._of_bucket(request, body) if not key else await self._of_object(request, key, body)

    def _failure(self, request: web.Request) -> Failure | None:
        for failure in self.failures:
            if failure.times and failure.method == request.method and failure.words in request.path_qs:
                failure.times -= 1
                return failure
        return None

    async def _of_bucket(self, request: web.Request, body: bytes) -> web.StreamResponse:
        if "uploads" not in request.query:
            return xml("<ListBucketResult></ListBucketResult>")
        found = [one for one in self.uploads if one > request.query.get("upload-id-marker", "")]
        last = found[:1]
        told = "".join(
            f"<Upload><Key>{self.uploads[one][0]}</Key><UploadId>{one}</UploadId><Initiated>{self.begun}</Initiated></Upload>"
            for one in last
            if self.uploads[one][0].startswith(request.query["prefix"])
        )
        more = len(found) > 1
        marks = f"<NextKeyMarker>k</NextKeyMarker><NextUploadIdMarker>{last[0]}</NextUploadIdMarker>" if more else ""
        told += f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>{marks}"
        return xml(
            f'<ListMultipartUploadsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{told}</ListMultipartUploadsResult>'
        )

    async def _of_object(self, request: web.Request, key: str, body: bytes) -> web.StreamResponse:
        upload = request.query.get("uploadId")
        if upload is not None and upload not in self.uploads:
            return said("NoSuchUpload", 404)
        match request.method:
            case "POST" if upload is None:
                made = f"up/{next(self._ids):04d}=="
                self.uploads[made] = (key, {})
                return xml(
                    f"<InitiateMultipartUploadResult><UploadId>{made}</UploadId></InitiateMultipartUploadResult>"
                )
            case "POST":
                assert upload is not None
                _, parts = self.uploads.pop(upload)
                assert body.count(b"<Part>") == len(parts)
                assert all(tag(part).encode() in body.replace(b"&quot;", b'"') for part in parts.values())
                self.objects[key] = b"".join(parts[number] for number in sorted(parts))
                return xml("<CompleteMultipartUploadResult></CompleteMultipartUploadResult>")
            case "PUT" if upload is not None:
                self.uploads[upload][1][int(request.query["partNumber"])] = body
                return web.Response(headers={"ETag": tag(body)})
            case "PUT":
                self.objects[key] = body
                return web.Response(headers={"ETag": tag(body)})
            case "DELETE":
                self.uploads.pop(upload, None) if upload else self.objects.pop(key, None)
                return web.Response(status=204)
        return await self._download(request, key)

    async def _download(self, request: web.Request, key: str) -> web.StreamResponse:
        if key not in self.objects:
            return said("NoSuchKey", 404)
        asked = request.http_range
        content = self.objects[key][asked]
        if not content:
            return said("InvalidRange", 416)
        if not self.cuts:
            return web.Response(body=content, status=206)
        response = web.StreamResponse(status=206, headers={"Content-Length": str(len(content))})
        await response.prepare(request)
        await response.write(content[: self.cuts.pop(0)])
        assert request.transport is not None
        request.transport.close()
        return response


def tag(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'


def xml(text: str, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        text=f"<?xml version='1.0'?>{text}", status=status, content_type="application/xml", headers=headers
    )


def said(code: str, status: int, more: str = "", headers: dict[str, str] | None = None) -> web.Response:
    return xml(f"<Error><Code>{code}</Code><Message>told you so</Message>{more}</Error>", status, headers)


def unsigned(request: web.Request, body: bytes, region: str) -> web.Response | None:
    """What S3 answers to a request whose signature is none of ours: it is made anew, of what has arrived."""
    given = request.headers.get("Authorization", "")
    if f"Credential={KEYS.access_key}/" not in given:
        return said("InvalidAccessKeyId", 403)
    if f"/{region}/s3/" not in given:
        return said("AuthorizationHeaderMalformed", 400, f"<Region>{region}</Region>")
    names = given.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    url = f"{request.scheme}://{request.host}{request.raw_path}"
    headers = {name: request.headers[name] for name in names}
    signed = AWSRequest(request.method, url, headers, body)
    signed.context["timestamp"] = request.headers["X-Amz-Date"]
    auth = S3SigV4Auth(KEYS, "s3", region)
    if hashlib.sha256(body).hexdigest() != request.headers["X-Amz-Content-SHA256"]:
        return said("XAmzContentSHA256Mismatch", 400)
    signature = auth.signature(auth.string_to_sign(signed, auth.canonical_request(signed)), signed)
    return None if given.endswith(f"Signature={signature}") else said("SignatureDoesNotMatch", 403)


@asynccontextmanager
async def serving(s3: ScriptedS3 | None = None) -> AsyncIterator[ScriptedS3]:
    s3 = s3 or ScriptedS3()
    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/{path:.*}", s3.answer)
    async with on_loopback(app) as s3.url:
        try:
            yield s3
        finally:
            if s3.held is not None:
                s3.held.set()


@asynccontextmanager
async def by_moto() -> AsyncIterator[str]:
    """moto's S3, which its tests of boto3 have in the process, on a port of the loopback; empty."""
    from moto.backends import get_backend
    from moto.core.botocore_stubber import BotocoreStubber

    stubber = BotocoreStubber()
    get_backend("s3").reset()

    async def answer(request: web.Request) -> web.Response:
        headers = HTTPHeaders()
        for name, value in request.headers.items():
            headers[name] = "s3.amazonaws.com" if name == "Host" else value
        url = f"https://s3.amazonaws.com{request.raw_path}"
        asked = AWSPreparedRequest(request.method, url, headers, await request.read(), stream_output=False)
        found = stubber.process_request(asked)
        assert found is not None
        status, told, body = found
        content = body.encode() if isinstance(body, str) else body
        kept = {name: value for name, value in told.items() if name.lower() not in ("content-length", "connection")}
        return web.Response(body=content, status=status, headers=kept)

    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/{path:.*}", answer)
    async with on_loopback(app) as url:
        yield url
    get_backend("s3").reset()
