"""Files kept at OpenAI, where its own API finds them too; each is known here by an id of our own.

What is sent: https://platform.openai.com/docs/api-reference/files and …/uploads
"""

import asyncio
import hashlib
import mimetypes
import re
import secrets
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, get_args
from urllib.parse import quote

from pydantic import Field, SecretStr, field_validator

from apps.files.protocol import Kept, NewFile
from apps.files.providers.disk import FULL, WRITE_BYTES, gathered
from apps.files.providers.remote.upstream import RemoteFiles
from apps.files.schemas import FileUpload, UploadPurpose
from llamastack.egress import Egress
from llamastack.egress.network import RemoteConfig
from llamastack.errors import DiskFull, StackError, Unavailable, UpstreamError, UpstreamRejected
from llamastack.home import home
from llamastack.providers import Health

PART_BYTES = 8 * 1024 * 1024  # of those that an upload is sent in; OpenAI takes up to 64 MB
CANCEL_SECONDS = 10.0
LINES = "text/jsonl"
ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.:-]{0,254}")  # as long as a row holds, and no other place in a path
OTHER_PURPOSE = "user_data"  # of what the server itself writes, such as a batch's output: no client may say that


class OpenAIFilesConfig(RemoteConfig):
    base_url: str = Field("https://api.openai.com/v1", description="Where its API begins")
    api_key: SecretStr
    metadata_store: dict[str, Any] | None = Field(
        None, description="Where Llama Stack keeps what it knows of a file. Here that is the one database."
    )

    @field_validator("base_url")
    @classmethod
    def an_address(cls, value: str) -> str:
        """The text is not repeated: it may hold a password."""
        if not value.startswith(("http://", "https://")):
            raise ValueError("this is no address of a server: write https://host/v1")
        return value.rstrip("/")

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        return {"api_key": "key"}


class OpenAIFiles(RemoteFiles):
    """Keeps files in the account of the API key. OpenAI wants to know a file's size before its first byte: what is
    uploaded waits on this server's disk until it is whole. Of files for `assistants` it gives no content back."""

    config_class = OpenAIFilesConfig
    config: OpenAIFilesConfig
    egress: Egress

    async def start(self) -> None:
        authorization = {"Authorization": f"Bearer {self.config.api_key.get_secret_value()}"}
        self.egress = await self.open(self.config.base_url, authorization)

    async def health(self) -> Health:
        try:
            with self._keys_told():
                await self.egress.get("files?limit=1")
        except StackError as error:
            return Health(False, error.message)
        return Health(True)

    async def write(self, file_id: str, new: NewFile) -> Kept:
        spool = await spooled(new.content)
        try:
            described = new.described()
            if not spool.bytes:
                return Kept(0, file_id)  # which the service refuses
            with self._keys_told():
                if spool.bytes <= PART_BYTES:
                    answer = await self._sent(described, await spool.read(0))
                else:
                    answer = await self._sent_in_parts(described, spool)
            return Kept(spool.bytes, self._id(answer))
        finally:
            spool.file.close()

    async def _sent(self, described: FileUpload, content: bytes) -> Any:
        fields = {"purpose": purpose(described)}
        if expiry := described.expires_after:
            fields |= {"expires_after[anchor]": expiry.anchor, "expires_after[seconds]": str(expiry.seconds)}
        body, kind = form(fields, "file", described.filename, content)
        return await self.egress.post("files", body, {"Content-Type": kind})

    async def _sent_in_parts(self, described: FileUpload, spool: "Spool") -> Any:
        """The file of an upload that is complete; one that cannot be completed is cancelled."""
        begun: dict[str, Any] = {
            "filename": described.filename,
            "purpose": purpose(described),
            "bytes": spool.bytes,
            "mime_type": media_type(described.filename),
        }
        if described.expires_after:
            begun["expires_after"] = described.expires_after.model_dump()
        upload = f"uploads/{quote(self._id(await self.egress.post('uploads', begun)), safe='')}"
        try:
            parts = []
            for start in range(0, spool.bytes, PART_BYTES):
                body, kind = form({}, "data", "part", await spool.read(start))
                parts.append(self._id(await self.egress.post(f"{upload}/parts", body, {"Content-Type": kind})))
            answer = await self.egress.post(f"{upload}/complete", {"part_ids": parts, "md5": spool.md5.hexdigest()})
        except BaseException:  # the client has gone, or OpenAI refuses it
            await self._cancel(upload)
            raise
        return answer.get("file") if isinstance(answer, dict) else None

    async def _cancel(self, upload: str) -> None:
        """Where it fails, OpenAI itself gives the upload up an hour after it was begun."""
        try:
            async with asyncio.timeout(CANCEL_SECONDS):
                await self.egress.post(f"{upload}/cancel", {})
        except (StackError, TimeoutError):
            return

    def _id(self, answer: Any) -> str:
        found = answer.get("id") if isinstance(answer, dict) else None
        if not isinstance(found, str) or not ID.fullmatch(found):
            raise UpstreamError(f"{self.upstream} answered with something that has no id.")
        return found

    async def read(self, name: str, start: int, end: int) -> AsyncIterator[bytes]:
        async with aclosing(self._content(name, start, end)) as pieces:
            async for piece in pieces:
                start += len(piece)
                yield piece
        if start < end:
            raise Unavailable("The content of this file is shorter than it was.")

    async def _content(self, name: str, start: int, end: int) -> AsyncGenerator[bytes]:
        """Whether OpenAI sends all of it or the part that is asked for."""
        headers = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
        with self._gone_told(), self._keys_told():
            async with self.egress.download(f"files/{quote(name, safe='')}/content", headers) as reply:
                place = start if reply.status == 206 else 0
                async for piece in reply.pieces:
                    if wanted := piece[max(0, start - place) : max(0, end - place)]:
                        yield wanted
                    place += len(piece)
                    if place >= end:
                        return

    async def delete(self, name: str) -> None:
        try:
            with self._keys_told():
                await self.egress.whole("DELETE", f"files/{quote(name, safe='')}", None, {})
        except UpstreamRejected as error:
            if error.status != 404:
                raise

    async def sweep(self) -> None:
        """There is nothing: an upload that was not completed is given up by OpenAI."""

    @contextmanager
    def _gone_told(self) -> Iterator[None]:
        try:
            yield
        except UpstreamRejected as error:
            if error.status != 404:
                raise
            raise Unavailable(f"{self.upstream} has the content of this file no more: {error.message}") from error

    @contextmanager
    def _keys_told(self) -> Iterator[None]:
        """Its key is the operator's: that it is refused is no fault of the caller's key."""
        try:
            yield
        except UpstreamRejected as error:
            if error.status not in (401, 403):
                raise
            raise UpstreamError(error.message) from error


