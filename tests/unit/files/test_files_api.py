"""/v1/files: what is uploaded is there, whole or in part, until it is deleted or expires, and for nobody else."""

import asyncio
import os
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.utils import timezone

from apps.access.models import ApiKey
from apps.files.models import File
from llamastack import settings, stack
from llamastack.db import db
from llamastack.stack import LlamaStack
from tests.unit.files.conftest import add_files

URL = "/v1/files"
LINES = b'{"a": 1}\n{"a": 2}\n'


async def upload(client: httpx.AsyncClient, content: bytes = LINES, name: str = "lines.jsonl", **fields: Any) -> Any:
    response = await client.post(URL, files={"file": (name, content)}, data={"purpose": "user_data"} | fields)
    assert response.status_code == 200, response.text
    return response.json()


async def ids(client: httpx.AsyncClient, **query: Any) -> list[str]:
    response = await client.get(URL, params=query)
    assert response.status_code == 200, response.text
    return [file["id"] for file in response.json()["data"]]


async def refused(client: httpx.AsyncClient, folder: Path, **request: Any) -> tuple[int, str, str]:
    """The status, field and sentence of an upload that is refused, of which nothing is kept."""
    response = await client.post(URL, **request)
    error = response.json()["error"]
    async with asyncio.timeout(30):
        while await db(File.objects.exists):
            await asyncio.sleep(0.01)
    assert list(folder.glob("*")) == []  # which the provider may still have to make
    return response.status_code, error["param"], error["message"]


async def age(file_id: str, seconds: float) -> None:
    await db(lambda: File.objects.filter(pk=file_id).update(expires_at=timezone.now() - timedelta(seconds=seconds)))


# --- what is uploaded ---


async def test_a_file_is_kept_as_it_was_sent(client: httpx.AsyncClient, folder: Path) -> None:
    made = await upload(client, LINES, "lines of mine, ünïcode.jsonl")
    assert made["id"].startswith("file-")
    assert (made["object"], made["bytes"], made["purpose"]) == ("file", len(LINES), "user_data")
    assert (made["filename"], made["status"], made["expires_at"]) == (
        "lines of mine, ünïcode.jsonl",
        "processed",
        None,
    )
    assert (await client.get(f"{URL}/{made['id']}")).json() == made
    content = await client.get(f"{URL}/{made['id']}/content")
    assert (content.content, content.headers["content-length"]) == (LINES, str(len(LINES)))
    assert [path.name for path in folder.iterdir()] == [made["id"]]
    assert (folder / made["id"]).stat().st_mode & 0o777 == 0o600


async def test_a_file_may_come_before_what_it_is_for(client: httpx.AsyncClient, folder: Path) -> None:
    """As the openai package of npm sends it."""
    parts = {"file": ("a.txt", b"abc"), "purpose": (None, "vision")}
    made = (await client.post(URL, files=parts)).json()
    assert (made["bytes"], made["purpose"]) == (3, "vision")


async def test_the_deprecated_alias_is_the_same(client: httpx.AsyncClient, folder: Path) -> None:
    alias = "/v1/openai/v1/files"
    made = (await client.post(alias, files={"file": ("a", b"abc")}, data={"purpose": "assistants"})).json()
    assert (await client.get(f"{alias}/{made['id']}/content")).content == b"abc"
    assert (await client.delete(f"{alias}/{made['id']}")).json()["deleted"]


async def test_a_large_file_arrives_piece_by_piece(client: httpx.AsyncClient, folder: Path) -> None:
    content = os.urandom(3 * 1024 * 1024 + 7) + b"\r\n--"
    made = await upload(client, content)
    assert (await client.get(f"{URL}/{made['id']}/content")).content == content


async def test_bytes_that_look_like_a_boundary_are_bytes(client: httpx.AsyncClient, folder: Path) -> None:
    content = b"\r\n--b\r\n-- \r\n\r\n--bo\r\n"
    body = b'--bo-un\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--bo-un\r\n'
    body += b'Content-Disposition: form-data; name="file"; filename="f"\r\n\r\n' + content + b"\r\n--bo-un--\r\n"

    async def single_bytes() -> AsyncIterator[bytes]:
        for place in range(len(body)):
            yield body[place : place + 1]

    headers = {"Content-Type": "multipart/form-data; boundary=bo-un"}
    made = (await client.post(URL, content=single_bytes(), headers=headers)).json()
    assert (await client.get(f"{URL}/{made['id']}/content")).content == content


