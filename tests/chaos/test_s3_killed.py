"""The server is killed while it sends files to a bucket: those that were answered are there, and of the others nothing
is there in part: S3 keeps what was sent of them unseen, and has it paid for, until somebody ends it."""

import asyncio
import json
import signal
import sqlite3
from contextlib import closing, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from apps.files.providers.remote.s3.provider import PART_BYTES
from tests.chaos.test_files_killed import KILLS
from tests.s3 import KEYS, ScriptedS3
from tests.s3 import serving as bucket
from tests.servers import Server, serving

PARTS = 3
CONTENT = bytes(range(256)) * (PARTS * PART_BYTES // 256)
KILLED_AT = (
    "uploads=",
    "partNumber=1",
    "partNumber=2",
    "partNumber=3",
    "POST /kept/file-",
)  # in turn; the last ends it
RUN = """
version: 2
image_name: s3
apis: [files]
providers:
  files:
  - provider_id: bucket
    provider_type: remote::s3
    config:
      bucket_name: kept
      endpoint_url: {url}
      aws_access_key_id: {keys.access_key}
      aws_secret_access_key: {keys.secret_key}
"""


async def upload(http: aiohttp.ClientSession, content: bytes) -> str:
    form = aiohttp.FormData({"purpose": "user_data"})
    form.add_field("file", BytesIO(content), filename="a")
    async with http.post("/v1/files", data=form) as answer:
        assert answer.status == 200, await answer.text()
        return str((await answer.json())["id"])


async def killed(server: Server, s3: ScriptedS3, moment: str, answered: list[str]) -> None:
    """When the bucket is asked for that: what has not been answered then never will be."""

    async def uploading() -> None:
        with suppress(aiohttp.ClientError, ConnectionError):
            answered.append(await upload(http, CONTENT))

    async with aiohttp.ClientSession(server.url) as http:
        answered.append(await upload(http, b"small"))
        s3.asked.clear()
        sending = asyncio.create_task(uploading())
        while not any(moment in one and (moment != KILLED_AT[-1] or "uploadId" in one) for one in s3.asked):
            await asyncio.sleep(0.001)
        server.send(signal.SIGKILL)
        await sending
    server.process.wait(60)


def aged(database: Path) -> None:
    """A day is over since the uploads that were broken off, and a sweep is due."""
    with closing(sqlite3.connect(database, timeout=20)) as connection, connection:
        connection.execute("UPDATE files_file SET expires_at = datetime('now', '-1 day') WHERE NOT uploaded")
        columns = {"id": "job_swept", "tenant": "default", "owner": "system", "kind": "files.sweep"}
        columns |= {"status": "queued", "payload": "{}", "progress": "{}", "started_from": "{}", "error": ""}
        zeros = ("priority", "attempt", "fence", "cancel_requested", "events")
        names, places = ", ".join([*columns, *zeros]), ", ".join("?" * (len(columns) + len(zeros)))
        connection.execute(
            f"INSERT INTO jobs_job (created_at, {names}) VALUES (datetime('now'), {places})",
            [*columns.values(), *[0] * len(zeros)],
        )


async def swept(http: aiohttp.ClientSession) -> Any:
    while True:
        async with http.get("/v1alpha/jobs/job_swept") as answer:
            job = await answer.json()
        if job["ended_at"] is not None:
            return job
        await asyncio.sleep(0.05)


async def listed(http: aiohttp.ClientSession) -> dict[str, int]:
    """The size of each file."""
    async with http.get("/v1/files", params={"limit": 10_000}) as answer:
        return {file["id"]: file["bytes"] for file in (await answer.json())["data"]}


@pytest.mark.slow
async def test_nothing_of_an_upload_to_a_bucket_stays_when_the_server_is_killed(tmp_path: Path) -> None:
    answered: list[str] = []
    async with bucket() as s3:
        config = tmp_path / "run.yaml"
        config.write_text(RUN.format(url=s3.url, keys=KEYS))
        for turn in range(KILLS):
            running = serving(config, home=tmp_path)
            server = await asyncio.to_thread(running.__enter__)
            try:
                await killed(server, s3, KILLED_AT[turn % len(KILLED_AT) if KILLS > 1 else 2], answered)
            finally:
                await asyncio.to_thread(running.__exit__, None, None, None)
        left = len(s3.uploads)
        assert left or KILLS == 1
        await asyncio.to_thread(aged, tmp_path / "distributions/s3/llamastack.db")
        last = serving(config, home=tmp_path)
        server = await asyncio.to_thread(last.__enter__)
        try:
            async with aiohttp.ClientSession(server.url) as http:
                job = await swept(http)
                assert job["status"] == "completed", json.dumps(job)
                found = await listed(http)
        finally:
            await asyncio.to_thread(last.__exit__, None, None, None)
    assert set(answered) <= set(found) == set(s3.objects)  # the answer to a whole one may have been lost
    assert all(len(s3.objects[key]) == size for key, size in found.items())
    assert s3.uploads == {}
    print(f"S3: {KILLS} killed, {left} uploads were left in parts, none after the sweep; {len(answered)} files kept")
