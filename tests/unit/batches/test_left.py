"""Batches whose input file is gone, or whose job has ended without them: no answer is lost, and nothing is left."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
from django.utils import timezone

from apps.batches.models import COUNTED, AnswerRecord, Batch, BatchAnswer
from apps.jobs.models import Job
from llamastack.db import db
from llamastack.ids import new_id
from llamastack.stack import LlamaStack
from tests.unit.batches.test_batches_api import URL, create, ended, get, jsonl, line, upload, written


async def left(client: httpx.AsyncClient, batches: LlamaStack, *, answered: bool = True) -> tuple[str, str]:
    """A batch of two lines, and its file: the first line is answered, and whoever did it is gone. No worker runs."""
    await batches.worker.stop()
    client.headers["X-LlamaStack-Provider-Data"] = '{"openai_api_key": "sk-mine"}'
    file_id = await upload(client, jsonl(line("a"), line("b")))
    made = await create(client, file_id)

    def begin() -> None:
        job = Job.objects.claim(Batch.objects.get(pk=made["id"]).job_id)
        now = timezone.now()
        Batch.objects.write(job, made["id"], status="in_progress", in_progress_at=now, total=2)
        if answered:
            counts = dict.fromkeys(COUNTED, 0) | {"completed": 1}
            Batch.objects.keep(job, made["id"], [AnswerRecord(made["id"], 1, True, '{"custom_id": "a"}')], counts, {})
        Job.objects.hand_back(job)

    await db(begin)
    return made["id"], file_id


async def end_job(batch_id: str, status: str) -> None:
    """Somebody else ends its job."""

    def end() -> None:
        job = Job.objects.claim(Batch.objects.get(pk=batch_id).job_id)
        Job.objects.finish(job, status, "told you so")

    await db(end)


async def pass_time(batch_id: str) -> None:
    """Its completion window is over."""
    past = timezone.now() - timedelta(minutes=1)
    await db(lambda: Batch.objects.filter(pk=batch_id).update(expires_at=past))


async def sweep(batches: LlamaStack) -> None:
    now = timezone.now()
    job = await db(Job.objects.create, id=new_id("job_"), kind="batches.sweep", owner="system", created_at=now)
    batches.worker.ring()
    async with asyncio.timeout(60):
        while (swept := await db(Job.objects.get, pk=job.pk)).ended_at is None:
            await asyncio.sleep(0.02)
    assert (swept.status, swept.error) == ("completed", "")


async def settled(client: httpx.AsyncClient, batch_id: str) -> Any:
    """The batch once its row has ended, of which nothing is left then."""
    async with asyncio.timeout(60):
        while not (await db(Batch.objects.get, pk=batch_id)).ended:
            await asyncio.sleep(0.02)
    assert not await db(BatchAnswer.objects.exists)
    assert (await db(Batch.objects.get, pk=batch_id)).provider_data == ""
    return await get(client, batch_id)


async def answers(client: httpx.AsyncClient, batch: Any) -> list[str]:
    return [one["custom_id"] for one in await written(client, batch["output_file_id"])]


# --- the input file goes ---


async def test_a_batch_whose_file_is_deleted_fails_with_the_answers_that_are_there(
    client: httpx.AsyncClient, batches: LlamaStack
) -> None:
    batch_id, file_id = await left(client, batches)
    await client.delete(f"/v1/files/{file_id}")
    batches.worker.start()
    batch = await settled(client, batch_id)
    assert (batch["status"], batch["request_counts"]) == ("failed", {"total": 2, "completed": 1, "failed": 0})
    (error,) = batch["errors"]["data"]
    assert (error["code"], error["param"]) == ("not_found", "input_file_id")
    assert "cannot be read any more" in error["message"]
    assert await answers(client, batch) == ["a"]


async def test_one_that_was_killed_while_it_wrote_them_fails_too(
    client: httpx.AsyncClient, batches: LlamaStack
) -> None:
    batch_id, _ = await left(client, batches)
    errors = [{"code": "not_found", "message": "gone", "param": "input_file_id", "line": None}]
    await db(lambda: Batch.objects.filter(pk=batch_id).update(status="finalizing", errors=errors))
    batches.worker.start()
    batch = await settled(client, batch_id)
    assert (batch["status"], batch["errors"]["data"]) == ("failed", errors)
    assert await answers(client, batch) == ["a"]


async def test_one_without_an_answer_fails_without_a_file(client: httpx.AsyncClient, batches: LlamaStack) -> None:
    batch_id, file_id = await left(client, batches, answered=False)
    await client.delete(f"/v1/files/{file_id}")
    batches.worker.start()
    batch = await settled(client, batch_id)
    assert (batch["status"], batch["output_file_id"], batch["error_file_id"]) == ("failed", None, None)
    assert [error["code"] for error in batch["errors"]["data"]] == ["not_found"]


async def test_the_job_of_one_that_has_ended_is_not_tried_again(client: httpx.AsyncClient, batches: LlamaStack) -> None:
    batch_id, file_id = await left(client, batches)
    await client.delete(f"/v1/files/{file_id}")
    batches.worker.start()
    batch = await settled(client, batch_id)
    job_id = (await db(Batch.objects.get, pk=batch_id)).job_id
    refused = await client.post(f"/v1alpha/jobs/{job_id}/retry")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "batch_ended")
    assert "The batch has ended, as failed" in refused.json()["detail"]
    assert await get(client, batch_id) == batch


async def test_one_that_expires_without_its_file_has_the_answers_that_are_there(
    client: httpx.AsyncClient, batches: LlamaStack
) -> None:
    batch_id, file_id = await left(client, batches)
    await client.delete(f"/v1/files/{file_id}")
    await pass_time(batch_id)
    batches.worker.start()
    batch = await settled(client, batch_id)
    assert (batch["status"], batch["errors"]["data"][0]["param"]) == ("expired", "input_file_id")
    assert await answers(client, batch) == ["a"]


# --- the job ends without the batch ---


async def test_what_failed_can_be_tried_again_within_its_time(client: httpx.AsyncClient, batches: LlamaStack) -> None:
    batch_id, _ = await left(client, batches)
    await end_job(batch_id, "failed")
    batches.worker.start()
    await sweep(batches)
    assert await db(BatchAnswer.objects.exists)
    batch = await get(client, batch_id)
    assert (batch["status"], batch["errors"]["data"][0]["message"]) == ("failed", "told you so")
    job_id = (await db(Batch.objects.get, pk=batch_id)).job_id
    assert (await client.post(f"/v1alpha/jobs/{job_id}/retry")).status_code == 200
    batch = await ended(client, batch_id)
    assert (batch["status"], await answers(client, batch)) == ("completed", ["a", "b"])


async def test_after_that_its_answers_are_written_and_nothing_is_left(
    client: httpx.AsyncClient, batches: LlamaStack
) -> None:
    batch_id, _ = await left(client, batches)
    await end_job(batch_id, "quarantined")
    await pass_time(batch_id)
    batches.worker.start()
    await sweep(batches)
    batch = await settled(client, batch_id)
    assert (batch["status"], await answers(client, batch)) == ("expired", ["a"])


async def test_without_an_answer_it_ends_as_its_job_did(client: httpx.AsyncClient, batches: LlamaStack) -> None:
    batch_id, _ = await left(client, batches, answered=False)
    await end_job(batch_id, "failed")
    await pass_time(batch_id)
    batches.worker.start()
    await sweep(batches)
    batch = await settled(client, batch_id)
    assert (batch["status"], batch["errors"]["data"][0]["message"]) == ("failed", "told you so")


async def test_what_fails_once_more_is_given_up(client: httpx.AsyncClient, batches: LlamaStack) -> None:
    batch_id, _ = await left(client, batches)
    await end_job(batch_id, "failed")
    await pass_time(batch_id)
    await db(Batch.objects.settle, batch_id)
    await end_job(batch_id, "failed")
    batches.worker.start()
    await sweep(batches)
    assert (await settled(client, batch_id))["status"] == "failed"


async def test_one_that_waits_to_go_on_is_cancelled_with_its_answers(
    client: httpx.AsyncClient, batches: LlamaStack
) -> None:
    batch_id, _ = await left(client, batches)
    assert (await client.post(f"{URL}/{batch_id}/cancel")).json()["status"] == "cancelling"
    batches.worker.start()
    batch = await settled(client, batch_id)
    assert (batch["status"], await answers(client, batch)) == ("cancelled", ["a"])


async def test_so_is_one_whose_job_was_cancelled(client: httpx.AsyncClient, batches: LlamaStack) -> None:
    batch_id, _ = await left(client, batches)
    job_id = (await db(Batch.objects.get, pk=batch_id)).job_id
    assert (await client.post(f"/v1alpha/jobs/{job_id}/cancel")).json()["status"] == "cancelled"
    batches.worker.start()
    await sweep(batches)
    batch = await settled(client, batch_id)
    assert (batch["status"], await answers(client, batch)) == ("cancelled", ["a"])