class Spool:
    """A file without a name on this server's disk, gone with the process."""

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile(dir=home(), buffering=0)  # noqa: SIM115 - its user closes it
        self.bytes = 0
        self.md5 = hashlib.md5(usedforsecurity=False)

    def add(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            self.md5.update(piece)
            self.bytes += len(piece)
            data = memoryview(piece)
            while data:
                data = data[self.file.write(data) :]

    async def read(self, start: int) -> bytes:
        return await asyncio.to_thread(self._read, start)

    def _read(self, start: int) -> bytes:
        self.file.seek(start)
        return self.file.read(PART_BYTES)


async def spooled(content: AsyncIterator[bytes]) -> Spool:
    spool: Spool | None = None
    try:
        spool = await asyncio.to_thread(Spool)
        async for pieces in gathered(content, WRITE_BYTES):
            await asyncio.to_thread(spool.add, pieces)
    except OSError as error:
        if spool is not None:
            spool.file.close()
        if error.errno in FULL:
            raise DiskFull("There is no room on the server's disk for this file to wait there.") from error
        raise Unavailable(f"The server's disk cannot be used: {error.strerror}.") from error
    except BaseException:  # the client has gone, or what it sends is wrong
        if spool is not None:
            spool.file.close()
        raise
    return spool


def purpose(described: FileUpload) -> str:
    return described.purpose if described.purpose in get_args(UploadPurpose) else OTHER_PURPOSE


def media_type(filename: str) -> str:
    if filename.endswith(".jsonl"):
        return LINES
    return mimetypes.guess_type(filename)[0] or "application/octet-stream"


def form(fields: dict[str, str], name: str, filename: str, content: bytes) -> tuple[bytes, str]:
    """A multipart form with a file, and its content type."""
    boundary = secrets.token_hex(16)
    quoted = filename.replace('"', "%22")  # as browsers write it; a name holds no line break
    head = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{text}\r\n'
        for key, text in fields.items()
    ]
    head.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{quoted}"\r\n')
    head.append(f"Content-Type: {media_type(filename)}\r\n\r\n")
    whole = b"".join(["".join(head).encode(), content, f"\r\n--{boundary}--\r\n".encode()])
    return whole, f"multipart/form-data; boundary={boundary}"
