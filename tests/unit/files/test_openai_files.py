"""remote::openai: a file is kept in the account of the key, under an id of OpenAI's that nobody here gets to see."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from pydantic import ValidationError

from apps.files.models import File
from apps.files.protocol import NewFile
from apps.files.providers.remote.openai import PART_BYTES, OpenAIFiles, OpenAIFilesConfig
from apps.files.schemas import ExpiresAfter, FileUpload
from apps.registry import service
from apps.registry.models import Provider
from llamastack.db import db
from llamastack.egress.retries import Retries
from llamastack.errors import BadRequest, DiskFull, Unavailable, UpstreamError, UpstreamRejected
from llamastack.stack import LlamaStack
from tests.unit.files.test_files_api import LINES, URL, little_room, refused, upload
from tests.unit.files.test_s3 import pieces
from tests.upstream import answering, on_loopback

FILE = "file-0123"
MAX_PART = 64 * 1024 * 1024


@dataclass
class Account:
    """Files and uploads as OpenAI keeps them, and what it was told of each."""

    url: str = ""
    ranges: bool = True
    files: dict[str, bytes] = field(default_factory=dict)
    told: list[dict[str, Any]] = field(default_factory=list)
    uploads: dict[str, tuple[dict[str, Any], dict[str, bytes]]] = field(default_factory=dict)
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)  # by the end of a path
    held: asyncio.Event | None = None
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.StreamResponse:  # noqa: C901 - a table of routes
        for end, (status, message) in self.refusals.items():
            if request.path.endswith(end):
                return web.json_response({"error": {"message": message}}, status=status)
        if request.headers.get("Authorization") != "Bearer sk-ours":
            return web.json_response({"error": {"message": "Incorrect API key provided"}}, status=401)
        match request.method, request.path.strip("/").split("/")[1:]:
            case "GET", ["files"]:
                return web.json_response({"data": []})
            case "POST", ["files"]:
                return self._kept(*await read(request, "file"))
            case "POST", ["uploads"]:
                body = await request.json()
                self.uploads["upload_1"] = (body, {})
                return web.json_response({"id": "upload_1"})
            case "POST", ["uploads", name, "parts"]:
                return await self._part(request, name)
            case "POST", ["uploads", name, "complete"]:
                return self._completed(*self.uploads.pop(name), await request.json())
            case "POST", ["uploads", name, "cancel"]:
                del self.uploads[name]
                return web.json_response({"id": name, "status": "cancelled"})
            case "DELETE", ["files", name] if self.files.pop(name, None) is not None:
                return web.json_response({"id": name, "deleted": True})
            case "GET", ["files", name, "content"] if name in self.files:
                if not self.ranges:
                    return web.Response(body=self.files[name])
                return web.Response(body=self.files[name][request.http_range], status=206)
        return web.json_response({"error": {"message": "No such File object"}}, status=404)

    def _kept(self, fields: dict[str, Any], content: bytes) -> web.Response:
        name = f"file-theirs{len(self.told)}"
        self.told.append(fields)
        self.files[name] = content
        return web.json_response({"id": name, "object": "file", "bytes": len(content)})

    async def _part(self, request: web.Request, name: str) -> web.Response:
        _, content = await read(request, "data")
        assert len(content) <= MAX_PART
        if self.held is not None:
            self.arrived.set()
            await self.held.wait()
        parts = self.uploads[name][1]
        part = f"part_{len(parts)}"
        parts[part] = content
        return web.json_response({"id": part})

    def _completed(self, told: dict[str, Any], parts: dict[str, bytes], body: dict[str, Any]) -> web.Response:
        content = b"".join(parts[part] for part in body["part_ids"])
        assert (told["bytes"], body["md5"]) == (len(content), hashlib.md5(content).hexdigest())
        answer = self._kept(told, content)
        return web.json_response({"id": "upload_1", "file": {"id": list(self.files)[-1]}}, status=answer.status)


async def read(request: web.Request, name: str) -> tuple[dict[str, Any], bytes]:
    fields = dict(await request.post())
    file = fields.pop(name)
    assert isinstance(file, web.FileField)
    with file.file:
        return {**fields, "filename": file.filename}, file.file.read()


@asynccontextmanager
async def serving() -> AsyncIterator[Account]:
    account = Account()
    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/{path:.*}", account.answer)
    async with on_loopback(app) as address:
        account.url = f"{address}/v1"
        yield account
        if account.held is not None:
            account.held.set()


@pytest.fixture
async def account() -> AsyncIterator[Account]:
    async with serving() as account:
        yield account


@pytest.fixture
async def store(account: Account) -> AsyncIterator[OpenAIFiles]:
    made = await started(account.url)
    yield made
    await made.stop()


async def started(url: str, key: str = "sk-ours") -> OpenAIFiles:
    store = OpenAIFiles("o", OpenAIFilesConfig.model_validate({"base_url": url, "api_key": key}))
    await store.start()
    store.egress.retries = Retries(first_pause=0)
    return store


def new(content: Any, name: str = "a.jsonl", purpose: Any = "batch", expiry: ExpiresAfter | None = None) -> NewFile:
    body = pieces(content) if isinstance(content, bytes) else content
    return NewFile(body, lambda: FileUpload(filename=name, purpose=purpose, expires_after=expiry))


async def got(store: OpenAIFiles, name: str, start: int, end: int) -> bytes:
    return b"".join([piece async for piece in store.read(name, start, end)])


async def test_a_small_file_is_sent_in_one_form(store: OpenAIFiles, account: Account) -> None:
    expiry = ExpiresAfter(anchor="created_at", seconds=3600)
    kept = await store.write(FILE, new(LINES, 'ünï"code.jsonl', "vision", expiry))
    assert (kept.bytes, account.files) == (len(LINES), {kept.name: LINES})
    told = {"purpose": "vision", "filename": 'ünï"code.jsonl'}
    assert {name: account.told[0][name].replace("%22", '"') for name in told} == told
    assert account.told[0]["expires_after[seconds]"] == "3600"


async def test_a_large_one_is_sent_in_parts(store: OpenAIFiles, account: Account) -> None:
    content = os.urandom(2 * PART_BYTES + 7)
    kept = await store.write(FILE, new(content))
    assert (kept.bytes, account.files[kept.name] == content, account.uploads) == (len(content), True, {})
    assert account.told[0] == {
        "filename": "a.jsonl",
        "purpose": "batch",
        "bytes": len(content),
        "mime_type": "text/jsonl",
    }


async def test_what_the_server_writes_has_a_purpose_that_a_client_may_say(store: OpenAIFiles, account: Account) -> None:
    await store.write(FILE, new(b"{}", purpose="batch_output"))
    assert account.told[0]["purpose"] == "user_data"


@pytest.mark.parametrize("ranges", [True, False])
async def test_a_part_of_a_file_is_read_whether_openai_knows_ranges_or_not(
    store: OpenAIFiles, account: Account, ranges: bool
) -> None:
    account.ranges = ranges
    content = os.urandom(500_000)
    account.files["f"] = content
    for start, end in ((0, 500_000), (5, 6), (499_999, 500_000), (100_000, 400_000)):
        assert await got(store, "f", start, end) == content[start:end]
    with pytest.raises(Unavailable, match="shorter"):
        await got(store, "f", 0, 500_001)


async def test_a_file_that_is_gone_there_is_503_and_can_be_deleted(store: OpenAIFiles, account: Account) -> None:
    with pytest.raises(Unavailable, match="no more"):
        await got(store, "file-none", 0, 5)
    await store.delete("file-none")


@pytest.mark.parametrize("name", ["..", "a/b", "a\0", "a" * 256, "", 7, None])
async def test_an_id_that_is_none_is_an_error_of_the_upstream(name: Any) -> None:
    async with answering("files", {"id": name}) as url:
        store = await started(url)
        with pytest.raises(UpstreamError, match="no id"):
            await store.write(FILE, new(LINES))
        await store.stop()


async def test_content_that_openai_gives_nobody_is_its_own_error(store: OpenAIFiles, account: Account) -> None:
    account.refusals["/content"] = (400, "Not allowed to download files of purpose: assistants")
    with pytest.raises(UpstreamRejected, match="Not allowed to download") as caught:
        await got(store, "f", 0, 5)
    assert caught.value.status == 400


async def test_a_wrong_key_is_502_wherever_it_is_met(account: Account) -> None:
    store = await started(account.url, "sk-wrong")
    health = await store.health()
    assert (health.ok, "Incorrect API key" in health.message) == (False, True)
    for work in (store.write(FILE, new(b"abc")), got(store, "f", 0, 1), store.delete("f")):
        with pytest.raises(UpstreamError, match="Check the credentials set for this provider") as caught:
            await work
        assert caught.value.status == 502
    await store.stop()


@pytest.mark.parametrize("end", ["/parts", "/complete"])
async def test_an_upload_that_is_refused_is_cancelled(store: OpenAIFiles, account: Account, end: str) -> None:
    account.refusals[end] = (400, "told you so")
    with pytest.raises(UpstreamRejected, match="told you so"):
        await store.write(FILE, new(bytes(PART_BYTES + 1)))
    assert (account.files, account.uploads) == ({}, {})


async def test_so_is_one_whose_client_goes_away(store: OpenAIFiles, account: Account) -> None:
    account.held = asyncio.Event()
    writing = asyncio.create_task(store.write(FILE, new(bytes(PART_BYTES + 1))))
    await account.arrived.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert (account.files, account.uploads) == ({}, {})


async def test_a_form_that_is_wrong_never_leaves_this_server(store: OpenAIFiles, account: Account) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"abc"
        raise BadRequest("The upload broke off.")

    with pytest.raises(BadRequest):
        await store.write(FILE, new(broken()))
    assert account.told == []


async def test_a_full_disk_is_507(store: OpenAIFiles, account: Account) -> None:
    with little_room(32 * 1024 * 1024), pytest.raises(DiskFull):
        await store.write(FILE, new(bytes(33 * 1024 * 1024)))
    assert account.told == []


@pytest.mark.parametrize("given", [{}, {"api_key": "k", "base_url": "openai.com"}])
def test_a_config_that_cannot_be_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        OpenAIFilesConfig.model_validate(given)


# --- by the API ---


@pytest.fixture
async def kept_there(running: LlamaStack, account: Account) -> Account:
    def add() -> Provider:
        row = Provider(identifier="o", provider_type="remote::openai", api="files")
        return service.edit_provider(row, {"base_url": account.url, "api_key": "sk-ours"}, enabled=True)

    await db(add)
    await running.live.refresh()
    return account


async def test_our_id_leads_to_theirs(client: httpx.AsyncClient, kept_there: Account) -> None:
    made = await upload(client)
    (theirs,) = kept_there.files
    assert (made["id"] != theirs, (await db(File.objects.get)).kept_as) == (True, theirs)
    path = f"{URL}/{made['id']}"
    assert (await client.get(f"{path}/content")).content == LINES
    assert (await client.get(f"{path}/content", headers={"Range": "bytes=-4"})).content == LINES[-4:]
    assert (await client.get(f"{URL}/{theirs}")).status_code == 404
    assert (await client.delete(path)).status_code == 200
    assert kept_there.files == {}


async def test_what_is_refused_here_is_not_sent(client: httpx.AsyncClient, kept_there: Account, tmp_path: Path) -> None:
    """`tmp_path` is a folder that stays empty."""
    assert (await refused(client, tmp_path, files={"file": ("a", b"")}, data={"purpose": "batch"}))[0] == 400
    parts = {"file": ("a", b"abc"), "purpose": (None, "fun")}
    assert (await refused(client, tmp_path, files=parts))[:2] == (400, "purpose")
    assert kept_there.told == []