# --- lists ---


async def test_files_are_listed_in_pages_and_by_purpose(client: httpx.AsyncClient, folder: Path) -> None:
    made = [(await upload(client, purpose=purpose))["id"] for purpose in ("batch", "vision", "batch", "evals")]
    assert await ids(client) == made[::-1]
    assert await ids(client, order="asc") == made
    assert await ids(client, purpose="batch") == [made[2], made[0]]
    page = (await client.get(URL, params={"limit": 2, "order": "asc"})).json()
    assert (page["first_id"], page["last_id"], page["has_more"]) == (made[0], made[1], True)
    assert await ids(client, after=made[1], order="asc") == made[2:]
    assert (await client.get(URL, params={"after": made[3], "order": "asc"})).json() == {
        "object": "list",
        "data": [],
        "first_id": "",
        "last_id": "",
        "has_more": False,
    }


WRONG_LISTS: list[tuple[dict[str, str], str]] = [
    ({"limit": "0"}, "limit"),
    ({"limit": "10001"}, "limit"),
    ({"order": "up"}, "order"),
    ({"purpose": "fun"}, "purpose"),
    ({"after": "file-none"}, "after"),
    ({"porpose": "batch"}, "porpose"),
]


async def test_a_list_that_cannot_be_made_names_the_parameter(client: httpx.AsyncClient, folder: Path) -> None:
    for query, param in WRONG_LISTS:
        response = await client.get(URL, params=query)
        assert (response.status_code, response.json()["error"]["param"]) == (400, param), query


# --- parts of a file ---


RANGES: list[tuple[str, slice, int]] = [
    ("bytes=0-3", slice(0, 4), 206),
    ("bytes=5-", slice(5, None), 206),
    ("bytes=-4", slice(-4, None), 206),
    ("bytes=-999", slice(0, None), 206),
    ("bytes=3-999", slice(3, None), 206),
    ("bytes=5-2", slice(0, None), 200),
    ("bytes=-", slice(0, None), 200),
    ("bytes=0-1,3-4", slice(0, None), 200),
    ("lines=0-1", slice(0, None), 200),
    ("bytes=" + "9" * 30 + "-", slice(0, None), 200),
]


async def test_a_range_is_a_part_and_what_is_none_is_all(client: httpx.AsyncClient, folder: Path) -> None:
    made = await upload(client)
    for asked, place, status in RANGES:
        response = await client.get(f"{URL}/{made['id']}/content", headers={"Range": asked})
        assert (response.status_code, response.content) == (status, LINES[place]), asked
        if status == 206:
            first = place.indices(len(LINES))[0]
            last = place.indices(len(LINES))[1] - 1
            assert response.headers["content-range"] == f"bytes {first}-{last}/{len(LINES)}", asked


OUTSIDE: list[str] = ["bytes=18-", "bytes=99-100", "bytes=-0"]


async def test_a_range_outside_of_the_file_is_416(client: httpx.AsyncClient, folder: Path) -> None:
    made = await upload(client)
    for asked in OUTSIDE:
        response = await client.get(f"{URL}/{made['id']}/content", headers={"Range": asked})
        assert (response.status_code, response.headers["content-range"]) == (416, f"bytes */{len(LINES)}"), asked
        assert response.json()["error"]["code"] == "range_not_satisfiable", asked


async def test_a_range_on_a_condition_that_cannot_be_met_is_all(client: httpx.AsyncClient, folder: Path) -> None:
    made = await upload(client)
    headers = {"Range": "bytes=0-3", "If-Range": '"another"'}
    response = await client.get(f"{URL}/{made['id']}/content", headers=headers)
    assert (response.status_code, response.content) == (200, LINES)


async def test_content_is_never_a_page_of_ours(client: httpx.AsyncClient, folder: Path) -> None:
    made = await upload(client, b"<script>alert(1)</script>", 'x".html')
    headers = (await client.get(f"{URL}/{made['id']}/content")).headers
    assert (headers["content-type"], headers["x-content-type-options"]) == ("application/octet-stream", "nosniff")
    assert (made["filename"], headers["content-disposition"]) == ('x".html', "attachment; filename*=UTF-8''x%22.html")


# --- what goes wrong ---


