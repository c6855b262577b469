"""remote::s3: what is uploaded is one object or none, whatever S3 or the client does, and errors say what to mend."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from apps.files.models import File
from apps.files.protocol import NewFile
from apps.files.providers.remote.s3 import S3, S3Config
from apps.files.providers.remote.s3.provider import PART_BYTES, parts
from apps.files.schemas import FileUpload
from apps.registry import service
from apps.registry.models import Provider
from llamastack.db import db
from llamastack.egress.retries import Retries
from llamastack.errors import BadRequest, DiskFull, StackError, Unavailable, UpstreamError
from llamastack.ids import new_id
from llamastack.stack import LlamaStack
from tests.s3 import KEYS, ScriptedS3, by_moto, serving
from tests.unit.files.test_files_api import LINES, URL, refused, upload
from tests.unit.files.test_sweep import swept

FILE = f"file-{7:032x}"


def config(url: str, **others: Any) -> dict[str, Any]:
    keys = {"aws_access_key_id": KEYS.access_key, "aws_secret_access_key": KEYS.secret_key}
    return {"bucket_name": "kept", "endpoint_url": url, **keys, **others}


async def started(url: str, **others: Any) -> S3:
    store = S3("s", S3Config.model_validate(config(url, **others)))
    await store.start()
    return at_once(store)


def at_once(store: S3) -> S3:
    """It does not wait before it asks again."""
    store.bucket.egress.retries = Retries(first_pause=0)
    store.bucket.pauses = (0, 0, 0)
    return store


@pytest.fixture
async def s3() -> AsyncIterator[ScriptedS3]:
    async with serving() as scripted:
        yield scripted


@pytest.fixture
async def store(s3: ScriptedS3) -> AsyncIterator[S3]:
    made = await started(s3.url)
    yield made
    await made.stop()


async def pieces(content: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for place in range(0, len(content), size):
        yield content[place : place + size]


def new(content: Any) -> NewFile:
    body = pieces(content) if isinstance(content, bytes) else content
    return NewFile(body, lambda: FileUpload(filename="a", purpose="batch"))


async def got(store: S3, start: int, end: int) -> bytes:
    return b"".join([piece async for piece in store.read(FILE, start, end)])


# --- what is sent ---


@pytest.mark.parametrize("size", [1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES, 2 * PART_BYTES + 7])
async def test_a_file_is_one_object_of_its_bytes(store: S3, s3: ScriptedS3, size: int) -> None:
    content = os.urandom(size)
    kept = await store.write(FILE, new(content))
    assert (kept.bytes, kept.name, s3.objects[FILE] == content) == (size, FILE, True)
    assert (s3.uploads, s3.largest <= PART_BYTES) == ({}, True)
    assert await got(store, 0, size) == content
    middle = size // 2
    assert await got(store, middle, middle + 1) == content[middle : middle + 1]


async def test_content_is_cut_into_parts_whatever_the_pieces() -> None:
    content = bytes(range(200))
    for size in (1, 3, 7, 50, 200, 500):
        found = [part async for part in parts(pieces(content, size), 50)]
        assert found == [content[place : place + 50] for place in range(0, 200, 50)]


async def test_moto_s_server_takes_it_as_amazons_does() -> None:
    """Which knows nothing of our scripted one's ways."""
    async with by_moto() as url:
        store = await started(url, auto_create_bucket=True)
        content = os.urandom(PART_BYTES + 5)
        assert (await store.health()).ok
        for body in (content, b"small"):
            await store.write(FILE, new(body))
            assert await got(store, 0, len(body)) == body
            assert await got(store, 2, 4) == body[2:4]
        await store.sweep()
        await store.delete(FILE)
        await store.delete(FILE)
        with pytest.raises(Unavailable, match="not in bucket 'kept' any more"):
            await got(store, 0, 5)
        await store.stop()


