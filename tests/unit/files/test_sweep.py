"""The sweep removes what has expired and what broken uploads have left, and nothing else, however often it comes."""

import asyncio
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from django.utils import timezone

from apps.files import service
from apps.files.models import File
from apps.jobs.models import Job
from llamastack.db import db
from llamastack.ids import new_id
from llamastack.stack import LlamaStack
from tests.unit.files.test_files_api import age, upload


def left(provider_id: str = "local", **fields: Any) -> File:
    """The row of an upload that never ended, begun more than a day ago."""
    now = timezone.now()
    row = {"owner": "o", "created_at": now - timedelta(days=2), "expires_at": now - timedelta(days=1)}
    return File.objects.create(id=new_id("file-"), provider_id=provider_id, **row | fields)


def queued() -> Job:
    return Job.objects.create(id=new_id("job_"), kind="files.sweep", owner="system", created_at=timezone.now())


async def swept(running: LlamaStack) -> Job:
    """The job of a sweep, once it has ended."""
    job: Job = await db(queued)
    running.worker.ring()
    async with asyncio.timeout(60):
        while (job := await db(Job.objects.get, pk=job.pk)).ended_at is None:
            await asyncio.sleep(0.02)
    return job


async def test_a_sweep_removes_what_has_expired_and_keeps_the_rest(
    client: httpx.AsyncClient, running: LlamaStack, folder: Path
) -> None:
    kept, expired = await upload(client), await upload(client)
    await age(expired["id"], 1)
    broken = await db(left)
    (folder / f"{broken.id}.part").write_bytes(b"half")
    job = await swept(running)
    assert (job.status, job.error, job.progress) == ("completed", "", {"removed": 2})
    assert [path.name for path in folder.iterdir()] == [kept["id"]]
    assert await db(lambda: [file.id for file in File.objects.all()]) == [kept["id"]]


async def test_a_second_sweep_finds_nothing_to_do(client: httpx.AsyncClient, running: LlamaStack, folder: Path) -> None:
    await age((await upload(client))["id"], 1)
    jobs = [await swept(running), await swept(running)]
    assert [(job.status, job.progress) for job in jobs] == [("completed", {"removed": 1}), ("completed", {})]


async def test_two_sweeps_at_once_do_no_harm(client: httpx.AsyncClient, running: LlamaStack, folder: Path) -> None:
    for _ in range(6):
        await age((await upload(client))["id"], 1)
    jobs = await asyncio.gather(swept(running), swept(running))
    assert [job.status for job in jobs] == ["completed", "completed"]
    assert not await db(File.objects.exists)


async def test_what_is_left_of_a_broken_upload_goes_after_an_hour(running: LlamaStack, folder: Path) -> None:
    """Of a process that was killed, whose row is gone or belongs to another database."""
    folder.mkdir(exist_ok=True)  # as the provider does when it starts, which may be a moment later
    old, young, other = folder / "file-1.part", folder / "file-2.part", folder / "file-3"
    for path in (old, young, other):
        path.write_bytes(b"half")
    for path in (old, other):
        os.utime(path, (0, time.time() - 3700))
    await swept(running)
    assert sorted(path.name for path in folder.iterdir()) == ["file-2.part", "file-3"]


async def test_a_provider_that_is_gone_keeps_no_other_from_being_swept(
    client: httpx.AsyncClient, running: LlamaStack, folder: Path
) -> None:
    gone = [await db(left, "gone") for _ in range(3)]
    expired = await upload(client)
    await age(expired["id"], 1)
    assert (await swept(running)).progress == {"removed": 1}
    assert await db(File.objects.count) == len(gone)
    assert list(folder.iterdir()) == []


async def test_more_than_one_page_is_swept_at_once(running: LlamaStack, folder: Path) -> None:
    def many() -> None:
        one = left()
        rows = [File(id=new_id("file-"), provider_id="local", owner="o", created_at=one.created_at) for _ in range(600)]
        for row in rows:
            row.expires_at = one.expires_at
        File.objects.bulk_create(rows)

    assert service.SWEPT < 600
    await db(many)
    assert (await swept(running)).progress == {"removed": 601}
    assert not await db(File.objects.exists)


async def test_another_tenants_files_are_swept_too(running: LlamaStack, folder: Path) -> None:
    await db(lambda: left(tenant="other"))
    assert (await swept(running)).progress == {"removed": 1}