WRONG_UPLOADS: list[tuple[Any, Any, str, str]] = [
    ({"file": ("../../etc/passwd", b"x")}, {"purpose": "batch"}, "file", "holds a path"),
    ({"file": ("..\\boot.ini", b"x")}, {"purpose": "batch"}, "file", "holds a path"),
    ({"file": ("..", b"x")}, {"purpose": "batch"}, "file", "holds a path"),
    ({"file": ("a\u200bb", b"x")}, {"purpose": "batch"}, "file", "can be printed, not 'a\\u200bb'."),
    ({"file": ("n" * 256, b"x")}, {"purpose": "batch"}, "file", "255"),
    ({"file": ("a", b"x")}, {"purpose": "fun"}, "purpose", "'batch'"),
    ({"file": ("a", b"x")}, {"purpose": "batch_output"}, "purpose", "'batch'"),
    ({"file": ("a", b"x")}, {}, "purpose", "required"),
    ({"file": ("a", b"")}, {"purpose": "batch"}, "file", "empty"),
    ({"other": (None, b"x")}, {"purpose": "batch"}, "other", "no parameter"),
    ({"file": (None, b"x")}, {"purpose": "batch"}, "file", "no filename"),
    ({"purpose": (None, b"batch")}, {}, "file", "no 'file'"),
    ([("file", ("a", b"x")), ("file", ("b", b"x"))], {"purpose": "batch"}, "file", "one file"),
    ([("purpose", (None, b"batch")), ("file", ("b", b"x"))], {"purpose": "batch"}, "purpose", "twice"),
    ({"file": ("a", b"x")}, {"purpose": "b" * 300_000}, "purpose", "too long"),
    (
        {"file": ("a", b"x")},
        {"purpose": "batch", "expires_after[anchor]": "now", "expires_after[seconds]": "3600"},
        "expires_after.anchor",
        "created_at",
    ),
    (
        {"file": ("a", b"x")},
        {"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3599"},
        "expires_after.seconds",
        "3600",
    ),
    (
        {"file": ("a", b"x")},
        {"purpose": "batch", "expires_after[anchor]": "created_at"},
        "expires_after.seconds",
        "required",
    ),
]


async def test_what_is_wrong_with_an_upload_is_said(client: httpx.AsyncClient, folder: Path) -> None:
    for files, data, param, words in WRONG_UPLOADS:
        status, named, message = await refused(client, folder, files=files, data=data)
        assert (status, named) == (400, param), (files, words)
        assert words in message, (files, words)


NO_FORMS: list[tuple[str, bytes]] = [
    ("application/json", b"{}"),
    ("multipart/form-data", b"--x\r\n"),
    ("multipart/form-data; boundary=" + "x" * 300, b"--x\r\n"),
    ("multipart/form-data; boundary=x", b"no boundary at all"),
    ("multipart/form-data; boundary=x", b""),
    (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc',
    ),
    ("multipart/form-data; boundary=x", b"--x\r\n" + b"A: b\r\n" * 1000),
]


async def test_what_is_no_form_is_400(client: httpx.AsyncClient, folder: Path) -> None:
    for kind, body in NO_FORMS:
        status, _, _ = await refused(client, folder, content=body, headers={"Content-Type": kind})
        assert status == 400, (kind, body)


async def test_a_file_that_is_too_large_is_413_however_it_is_told(client: httpx.AsyncClient, folder: Path) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    told = headers | {"Content-Length": str(settings.MAX_FILE_BYTES * 2)}
    assert (await refused(client, folder, content=b"x", headers=told))[:2] == (413, "file")


async def test_a_file_that_turns_out_too_large_is_413(
    client: httpx.AsyncClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "MAX_FILE_BYTES", 1000)
    files, data = {"file": ("a", b"x" * 1001)}, {"purpose": "batch"}
    assert (await refused(client, folder, files=files, data=data))[:2] == (413, "file")

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"\r\n" * 32_000

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert (await refused(client, folder, content=endless(), headers=headers))[0] == 413
    assert (await upload(client, b"x" * 1000))["bytes"] == 1000