async def test_moto_s_uploads_in_parts_can_be_aborted() -> None:
    async with by_moto() as url:
        store = await started(url, auto_create_bucket=True)

        async def broken() -> AsyncIterator[bytes]:
            yield bytes(PART_BYTES)
            assert [key async for key, _, _ in store.bucket.uploads("file-")] == [FILE]
            raise BadRequest("The upload broke off.")

        with pytest.raises(BadRequest):
            await store.write(FILE, new(broken()))
        assert [key async for key, _, _ in store.bucket.uploads("file-")] == []
        await store.stop()


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, "https://my-files.s3.us-east-1.amazonaws.com"),
        ({"region": "eu-west-1"}, "https://my-files.s3.eu-west-1.amazonaws.com"),
        ({"region": "cn-north-1"}, "https://my-files.s3.cn-north-1.amazonaws.com.cn"),
        ({"bucket_name": "my.files"}, "https://s3.us-east-1.amazonaws.com/my.files"),
        ({"bucket_name": "Old_Name"}, "https://s3.us-east-1.amazonaws.com/Old_Name"),
        ({"endpoint_url": "http://localhost:9000/"}, "http://localhost:9000/my-files"),
        ({"endpoint_url": ""}, "https://my-files.s3.us-east-1.amazonaws.com"),
    ],
)
def test_a_bucket_has_its_address(given: dict[str, str], url: str) -> None:
    assert S3Config.model_validate(S3Config.sample_run_config() | given).url == url


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"bucket_name": ""}, "bucket_name"),
        ({"bucket_name": "../other"}, "bucket_name"),
        ({"endpoint_url": "localhost:9000"}, "write http://host:port"),
        ({"aws_secret_access_key": ""}, "belong together"),
        ({"region": "eu west"}, "region"),
    ],
)
def test_a_config_that_cannot_be_is_refused(given: dict[str, str], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        S3Config.model_validate(S3Config.sample_run_config() | given)


async def test_without_keys_there_are_those_of_the_environment(s3: ScriptedS3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS.secret_key)
    store = await started(s3.url, aws_access_key_id="", aws_secret_access_key="")
    assert store.config.of_the_server == {"aws_access_key_id": ""}
    assert (await store.health()).ok
    await store.stop()


async def test_without_any_the_error_says_what_to_set(
    s3: ScriptedS3, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_DEFAULT_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    store = await started(s3.url, aws_access_key_id="", aws_secret_access_key="")
    with pytest.raises(UpstreamError, match="aws_access_key_id"):
        await store.write(FILE, new(b"abc"))
    await store.stop()


async def test_a_tenant_s_bucket_is_at_a_public_address(s3: ScriptedS3) -> None:
    store = S3("s", S3Config.model_validate(config(s3.url)))
    store.confined = True
    await store.start()
    with pytest.raises(StackError, match="leads to no public address"):
        await store.write(FILE, new(b"abc"))
    assert s3.asked == []
    await store.stop()


# --- what S3 refuses ---


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"aws_access_key_id": "AKIDOTHER"}, "Check aws_access_key_id"),
        ({"aws_secret_access_key": "other"}, "Check aws_secret_access_key"),
        ({"bucket_name": "missing"}, "set auto_create_bucket"),
        ({"region": "eu-west-1"}, "in another region, us-east-1. Set region to that."),
    ],
)
async def test_a_config_that_s3_refuses_is_told_by_health_and_to_the_caller(
    s3: ScriptedS3, given: dict[str, str], words: str
) -> None:
    store = await started(s3.url, **given)
    health = await store.health()
    assert (health.ok, words in health.message) == (False, True), health.message
    for work in (store.write(FILE, new(b"abc")), got(store, 0, 3), store.delete(FILE)):
        with pytest.raises(UpstreamError, match=words) as caught:
            await work
        assert caught.value.status == 502
    await store.stop()


@pytest.mark.parametrize(
    ("failure", "kind", "words"),
    [
        (
            {"code": "RequestTimeTooSkewed", "status": 403, "more": "<ServerTime>2026-01-01T00:00:00Z</ServerTime>"},
            UpstreamError,
            "clock is wrong: S3 says that it is 2026-01-01T00:00:00Z",
        ),
        (
            {"code": "PermanentRedirect", "status": 301, "headers": {"x-amz-bucket-region": "eu-west-1"}},
            UpstreamError,
            "in another region, eu-west-1",
        ),
        ({"code": "AccessDenied", "status": 403}, UpstreamError, "Allow them GetObject, PutObject"),
        ({"code": "ExpiredToken"}, UpstreamError, "have expired"),
        ({"code": "XMinioStorageFull", "status": 507}, DiskFull, "no room"),
        ({"code": "Unknown", "status": 507}, DiskFull, "no room"),
        ({"code": "NobodyKnows", "status": 400}, UpstreamError, "NobodyKnows"),
    ],
)
async def test_each_refusal_says_what_to_mend(
    store: S3, s3: ScriptedS3, failure: dict[str, Any], kind: type[StackError], words: str
) -> None:
    s3.fail("PUT", **failure)
    with pytest.raises(kind, match=words):
        await store.write(FILE, new(b"abc"))
    assert s3.objects == {}


