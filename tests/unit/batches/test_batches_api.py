"""/v1/batches: every line of a file is answered once, and what is wrong with the file is told line by line."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.utils import timezone

from apps.access.models import ApiKey
from apps.batches.doing import MOST_BYTES
from apps.batches.models import COUNTED, AnswerRecord, Batch, BatchAnswer
from apps.files.models import File
from apps.files.schemas import FileObject
from apps.files.service import FilesService
from apps.jobs.models import Job, JobEvent
from apps.registry import service
from apps.registry.live import Live
from apps.registry.models import Provider
from llamastack import settings
from llamastack.call import Call
from llamastack.db import db
from llamastack.stack import LlamaStack
from tests.unit.batches.conftest import add_batches
from tests.unit.inference.test_gateway import recorded
from tests.upstream import Upstream

URL = "/v1/batches"
CHAT = "/v1/chat/completions"
OBJECTS = {CHAT: "chat.completion", "/v1/completions": "text_completion", "/v1/embeddings": "list"}
ENDED = ("failed", "completed", "expired", "cancelled")


def line(custom_id: str, url: str = CHAT, model: str = "sky/sky-1", **body: Any) -> dict[str, Any]:
    given = {"input": "sky"} if "embeddings" in url else {"messages": [{"role": "user", "content": custom_id}]}
    given = {"prompt": "sky"} if url == "/v1/completions" else given
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": {"model": model, **given, **body}}


def jsonl(*lines: Any) -> bytes:
    return b"".join((one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in lines)


async def upload(client: httpx.AsyncClient, content: bytes, purpose: str = "batch", **headers: str) -> str:
    files = {"file": ("lines.jsonl", content)}
    response = await client.post("/v1/files", files=files, data={"purpose": purpose}, headers=headers)
    assert response.status_code == 200, response.text
    return str(response.json()["id"])


async def create(client: httpx.AsyncClient, file_id: str, endpoint: str = CHAT, **fields: Any) -> Any:
    body = {"input_file_id": file_id, "endpoint": endpoint, "completion_window": "24h", **fields}
    response = await client.post(URL, json=body)
    assert response.status_code == 200, response.text
    return response.json()


async def get(client: httpx.AsyncClient, batch_id: str) -> Any:
    response = await client.get(f"{URL}/{batch_id}")
    assert response.status_code == 200, response.text
    return response.json()


async def ended(client: httpx.AsyncClient, batch_id: str) -> Any:
    async with asyncio.timeout(60):
        while (batch := await get(client, batch_id))["status"] not in ENDED:
            await asyncio.sleep(0.05)
    return batch


async def done(client: httpx.AsyncClient, *lines: Any, endpoint: str = CHAT, **fields: Any) -> Any:
    made = await create(client, await upload(client, jsonl(*lines)), endpoint, **fields)
    return await ended(client, made["id"])


async def written(client: httpx.AsyncClient, file_id: str | None) -> list[Any]:
    response = await client.get(f"/v1/files/{file_id}/content")
    assert response.status_code == 200, response.text
    return [json.loads(text) for text in response.text.splitlines()]


def wrong(batch: Any) -> list[tuple[str, int | None, str | None]]:
    assert (batch["status"], batch["output_file_id"]) == ("failed", None)
    return [(error["code"], error["line"], error["param"]) for error in batch["errors"]["data"]]


# --- what is answered ---


async def test_every_line_is_answered_once_in_the_order_of_the_file(
    client: httpx.AsyncClient, batches: LlamaStack
) -> None:
    file_id = await upload(client, jsonl(*(line(f"n{n}") for n in range(20))))
    made = await create(client, file_id, metadata={"for": "me"})
    assert (made["object"], made["status"], made["errors"]) == ("batch", "validating", None)
    assert made["expires_at"] == made["created_at"] + 24 * 3600
    batch = await ended(client, made["id"])
    assert (batch["status"], batch["model"], batch["metadata"]) == ("completed", "sky/sky-1", {"for": "me"})
    assert batch["request_counts"] == {"total": 20, "completed": 20, "failed": 0}
    assert (batch["usage"]["input_tokens"], batch["usage"]["total_tokens"]) == (100, 180)
    assert batch["completed_at"] >= batch["finalizing_at"] >= batch["in_progress_at"] >= batch["created_at"]
    assert batch["error_file_id"] is None
    answers = await written(client, batch["output_file_id"])
    assert [answer["custom_id"] for answer in answers] == [f"n{n}" for n in range(20)]
    assert len({answer["id"] for answer in answers}) == 20
    assert {answer["response"]["status_code"] for answer in answers} == {200}
    assert answers[0]["response"]["body"]["choices"][0]["message"]["content"] == "The sky is blue."
    file = (await client.get(f"/v1/files/{batch['output_file_id']}")).json()
    assert (file["purpose"], file["filename"]) == ("batch_output", f"{batch['id']}_output.jsonl")
    assert not await db(BatchAnswer.objects.exists)
    logged = await db(
        lambda: list(JobEvent.objects.filter(kind="log").order_by("number").values_list("data__message", flat=True))
    )
    assert logged == ["The input file is valid: 20 lines.", "20 of 20 lines have been answered."]


async def embedding_model(client: httpx.AsyncClient) -> None:
    body = {"model_id": "embedder", "provider_id": "sky", "provider_model_id": "e", "model_type": "embedding"}
    response = await client.post("/v1/models", json=body | {"metadata": {"embedding_dimension": 2}})
    assert response.status_code == 200, response.text


async def test_a_line_has_one_answer_by_whichever_lane_it_goes(
    client: httpx.AsyncClient, batches: LlamaStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    await embedding_model(client)
    for url, kind in OBJECTS.items():
        told = []
        for fast in (True, False):
            monkeypatch.setattr(settings, "FAST_LANE", fast)
            batch = await done(client, line("a", url, "embedder" if "emb" in url else "sky/sky-1"), endpoint=url)
            (answer,) = await written(client, batch["output_file_id"])
            assert (answer["custom_id"], answer["response"]["body"]["object"]) == ("a", kind)
            told.append((batch["usage"], batch["request_counts"], answer["response"]["body"]))
        assert told[0] == told[1], url
    assert [lane for lane, _ in await recorded(batches)] == ["fast", "django"] * len(OBJECTS)


async def test_a_file_may_be_written_as_on_windows(client: httpx.AsyncClient, batches: LlamaStack) -> None:
    content = b"\xef\xbb\xbf" + jsonl(line("a"), line("b")).replace(b"\n", b"\r\n") + b"\r\n"
    batch = await ended(client, (await create(client, await upload(client, content)))["id"])
    assert (batch["status"], batch["request_counts"]["completed"]) == ("completed", 2)


async def test_a_line_that_fails_stands_in_the_error_file(client: httpx.AsyncClient, batches: LlamaStack) -> None:
    lines = [line("good"), line("none", model="no such"), line("bad", temperature=9), line("more")]
    batch = await done(client, *lines)
    assert (batch["status"], batch["request_counts"]) == ("completed", {"total": 4, "completed": 2, "failed": 2})
    assert [one["custom_id"] for one in await written(client, batch["output_file_id"])] == ["good", "more"]
    none, bad = await written(client, batch["error_file_id"])
    assert (none["custom_id"], none["response"]["status_code"], none["error"]) == ("none", 404, None)
    assert (bad["response"]["status_code"], bad["response"]["body"]["error"]["param"]) == (400, "temperature")


async def test_a_batch_that_was_left_goes_on_where_it_was(
    client: httpx.AsyncClient, batches: LlamaStack, upstream: Upstream
) -> None:
    await batches.worker.stop()
    file_id = await upload(client, jsonl(line("a"), line("b"), line("c")))
    made = await create(client, file_id)

    def left() -> None:
        job = Job.objects.claim(Job.objects.get().id, timedelta(seconds=-1))
        Batch.objects.write(job, made["id"], status="in_progress", total=3)
        answer = AnswerRecord(made["id"], 2, True, '{"custom_id":"b"}')
        assert Batch.objects.keep(job, made["id"], [answer], dict.fromkeys(COUNTED, 0) | {"completed": 1}, {})

    await db(left)
    assert await db(lambda: Job.objects.get().attempt) == 1  # who gets on is no poison
    batches.worker.start()
    batch = await ended(client, made["id"])
    assert batch["request_counts"] == {"total": 3, "completed": 3, "failed": 0}
    answers = await written(client, batch["output_file_id"])
    assert [one["custom_id"] for one in answers] == ["a", "b", "c"]
    assert len(upstream.requests) == 2


async def test_no_file_is_written_twice(client: httpx.AsyncClient, batches: LlamaStack) -> None:
    first = await done(client, line("a"))

    def left() -> None:
        Job.objects.update(status="queued")
        Batch.objects.update(status="finalizing", output_file_id=None)
        BatchAnswer.objects.create(batch_id=first["id"], line=1, succeeded=True, text="{}")

    await db(left)
    batches.worker.ring()
    assert (await ended(client, first["id"]))["output_file_id"] == first["output_file_id"]


# --- what is wrong with a file ---


WRONG_LINES: list[tuple[bytes, tuple[str, int | None, str | None]]] = [
    (b"\n \n", ("empty_file", None, None)),
    (b"[1]\n", ("invalid_json_line", 1, None)),
    (b'\n{"a": 1\n', ("invalid_json_line", 2, None)),
    (b"\xff\xfe\n", ("invalid_json_line", 1, None)),
    (jsonl(line("a"), line("b"), line("a")), ("duplicate_custom_id", 3, "custom_id")),
    (jsonl(line("a"), line("b", "/v1/embeddings")), ("invalid_url", 2, "url")),
    (jsonl(line("a") | {"method": "GET"}), ("invalid_method", 1, "method")),
    (jsonl(line("a") | {"custom_id": 7}), ("invalid_type", 1, "custom_id")),
    (jsonl(line("a") | {"priority": 7}), ("unknown_parameter", 1, None)),
    (jsonl(line("a", stream=True)), ("invalid_value", 1, "body.stream")),
    (b'{"a":' * 70 + b"1" + b"}" * 70 + b"\n", ("invalid_json_line", 1, "body")),
    (jsonl(line("a") | {"body": {}}), ("missing_required_parameter", 1, "body.model")),
    (jsonl({"custom_id": "a", "method": "POST", "url": CHAT}), ("missing_required_parameter", 1, "body")),
    (jsonl(*(line(str(n)) for n in range(50_001))), ("too_many_tasks", 50_001, None)),
]


async def test_what_is_wrong_with_a_line_is_told(
    client: httpx.AsyncClient,
    batches: LlamaStack,
    upstream: Upstream,
) -> None:
    for content, told in WRONG_LINES:
        made = await create(client, await upload(client, content))
        assert wrong(await ended(client, made["id"])) == [told], content[:200]
        assert upstream.requests == [], content[:200]


async def test_so_is_what_is_wrong_with_several_lines(client: httpx.AsyncClient, batches: LlamaStack) -> None:
    batch = await done(client, b"{", line("a"), line("a"))
    assert [error[:2] for error in wrong(batch)] == [("invalid_json_line", 1), ("duplicate_custom_id", 3)]
    async with asyncio.timeout(30):
        while not (job := await db(Job.objects.get)).ended_at:  # a moment after its batch
            await asyncio.sleep(0.02)
    assert job.error.startswith("The batch failed: Line 1: This line is not valid JSON")
    assert job.error.endswith(" Other errors in its file: 1.")
    assert batch["failed_at"] >= batch["created_at"]


async def test_the_file_must_be_there_and_for_batches(client: httpx.AsyncClient, batches: LlamaStack) -> None:
    batch = await ended(client, (await create(client, "file-none"))["id"])
    assert wrong(batch) == [("file_not_found", None, "input_file_id")]
    file_id = await upload(client, jsonl(line("a")), "user_data")
    batch = await ended(client, (await create(client, file_id))["id"])
    assert wrong(batch) == [("invalid_purpose", None, "input_file_id")]


async def test_a_file_of_more_than_200_megabytes_is_too_large(client: httpx.AsyncClient, batches: LlamaStack) -> None:
    file_id = await upload(client, jsonl(line("a")))
    await db(lambda: File.objects.filter(pk=file_id).update(bytes=MOST_BYTES + 1))
    batch = await ended(client, (await create(client, file_id))["id"])
    assert wrong(batch) == [("file_too_large", None, "input_file_id")]
    assert "200 MB" in batch["errors"]["data"][0]["message"]


async def test_the_job_of_a_batch_that_is_not_valid_counts_the_same_lines(
    client: httpx.AsyncClient, batches: LlamaStack
) -> None:
    batch = await done(client, b"no JSON", line("a"))
    assert (batch["status"], batch["request_counts"]["total"]) == ("failed", 2)
    job = (await client.get("/v1alpha/jobs", params={"kind": "batch"})).json()["data"][0]
    assert job["progress"] == {"done": 0, "total": 2}


async def test_a_tenant_has_so_many_batches_under_way_and_one_more_is_told_what_to_do(
    client: httpx.AsyncClient, batches: LlamaStack
) -> None:
    await batches.worker.stop()
    await db(lambda: service.edit_provider(Provider.objects.get(api="batches"), {"max_batches_per_tenant": 2}, True))
    await batches.live.refresh()
    file_id = await upload(client, jsonl(line("a")))
    first, _ = [await create(client, file_id, idempotency_key=key) for key in ("one", "two")]
    body = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h"}
    answer = await client.post(URL, json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], answer.headers["Retry-After"]) == (429, "too_many_batches", "60")
    assert "POST /v1/batches/{batch_id}/cancel" in error["message"]
    assert (await create(client, file_id, idempotency_key="one"))["id"] == first["id"]  # it is none more
    assert (await client.post(f"{URL}/{first['id']}/cancel")).status_code == 200
    await create(client, file_id)


async def test_another_tenant_s_file_is_none(client: httpx.AsyncClient, batches: LlamaStack) -> None:
    _, secret = await db(ApiKey.issue, "theirs", "eve", tenant="other")
    await batches.live.refresh()
    file_id = await upload(client, jsonl(line("a")))
    client.headers["Authorization"] = f"Bearer {secret}"
    batch = await create(client, file_id)
    assert wrong(await ended(client, batch["id"])) == [("file_not_found", None, "input_file_id")]
    del client.headers["Authorization"]
    assert (await client.get(f"{URL}/{batch['id']}")).status_code == 404
    assert (await client.post(f"{URL}/{batch['id']}/cancel")).status_code == 404
    assert (await client.get(URL)).json()["data"] == []


WRONG_REQUESTS: list[tuple[str, Any]] = [
    ("endpoint", "/v1/responses"),
    ("completion_window", "1h"),
    ("input_file_id", ""),
    ("output_expires_after", {"anchor": "created_at", "seconds": 1}),
    ("priority", 1),
]


async def test_a_request_that_is_wrong_is_a_400(client: httpx.AsyncClient, batches: LlamaStack) -> None:
    for field, value in WRONG_REQUESTS:
        body = {"input_file_id": "file-1", "endpoint": CHAT, "completion_window": "24h", field: value}
        response = await client.post(URL, json=body)
        assert (response.status_code, response.json()["error"]["param"].partition(".")[0]) == (400, field), field


async def test_without_a_provider_there_are_no_batches(client: httpx.AsyncClient) -> None:
    body = {"input_file_id": "file-1", "endpoint": CHAT, "completion_window": "24h"}
    response = await client.post(URL, json=body)
    assert (response.status_code, "providers.batches" in response.json()["detail"]) == (503, True)


# --- cancel, expiry, keys, lists ---


async def under_way(client: httpx.AsyncClient, upstream: Upstream, *lines: Any) -> Any:
    """A batch of which what can be answered has been, and the rest is held by the upstream."""
    made = await create(client, await upload(client, jsonl(*lines)))
    held = sum(one["body"]["model"] == "held" for one in lines)
    async with asyncio.timeout(30):
        while (await get(client, made["id"]))["request_counts"]["completed"] < len(lines) - held:
            await asyncio.sleep(0.05)
    return await get(client, made["id"])


@pytest.fixture
async def held(client: httpx.AsyncClient, batches: LlamaStack) -> str:
    body = {"model_id": "held", "provider_id": "sky", "provider_model_id": "held", "model_type": "llm"}
    response = await client.post("/v1/models", json=body)
    assert response.status_code == 200, response.text
    return "held"


async def test_a_line_that_takes_long_is_not_lost(client: httpx.AsyncClient, upstream: Upstream, held: str) -> None:
    batch = await under_way(client, upstream, line("a", model=held), line("b"))
    upstream.released.set()
    batch = await ended(client, batch["id"])
    assert (batch["status"], batch["request_counts"]["completed"]) == ("completed", 2)
    assert [one["custom_id"] for one in await written(client, batch["output_file_id"])] == ["a", "b"]


async def test_a_batch_that_is_cancelled_keeps_what_has_been_answered(
    client: httpx.AsyncClient, upstream: Upstream, held: str
) -> None:
    batch = await under_way(client, upstream, line("a"), line("b", model=held))
    assert (batch["status"], batch["request_counts"]["completed"]) == ("in_progress", 1)
    told = (await client.post(f"{URL}/{batch['id']}/cancel")).json()
    assert told["status"] in ("cancelling", "cancelled")
    batch = await ended(client, batch["id"])
    assert (batch["status"], batch["error_file_id"]) == ("cancelled", None)
    assert [one["custom_id"] for one in await written(client, batch["output_file_id"])] == ["a"]
    assert batch["cancelled_at"] >= batch["cancelling_at"]
    assert (await client.post(f"{URL}/{batch['id']}/cancel")).json() == batch
    await upstream.until_closed()


async def test_one_that_has_ended_otherwise_is_not_cancelled(client: httpx.AsyncClient, batches: LlamaStack) -> None:
    batch = await done(client, line("a"))
    response = await client.post(f"{URL}/{batch['id']}/cancel")
    assert (response.status_code, response.json()["error"]["code"]) == (409, "batch_ended")


async def test_files_that_could_not_be_written_are_when_the_job_is_tried_again(
    client: httpx.AsyncClient, batches: LlamaStack, tmp_path: Path
) -> None:
    folder = tmp_path / "files"
    file_id = await upload(client, jsonl(line("a")))
    await batches.worker.stop()
    made = await create(client, file_id)
    job_id = await db(lambda: Job.objects.get().id)

    def left() -> None:
        """As a full disk leaves it."""
        job = Job.objects.claim(job_id)
        counts = dict.fromkeys(COUNTED, 0) | {"completed": 1}
        Batch.objects.keep(job, made["id"], [AnswerRecord(made["id"], 1, True, "{}")], counts, {})
        Batch.objects.write(job, made["id"], status="finalizing", finalizing_at=timezone.now(), total=1)
        Job.objects.finish(job, "failed", "There is no room.")

    await db(left)
    batch = await get(client, made["id"])
    assert (batch["status"], batch["errors"]["data"][0]["message"]) == ("failed", "There is no room.")
    assert batch["failed_at"] is not None
    batches.worker.start()
    assert (await client.post(f"/v1alpha/jobs/{job_id}/retry")).status_code == 200
    batch = await ended(client, made["id"])
    assert (batch["status"], batch["failed_at"], batch["errors"]) == ("completed", None, None)
    assert (folder / batch["output_file_id"]).read_bytes() == b"{}\n"


async def test_one_that_has_not_begun_is_cancelled_at_once(client: httpx.AsyncClient, batches: LlamaStack) -> None:
    await batches.worker.stop()
    made = await create(client, "file-1")
    told = (await client.post(f"{URL}/{made['id']}/cancel")).json()
    assert (told["status"], told["cancelled_at"] is None) == ("cancelled", False)


async def test_one_that_waits_for_its_place_is_cancelled_while_it_waits(
    client: httpx.AsyncClient, batches: LlamaStack, upstream: Upstream, held: str
) -> None:
    await db(
        lambda: service.edit_provider(Provider.objects.get(api="batches"), {"max_concurrent_batches": 1}, enabled=True)
    )
    await batches.live.refresh()
    first = await under_way(client, upstream, line("a", model=held), line("b"))
    second = await create(client, await upload(client, jsonl(line("a"))))
    async with asyncio.timeout(30):
        while await db(Job.objects.filter(status="queued").exists):
            await asyncio.sleep(0.05)
    assert (await client.post(f"{URL}/{second['id']}/cancel")).json()["status"] == "cancelling"
    second = await ended(client, second["id"])
    assert (second["status"], second["request_counts"]["total"]) == ("cancelled", 0)
    assert (await get(client, first["id"]))["status"] == "in_progress"


async def begun_again() -> None:
    """The one job, as if whoever did it were gone."""
    await db(lambda: Job.objects.update(fence=99))
    await db(lambda: Job.objects.update(status="queued", lease_until=None))


async def test_what_is_not_answered_in_time_expires(client: httpx.AsyncClient, upstream: Upstream, held: str) -> None:
    batch = await under_way(client, upstream, line("a"), line("b", model=held))
    await db(lambda: Batch.objects.update(expires_at=timezone.now()))
    await begun_again()
    batch = await ended(client, batch["id"])
    assert (batch["status"], batch["request_counts"]) == ("expired", {"total": 2, "completed": 1, "failed": 1})
    assert [one["custom_id"] for one in await written(client, batch["output_file_id"])] == ["a"]
    (expired,) = await written(client, batch["error_file_id"])
    assert (expired["custom_id"], expired["error"]["code"]) == ("b", "batch_expired")


async def test_a_batch_whose_owner_may_act_no_more_is_stopped_with_what_was_answered(
    client: httpx.AsyncClient, batches: LlamaStack, upstream: Upstream, held: str
) -> None:
    key, secret = await db(ApiKey.issue, "ada's", "ada")
    await batches.live.refresh()
    client.headers["Authorization"] = f"Bearer {secret}"
    batch = await under_way(client, upstream, line("a"), line("b", model=held))
    del client.headers["Authorization"]
    await db(key.revoke)
    await begun_again()
    batch = await ended(client, batch["id"])
    assert [(error["code"], error["line"]) for error in batch["errors"]["data"]] == [("owner_disabled", None)]
    assert (batch["status"], batch["request_counts"]["completed"], batch["error_file_id"]) == ("failed", 1, None)
    assert [one["custom_id"] for one in await written(client, batch["output_file_id"])] == ["a"]
    assert "no API key" in await db(lambda: Job.objects.get().error)
    await upstream.until_closed()


async def test_one_whose_owner_has_another_key_goes_on(
    client: httpx.AsyncClient, batches: LlamaStack, upstream: Upstream
) -> None:
    key, secret = await db(ApiKey.issue, "ada's", "ada")
    await db(ApiKey.issue, "ada's other", "ada")
    await batches.live.refresh()
    await batches.worker.stop()
    client.headers["Authorization"] = f"Bearer {secret}"
    made = await create(client, await upload(client, jsonl(line("a"))))
    del client.headers["Authorization"]
    await db(key.revoke)
    batches.worker.start()
    assert (await ended(client, made["id"]))["status"] == "completed"


class SlowFiles(FilesService):
    """Answers when it is told to."""

    def __init__(self, live: Live) -> None:
        super().__init__(live)
        self.asked, self.answers = asyncio.Event(), asyncio.Event()

    async def get(self, call: Call, file_id: str) -> FileObject:
        self.asked.set()
        await self.answers.wait()
        return await super().get(call, file_id)


async def test_one_that_is_cancelled_while_its_file_is_read_asks_for_nothing(
    client: httpx.AsyncClient, batches: LlamaStack, upstream: Upstream
) -> None:
    file_id = await upload(client, jsonl(line("a")))
    batches.files = slow = SlowFiles(batches.live)
    made = await create(client, file_id)
    await slow.asked.wait()
    assert (await client.post(f"{URL}/{made['id']}/cancel")).json()["status"] == "cancelling"
    slow.answers.set()
    batch = await ended(client, made["id"])
    assert (batch["status"], batch["request_counts"]["total"], batch["output_file_id"]) == ("cancelled", 1, None)
    assert upstream.requests == []


async def test_of_several_at_once_an_idempotency_key_makes_one_batch(
    client: httpx.AsyncClient, batches: LlamaStack
) -> None:
    await batches.worker.stop()
    made = await asyncio.gather(*(create(client, "file-1", idempotency_key="k") for _ in range(5)))
    assert len({one["id"] for one in made}) == 1
    assert await db(lambda: (Batch.objects.count(), Job.objects.count())) == (1, 1)


async def test_provider_data_that_no_key_opens_any_more_ends_its_batch_with_the_reason(
    client: httpx.AsyncClient, batches: LlamaStack, upstream: Upstream
) -> None:
    await batches.worker.stop()
    made = await create(client, await upload(client, jsonl(line("a"))))
    await db(lambda: Batch.objects.update(provider_data="enc:v1:of-another-key"))
    batches.worker.start()
    batch = await ended(client, made["id"])
    (error,) = batch["errors"]["data"]
    assert (batch["status"], error["code"], "LLAMA_STACK_SECRET_KEYS" in error["message"]) == (
        "failed",
        "job_failed",
        True,
    )
    assert upstream.requests == []


async def test_an_idempotency_key_makes_one_batch(client: httpx.AsyncClient, batches: LlamaStack) -> None:
    first = await create(client, "file-1", idempotency_key="k")
    assert (await create(client, "file-1", idempotency_key="k"))["id"] == first["id"]
    body = {"input_file_id": "file-2", "endpoint": CHAT, "completion_window": "24h", "idempotency_key": "k"}
    response = await client.post(URL, json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (409, "idempotency_key")
    assert (await create(client, "file-2", idempotency_key="l"))["id"] != first["id"]
    assert (await create(client, "file-1"))["id"] != (await create(client, "file-1"))["id"]


async def test_batches_are_listed_in_pages_the_newest_first(client: httpx.AsyncClient, batches: LlamaStack) -> None:
    made = [(await create(client, "file-1"))["id"] for _ in range(3)]
    page = (await client.get(URL, params={"limit": 2})).json()
    assert ([one["id"] for one in page["data"]], page["has_more"]) == ([made[2], made[1]], True)
    rest = (await client.get(URL, params={"after": page["last_id"]})).json()
    assert ([one["id"] for one in rest["data"]], rest["has_more"]) == ([made[0]], False)
    assert (await client.get(URL, params={"status": "failed"})).status_code == 400
    assert (await client.get("/v1/openai/v1/batches")).status_code == 200


async def test_provider_data_is_used_kept_encrypted_and_removed(
    client: httpx.AsyncClient, batches: LlamaStack, upstream: Upstream
) -> None:
    await batches.worker.stop()
    client.headers["X-LlamaStack-Provider-Data"] = json.dumps({"openai_api_key": "sk-mine"})
    made = await create(client, await upload(client, jsonl(line("a"))))
    kept = await db(lambda: Batch.objects.get().provider_data)
    assert (kept.startswith("enc:v1:"), "sk-mine" in kept) == (True, False)
    batches.worker.start()
    await ended(client, made["id"])
    sent = [headers["Authorization"] for headers in upstream.headers if "Content-Type" in headers]
    assert sent == ["Bearer sk-mine"]  # whatever a check of the provider's health says beside
    assert await db(lambda: Batch.objects.get().provider_data) == ""


async def test_provider_data_is_refused_where_it_is_not_kept(client: httpx.AsyncClient, running: LlamaStack) -> None:
    await db(add_batches, store_provider_data=False)
    await running.live.refresh()
    client.headers["X-LlamaStack-Provider-Data"] = json.dumps({"openai_api_key": "sk-mine"})
    body = {"input_file_id": "file-1", "endpoint": CHAT, "completion_window": "24h"}
    assert (await client.post(URL, json=body)).status_code == 400


async def test_a_job_that_fails_ends_its_batch(client: httpx.AsyncClient, batches: LlamaStack) -> None:
    await batches.worker.stop()
    made = await create(client, "file-1")
    await db(lambda: Job.objects.update(payload={"schema": 2}))
    batches.worker.start()
    batch = await ended(client, made["id"])
    (error,) = batch["errors"]["data"]
    told = "The payload of this job cannot be read: 'schema': Input should be 1."
    assert (batch["status"], error["code"], error["message"]) == ("failed", "job_failed", told)
    assert (await client.get("/v1alpha/jobs", params={"kind": "batch"})).json()["data"][0]["status"] == "quarantined"