@contextmanager
def little_room(size: int) -> Iterator[None]:
    """No file may grow beyond `size` in this process: the kernel refuses what a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_is_507_and_leaves_no_part(client: httpx.AsyncClient, folder: Path) -> None:
    made = await upload(client)
    with little_room(32 * 1024 * 1024):
        large = {"file": ("a", bytes(33 * 1024 * 1024))}
        response = await client.post(URL, files=large, data={"purpose": "batch"})
        assert (response.status_code, response.json()["error"]["code"]) == (507, "disk_full")
        assert (await client.get(f"{URL}/{made['id']}/content")).content == LINES
    assert [path.name for path in folder.iterdir()] == [made["id"]]


async def test_a_client_that_goes_away_leaves_nothing(client: httpx.AsyncClient, folder: Path) -> None:
    begun = asyncio.Event()

    async def half() -> AsyncIterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + bytes(2 * 1024 * 1024)
        begun.set()
        await asyncio.Event().wait()

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    asking = asyncio.create_task(client.post(URL, content=half(), headers=headers))
    await begun.wait()
    async with asyncio.timeout(30):
        while not any(folder.iterdir()):
            await asyncio.sleep(0.01)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    async with asyncio.timeout(30):
        while any(folder.iterdir()) or await db(File.objects.exists):
            await asyncio.sleep(0.01)


async def test_no_provider_is_503_that_says_what_to_do(client: httpx.AsyncClient) -> None:
    response = await client.post(URL, files={"file": ("a", b"x")}, data={"purpose": "batch"})
    assert (response.status_code, "providers.files" in response.json()["detail"]) == (503, True)


async def test_a_file_that_is_not_there_is_404(client: httpx.AsyncClient, folder: Path) -> None:
    for file_id in ("file-none", "..%2f..%2fetc%2fpasswd", "file-" + "0" * 500):
        for path in ("", "/content"):
            assert (await client.get(f"{URL}/{file_id}{path}")).status_code == 404, file_id + path


async def test_bytes_that_are_gone_are_503(client: httpx.AsyncClient, folder: Path) -> None:
    made = await upload(client)
    (folder / made["id"]).unlink()
    assert (await client.get(f"{URL}/{made['id']}/content")).status_code == 503
    (folder / made["id"]).symlink_to("/etc/passwd")
    assert (await client.get(f"{URL}/{made['id']}/content")).status_code == 503


# --- the end of a file ---


async def test_a_deleted_file_is_gone_with_its_bytes(client: httpx.AsyncClient, folder: Path) -> None:
    made = await upload(client)
    answer = {"id": made["id"], "object": "file", "deleted": True}
    assert (await client.delete(f"{URL}/{made['id']}")).json() == answer
    assert list(folder.iterdir()) == []
    assert (await client.delete(f"{URL}/{made['id']}")).status_code == 404
    assert await ids(client) == []


async def test_a_file_expires_when_it_was_told_to(client: httpx.AsyncClient, folder: Path) -> None:
    told = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    made = await upload(client, **told)
    assert made["expires_at"] == made["created_at"] + 3600
    await age(made["id"], 1)
    assert await ids(client) == []
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):  # whether it has been swept or not
        assert (await client.request(method, f"{URL}/{made['id']}{path}")).status_code == 404
    assert (folder / made["id"]).exists()


async def test_a_batchs_file_expires_after_thirty_days(client: httpx.AsyncClient, folder: Path) -> None:
    made = await upload(client, purpose="batch")
    assert made["expires_at"] == made["created_at"] + 30 * 86_400


async def test_the_others_expire_as_their_provider_says(
    client: httpx.AsyncClient, running: LlamaStack, tmp_path: Path
) -> None:
    await db(add_files, tmp_path / "files", ttl_secs=60)
    await running.live.refresh()
    made = await upload(client)
    assert made["expires_at"] == made["created_at"] + 60


# --- whose a file is ---


async def test_a_file_of_another_tenant_is_not_there(client: httpx.AsyncClient, folder: Path) -> None:
    _, secret = await db(ApiKey.issue, "theirs", "eve", tenant="other")
    await stack.current().live.refresh()
    made, theirs = await upload(client), {"Authorization": f"Bearer {secret}"}
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        response = await client.request(method, f"{URL}/{made['id']}{path}", headers=theirs)
        assert response.status_code == 404
    assert (await client.get(URL, headers=theirs)).json()["data"] == []
    assert (await client.get(URL, headers=theirs, params={"after": made["id"]})).status_code == 400
    row = await db(File.objects.get)
    assert (row.tenant, row.owner) == ("default", "anonymous")


async def test_a_form_that_cannot_be_read_is_told_to_its_client_and_not_to_the_log(
    client: httpx.AsyncClient, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    form = {"content": b"zzz", "headers": {"content-type": "multipart/form-data; boundary=abc"}}
    status, _, message = await refused(client, folder, **form)
    assert (status, message.partition(":")[0]) == (400, "The form cannot be read")
    assert caplog.messages == []
