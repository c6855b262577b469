"""A bucket: requests to it, signed, tried again where S3 is busy, and every refusal as a StackError."""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from urllib.parse import quote
from xml.etree import ElementTree

from apps.files.providers.remote.s3.refusals import Busy, Gone, code_of, meaning, of_code
from llamastack.egress import Egress
from llamastack.egress.failures import Refusal
from llamastack.errors import StackError, UpstreamError

PAUSES = (0.5, 2.0, 6.0)  # seconds at most, before S3 is asked again
ABORT_SECONDS = 10.0
MOST_PAGES = 100
AS_IT_IS = {"Accept-Encoding": "identity"}
EASTERN = "us-east-1"  # whose buckets are made without a place
logger = logging.getLogger(__name__)


class Bucket:
    """Paths are below the bucket: a key, and what is asked of it."""

    def __init__(self, egress: Egress, name: str, region: str) -> None:
        self.egress, self.name, self.region = egress, name, region
        self.pauses = PAUSES

    async def put(self, path: str, body: bytes) -> Mapping[str, str]:
        """The headers of the reply."""
        return (await self._asked("PUT", path, body))[0]

    async def delete(self, key: str) -> None:
        await self._asked("DELETE", key)

    async def check(self) -> None:
        """Raises what would keep files from being read here, at once: health is given three seconds."""
        await self._asked_once("GET", "?list-type=2&max-keys=0")

    async def make(self) -> None:
        """The bucket itself. One that is ours already is left as it is."""
        place = f"<LocationConstraint>{self.region}</LocationConstraint>"
        body = f'<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{place}'
        whole = f"{body}</CreateBucketConfiguration>".encode()
        try:
            await self._asked("PUT", "", None if self.region == EASTERN else whole)
        except UpstreamError as error:
            if _said(error) != "BucketAlreadyOwnedByYou":
                raise

    async def content(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `end`; where the connection breaks, the rest is asked for anew."""
        while start < end:
            before = start
            try:
                async with aclosing(self._part(key, start, end)) as pieces:
                    async for piece in pieces:
                        start += len(piece)
                        yield piece
            except UpstreamError:
                if start == before:
                    raise
            if start == before:
                raise Gone(f"The content of this file in bucket '{self.name}' is shorter than it was.")

    async def _part(self, key: str, start: int, end: int) -> AsyncGenerator[bytes]:
        headers = {"Range": f"bytes={start}-{end - 1}", **AS_IT_IS}
        with self._told():
            async with self.egress.download(key, headers) as reply:
                if reply.status != 206 and start:
                    raise UpstreamError(f"{self.egress.upstream} sent another part of the file than was asked for.")
                async for piece in reply.pieces:
                    yield piece[: end - start]
                    start += len(piece)
                    if start >= end:
                        return

    # --- uploads in parts ---

    async def begin(self, key: str) -> str:
        """The id of an upload in parts."""
        _, answer = await self._asked("POST", f"{key}?uploads=")
        found = self._read(answer).findtext("{*}UploadId")
        if not found:
            raise UpstreamError(f"{self.egress.upstream} began an upload and gave it no id.")
        return found

    async def add(self, key: str, upload_id: str, number: int, body: bytes) -> str:
        """The tag of a part."""
        headers = await self.put(f"{key}?partNumber={number}&uploadId={quote(upload_id, safe='')}", body)
        return headers.get("etag", "")

    async def complete(self, key: str, upload_id: str, tags: list[str]) -> None:
        """S3 may refuse this one with a status of 200."""
        root = ElementTree.Element("CompleteMultipartUpload", xmlns="http://s3.amazonaws.com/doc/2006-03-01/")
        for number, tag in enumerate(tags, 1):
            part = ElementTree.SubElement(root, "Part")
            ElementTree.SubElement(part, "PartNumber").text = str(number)
            ElementTree.SubElement(part, "ETag").text = tag
        path = f"{key}?uploadId={quote(upload_id, safe='')}"
        headers, answer = await self._asked("POST", path, ElementTree.tostring(root))
        if b"CompleteMultipartUploadResult" not in answer:
            code = code_of(answer)
            raise of_code(code, answer, headers, self.egress.upstream, self.name) or UpstreamError(
                f"{self.egress.upstream} did not put the file together: {code or 'it says not why'}."
            )

    async def abort(self, key: str, upload_id: str) -> None:
        """Harmless to repeat. Where it fails, the sweep does it later."""
        try:
            async with asyncio.timeout(ABORT_SECONDS):
                await self._asked("DELETE", f"{key}?uploadId={quote(upload_id, safe='')}")
        except (StackError, TimeoutError) as error:
            if _said(error) != "NoSuchUpload":
                logger.warning(
                    "An upload to bucket %s was broken off, and its parts are there yet: %s", self.name, error
                )

    async def uploads(self, prefix: str) -> AsyncIterator[tuple[str, str, str]]:
        """Those that were begun and not ended: key, id and when, as ISO 8601 has it."""
        after = ""
        for _ in range(MOST_PAGES):
            _, answer = await self._asked("GET", f"?prefix={quote(prefix, safe='')}{after}&uploads=")
            page = self._read(answer)
            for upload in page.findall("{*}Upload"):
                yield tuple(upload.findtext(f"{{*}}{name}") or "" for name in ("Key", "UploadId", "Initiated"))  # type: ignore[misc]
            if page.findtext("{*}IsTruncated") != "true":
                return
            markers = (
                quote(page.findtext(f"{{*}}Next{name}") or "", safe="") for name in ("KeyMarker", "UploadIdMarker")
            )
            after = "&key-marker={}&upload-id-marker={}".format(*markers)

    # --- one request ---

    async def _asked(self, method: str, path: str, body: bytes | None = None) -> tuple[Mapping[str, str], bytes]:
        for pause in (*self.pauses, None):
            try:
                return await self._asked_once(method, path, body)
            except Busy:
                if pause is None:
                    raise
                await asyncio.sleep(pause * random.random())
        raise AssertionError  # the last pause is None

    async def _asked_once(self, method: str, path: str, body: bytes | None = None) -> tuple[Mapping[str, str], bytes]:
        with self._told():
            reply, answer = await self.egress.whole(method, path, body, AS_IT_IS)
            return reply.headers, answer

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except StackError as error:
            if not isinstance(error.__cause__, Refusal):
                raise
            raise meaning(error.__cause__, self.egress.upstream, self.name, error) from error.__cause__

    def _read(self, answer: bytes) -> ElementTree.Element:
        try:
            return ElementTree.fromstring(answer)  # noqa: S314 - expat bounds what entities grow to
        except ElementTree.ParseError as error:
            raise UpstreamError(f"{self.egress.upstream} answered with something that is not XML.") from error


def _said(error: BaseException) -> str:
    return code_of(error.__cause__.body) if isinstance(error.__cause__, Refusal) else ""