async def test_a_bucket_that_is_missing_is_made_where_that_is_wished(s3: ScriptedS3) -> None:
    s3.bucket = None
    store = await started(s3.url, auto_create_bucket=True)
    assert s3.bucket == "kept"
    s3.bucket = None  # somebody has deleted it
    assert (await store.health()).ok
    await store.write(FILE, new(b"abc"))
    assert s3.objects == {FILE: b"abc"}
    await store.stop()


async def test_s3_that_is_not_there_keeps_no_server_from_starting(s3: ScriptedS3) -> None:
    s3.fail("GET", "InternalError", 500, times=2)
    store = await started(s3.url, auto_create_bucket=True)
    assert not (await store.health()).ok
    assert (await store.health()).ok
    await store.stop()


@pytest.mark.parametrize(
    ("code", "status"), [("SlowDown", 503), ("InternalError", 500), ("RequestTimeout", 400), ("OperationAborted", 409)]
)
async def test_a_part_is_sent_again_while_s3_is_busy(store: S3, s3: ScriptedS3, code: str, status: int) -> None:
    s3.fail("PUT", code, status, words="partNumber=2", times=2)
    content = os.urandom(2 * PART_BYTES + 1)
    await store.write(FILE, new(content))
    assert s3.objects[FILE] == content


async def test_s3_that_stays_busy_is_503_with_retry_after_and_nothing_is_kept(store: S3, s3: ScriptedS3) -> None:
    s3.fail("PUT", "SlowDown", 503, words="partNumber=2", times=99)
    with pytest.raises(Unavailable) as caught:
        await store.write(FILE, new(bytes(2 * PART_BYTES)))
    assert (caught.value.retry_after is not None, s3.objects, s3.uploads) == (True, {}, {})


async def test_an_upload_that_is_refused_at_its_end_is_aborted(store: S3, s3: ScriptedS3) -> None:
    """With a status of 200, as S3 may."""
    s3.fail("POST", "InternalError", 200, words="uploadId", times=99)
    with pytest.raises(Unavailable):
        await store.write(FILE, new(bytes(PART_BYTES)))
    assert (s3.objects, s3.uploads) == ({}, {})


async def test_an_answer_that_is_none_is_an_error(store: S3, s3: ScriptedS3) -> None:
    s3.fail("POST", "nonsense", 200, words="uploads")
    with pytest.raises(UpstreamError, match="gave it no id"):
        await store.write(FILE, new(bytes(PART_BYTES)))
    s3.fail("POST", "<", 200, words="uploads")
    with pytest.raises(UpstreamError, match="not XML"):
        await store.write(FILE, new(bytes(PART_BYTES)))


async def test_a_download_that_breaks_off_goes_on_where_it_was(store: S3, s3: ScriptedS3) -> None:
    content = os.urandom(1_000_000)
    s3.objects[FILE] = content
    s3.cuts = [300_000, 1, 200_000]
    assert await got(store, 5, 999_995) == content[5:999_995]
    assert len([one for one in s3.asked if one.startswith("GET")]) == 4


async def test_a_file_that_is_shorter_than_it_was_is_503(store: S3, s3: ScriptedS3) -> None:
    s3.objects[FILE] = b"abc"
    with pytest.raises(Unavailable, match="not all of it"):
        await got(store, 0, 9)


# --- uploads that break off ---


async def test_a_client_that_goes_away_leaves_no_part(store: S3, s3: ScriptedS3) -> None:
    s3.held = asyncio.Event()
    writing = asyncio.create_task(store.write(FILE, new(bytes(3 * PART_BYTES))))
    await s3.arrived.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert (s3.objects, s3.uploads) == ({}, {})


async def test_an_abort_that_fails_is_left_to_the_sweep(
    store: S3, s3: ScriptedS3, caplog: pytest.LogCaptureFixture
) -> None:
    s3.fail("PUT", "AccessDenied", 403, words="partNumber=2")
    s3.fail("DELETE", "AccessDenied", 403)
    with pytest.raises(UpstreamError, match="Allow them"):
        await store.write(FILE, new(bytes(2 * PART_BYTES)))
    assert (len(s3.uploads), "its parts are there yet" in caplog.text) == (1, True)
    await store.sweep()
    assert s3.uploads == {}


async def test_the_sweep_ends_old_uploads_of_ours_alone(store: S3, s3: ScriptedS3) -> None:
    ours = [new_id("file-") for _ in range(2)]
    theirs = ["photos/1", "file-backup.tar", f"{ours[0]}.tar", "file-1?acl"]
    s3.uploads = {str(number): (key, {}) for number, key in enumerate([ours[0], *theirs, ours[1]])}
    await store.sweep()
    assert [key for key, _ in s3.uploads.values()] == theirs
    s3.begun = "2999-01-01T00:00:00.000Z"
    s3.uploads = {"4": ("file-1", {})}
    await store.sweep()
    assert list(s3.uploads) == ["4"]


# --- by the API ---


@pytest.fixture
async def bucket(running: LlamaStack, s3: ScriptedS3) -> ScriptedS3:
    def add() -> Provider:
        row = Provider(identifier="s", provider_type="remote::s3", api="files")
        return service.edit_provider(row, config(s3.url), enabled=True)

    row = await db(add)
    await running.live.refresh()
    async with running.live.pool.use(running.live.snapshot.providers[row.pk]) as provider:
        at_once(provider)
    return s3


async def test_the_api_is_the_same(client: httpx.AsyncClient, bucket: ScriptedS3, running: LlamaStack) -> None:
    made = await upload(client)
    assert bucket.objects == {made["id"]: LINES}
    path = f"{URL}/{made['id']}"
    assert (await client.get(f"{path}/content")).content == LINES
    assert (await client.get(f"{path}/content", headers={"Range": "bytes=2-4"})).content == LINES[2:5]
    assert (await client.delete(path)).json()["deleted"]
    assert (bucket.objects, (await client.get(path)).status_code) == ({}, 404)
    assert (await swept(running)).status == "completed"


async def test_what_is_refused_leaves_no_object(client: httpx.AsyncClient, bucket: ScriptedS3, tmp_path: Any) -> None:
    """`tmp_path` is a folder that stays empty."""
    files = {"file": ("a", b"")}
    assert (await refused(client, tmp_path, files=files, data={"purpose": "batch"}))[0] == 400
    parts = {"file": ("a", b"abc"), "purpose": (None, "fun")}  # its purpose comes last
    assert (await refused(client, tmp_path, files=parts))[:2] == (400, "purpose")
    assert bucket.objects == {}


async def test_a_busy_bucket_is_503_and_a_wrong_one_502(client: httpx.AsyncClient, bucket: ScriptedS3) -> None:
    for code, status, told in (("SlowDown", 503, 503), ("NoSuchBucket", 404, 502), ("QuotaExceeded", 400, 507)):
        bucket.fail("PUT", code, status, times=99)
        response = await client.post(URL, files={"file": ("a", b"x")}, data={"purpose": "batch"})
        assert response.status_code == told, response.text
        bucket.failures.clear()
    async with asyncio.timeout(30):
        while await db(File.objects.exists):
            await asyncio.sleep(0.01)


async def test_a_file_is_deleted_though_its_bucket_is_away_and_its_bytes_go_later(
    client: httpx.AsyncClient, bucket: ScriptedS3, running: LlamaStack
) -> None:
    made = await upload(client)
    bucket.fail("DELETE", "AccessDenied", 403)
    assert (await client.delete(f"{URL}/{made['id']}")).json()["deleted"]
    assert (await client.get(f"{URL}/{made['id']}")).status_code == 404
    assert list(bucket.objects) == [made["id"]]
    assert (await swept(running)).progress == {"removed": 1}
    assert bucket.objects == {}


async def test_so_do_those_of_an_upload_that_failed(
    client: httpx.AsyncClient, bucket: ScriptedS3, running: LlamaStack
) -> None:
    bucket.fail("DELETE", "AccessDenied", 403)
    response = await client.post(URL, files={"file": ("a", b"abc"), "purpose": (None, "fun")})
    assert response.status_code == 400
    async with asyncio.timeout(30):
        while not any(asked[:6] == "DELETE" for asked in bucket.asked):  # something else may be asked since
            await asyncio.sleep(0.01)
    assert len(bucket.objects) == 1
    assert (await swept(running)).progress == {"removed": 1}
    assert bucket.objects == {}
