"""The library clients, on the run's database and a small upstream: what a program that embeds a Stack meets."""

import asyncio
import gc
import json
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import llama_stack_client
import openai
import pytest
from django.db import connection, transaction

from apps.access.models import SnapshotVersion
from llamastack import AsyncLlamaStackAsLibraryClient, LlamaStack, LlamaStackAsLibraryClient, settings, stack
from llamastack.call import ANONYMOUS_ADMIN, Call
from llamastack.config import ConfigError
from llamastack.environment import EnvironmentFault
from tests.upstream import WORDS, Upstream, in_thread

MODELS = ["sky-1", "endless", "held", "cut", "status-429", "nonsense"]
SAID = "".join(WORDS)
QUESTION: Any = [{"role": "user", "content": "What colour is the sky?"}]
FAST = {"max_retries": 0, "timeout": 20.0}


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with in_thread() as running:
        yield running


def run_yaml(file: Path, url: str) -> Path:
    listed = "".join(f"  - {{model_id: {name}, provider_id: sky, model_type: llm}}\n" for name in MODELS)
    file.write_text(f"""version: 2
image_name: {file.stem}
apis: [inference]
providers:
  inference:
  - provider_id: sky
    provider_type: remote::openai
    config: {{base_url: {url}, api_key: any}}
registered_resources:
  models:
  - {{model_id: vectors, provider_id: sky, model_type: embedding, metadata: {{embedding_dimension: 2}}}}
{listed}""")
    return file


@pytest.fixture
def config(transactional_db: None, upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run.yaml on the tests' database."""
    monkeypatch.setenv("DATABASE_URL", settings.DATABASE_URL)
    return run_yaml(tmp_path / "sky.yaml", upstream.url)


@pytest.fixture
def client(config: Path) -> Iterator[LlamaStackAsLibraryClient]:
    with LlamaStackAsLibraryClient(config, **FAST) as client:
        yield client


@pytest.fixture
async def async_client(config: Path) -> AsyncIterator[AsyncLlamaStackAsLibraryClient]:
    async with await AsyncLlamaStackAsLibraryClient.create(config, **FAST) as client:
        yield client


def stack_threads() -> set[str]:
    """The threads that belong to a Stack: its own, its database's, its executors'."""
    return {thread.name for thread in threading.enumerate() if thread.name.startswith(("llama-stack", "db_", "pool-"))}


# --- without a loop ---


def test_models_chats_and_embeddings(client: LlamaStackAsLibraryClient) -> None:
    assert client.initialize()
    assert {model.identifier for model in client.models.list()} >= {*MODELS, "vectors"}
    reply = client.chat.completions.create(model="sky-1", messages=QUESTION)
    assert reply.choices[0].message.content == SAID
    vectors = client.embeddings.create(model="vectors", input=["a", "b"])
    assert [item.embedding for item in vectors.data] == [[0.0, 0.5], [1.0, 0.5]]


def test_a_stream_comes_in_pieces(client: LlamaStackAsLibraryClient) -> None:
    chunks = client.chat.completions.create(model="sky-1", messages=QUESTION, stream=True)
    assert [chunk.choices[0].delta.content for chunk in chunks if chunk.choices[0].delta.content] == WORDS


def test_a_stream_is_read_while_it_goes_on(client: LlamaStackAsLibraryClient) -> None:
    with client.as_openai(**FAST).chat.completions.create(model="endless", messages=QUESTION, stream=True) as chunks:
        said = [next(chunks).choices[0].delta.content for _ in range(20)]
    assert said[1:6] == [*WORDS, "more "]


def test_a_header_says_who_served_a_call(client: LlamaStackAsLibraryClient) -> None:
    chats = client.as_openai(**FAST).chat.completions.with_raw_response
    for asked in ({}, {"stream": True}):
        answer: Any = chats.create(model="sky-1", messages=QUESTION, **asked)
        assert answer.headers["x-llamastack-served-by"] == "sky/sky-1"
        answer.http_response.close()


# --- errors keep their types ---


def test_errors_keep_their_types(client: LlamaStackAsLibraryClient) -> None:
    with pytest.raises(llama_stack_client.NotFoundError, match="Model 'moon-1' was not found"):
        client.chat.completions.create(model="moon-1", messages=QUESTION)
    with pytest.raises(llama_stack_client.BadRequestError, match="'temperature'"):
        client.chat.completions.create(model="sky-1", messages=QUESTION, temperature=99)
    with pytest.raises(llama_stack_client.RateLimitError, match="told you so"):
        client.chat.completions.create(model="status-429", messages=QUESTION)
    with pytest.raises(openai.NotFoundError) as raised:
        client.as_openai(**FAST).chat.completions.create(model="moon-1", messages=QUESTION)
    assert raised.value.code == "model_not_found"


def test_an_error_in_a_stream_is_an_error_of_the_client(client: LlamaStackAsLibraryClient) -> None:
    chunks = client.as_openai(**FAST).chat.completions.create(model="cut", messages=QUESTION, stream=True)
    with pytest.raises(openai.APIError, match=r"Provider .sky. broke off the connection"):
        list(chunks)


def test_an_answer_that_takes_too_long_is_a_time_out(client: LlamaStackAsLibraryClient) -> None:
    with pytest.raises(llama_stack_client.APITimeoutError):
        client.with_options(timeout=0.2).chat.completions.create(model="held", messages=QUESTION)
    assert client.models.list()


# --- going away ---


def wait_until_asked(upstream: Upstream, model: str) -> None:
    while model not in [request["model"] for request in upstream.requests]:
        time.sleep(0.01)


def test_a_stream_that_is_closed_stops_the_generation(client: LlamaStackAsLibraryClient, upstream: Upstream) -> None:
    chunks = client.chat.completions.create(model="endless", messages=QUESTION, stream=True)
    next(iter(chunks))
    chunks.response.close()
    upstream.wait_until_closed()


def test_a_stream_that_nobody_keeps_stops_too(client: LlamaStackAsLibraryClient, upstream: Upstream) -> None:
    for chunk in client.chat.completions.create(model="endless", messages=QUESTION, stream=True):
        if chunk.choices[0].delta.content == "more ":
            break
    gc.collect()  # the official client's streams refer to themselves
    upstream.wait_until_closed()


async def test_a_cancelled_task_stops_the_generation(
    async_client: AsyncLlamaStackAsLibraryClient, upstream: Upstream
) -> None:
    begun = asyncio.Event()

    async def read() -> None:
        async for _ in await async_client.chat.completions.create(model="endless", messages=QUESTION, stream=True):
            begun.set()

    task = asyncio.create_task(read())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(upstream.wait_until_closed)


async def test_a_task_that_is_cancelled_before_the_answer_stops_the_request(
    async_client: AsyncLlamaStackAsLibraryClient, upstream: Upstream
) -> None:
    task = asyncio.create_task(async_client.chat.completions.create(model="held", messages=QUESTION))
    await asyncio.to_thread(wait_until_asked, upstream, "held")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(upstream.wait_until_closed)


# --- on a loop ---


async def test_an_async_client_on_the_loop_of_its_caller(async_client: AsyncLlamaStackAsLibraryClient) -> None:
    """As in a notebook, or under pytest-asyncio: many calls at once, and a stream."""
    replies = await asyncio.gather(
        *(async_client.chat.completions.create(model="sky-1", messages=QUESTION) for _ in range(20))
    )
    assert {reply.choices[0].message.content for reply in replies} == {SAID}
    chunks = await async_client.as_openai(**FAST).chat.completions.create(model="sky-1", messages=QUESTION, stream=True)
    said = [chunk.choices[0].delta.content async for chunk in chunks if chunk.choices[0].delta.content]
    assert said == WORDS


async def test_a_blocking_client_inside_a_running_loop(client: LlamaStackAsLibraryClient) -> None:
    assert client.chat.completions.create(model="sky-1", messages=QUESTION).choices[0].message.content == SAID


def test_one_async_client_on_two_loops_one_after_another(config: Path) -> None:
    """The form of upstream: made without a loop, started by `initialize` or by the first request."""
    client = AsyncLlamaStackAsLibraryClient(config, **FAST)
    assert asyncio.run(client.initialize())
    assert asyncio.run(client.initialize())

    async def ask() -> str:
        reply = await client.chat.completions.create(model="sky-1", messages=QUESTION)
        return str(reply.choices[0].message.content)

    assert [asyncio.run(ask()), asyncio.run(ask())] == [SAID, SAID]
    asyncio.run(client.close())
    assert stack_threads() == set()


async def test_a_creation_that_is_cancelled_leaves_nothing_behind(config: Path) -> None:
    task = asyncio.create_task(AsyncLlamaStackAsLibraryClient.create(config))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not stack.is_running()
    assert "llama-stack" not in stack_threads()


# --- one Stack a process ---


def test_two_clients_share_one_stack_until_the_last_is_closed(config: Path) -> None:
    with LlamaStackAsLibraryClient(config, **FAST) as first:
        second = LlamaStackAsLibraryClient(config, **FAST)
        running = stack.current()
    assert stack.current() is running
    assert second.chat.completions.create(model="sky-1", messages=QUESTION).choices[0].message.content == SAID
    with pytest.raises(llama_stack_client.APIConnectionError):
        first.models.list()
    second.close()
    assert not stack.is_running()
    assert stack_threads() == set()


def test_clients_that_start_at_once_share_one_stack(config: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        clients = list(threads.map(lambda _: LlamaStackAsLibraryClient(config, **FAST), range(4)))
        replies = threads.map(lambda client: client.chat.completions.create(model="sky-1", messages=QUESTION), clients)
        assert {reply.choices[0].message.content for reply in replies} == {SAID}
        assert [thread.name for thread in threading.enumerate()].count("llama-stack") == 1
        list(threads.map(lambda client: client.close(), clients))
    assert stack_threads() == set()


def test_closing_ends_what_other_threads_still_wait_for(config: Path, upstream: Upstream) -> None:
    client = LlamaStackAsLibraryClient(config, **FAST)
    chunks = iter(client.as_openai(**FAST).chat.completions.create(model="endless", messages=QUESTION, stream=True))
    next(chunks)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(client.chat.completions.create, model="held", messages=QUESTION)
        wait_until_asked(upstream, "held")
        client.close()
        with pytest.raises(llama_stack_client.APIConnectionError):
            waiting.result(5)
    with pytest.raises(openai.APIConnectionError):
        list(chunks)
    assert stack_threads() == set()


def test_it_starts_again_after_it_was_closed(config: Path) -> None:
    for _ in range(2):
        with LlamaStackAsLibraryClient(config, **FAST) as client:
            assert client.models.list()
        assert stack_threads() == set()


def test_a_start_that_is_interrupted_is_in_no_other_ones_way(config: Path) -> None:
    held = threading.Event()

    def interrupt() -> None:
        """While the registry is locked, so that the start is not over before."""
        with closing(connection), transaction.atomic():
            SnapshotVersion.lock()
            held.set()
            while "llama-stack" not in stack_threads():
                time.sleep(0.001)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    with ThreadPoolExecutor(1) as threads:
        threads.submit(interrupt)
        assert held.wait(10)
        with pytest.raises(KeyboardInterrupt):
            LlamaStackAsLibraryClient(config, **FAST)
    with LlamaStackAsLibraryClient(config, **FAST) as client:
        assert client.models.list()
    assert stack_threads() == set()


def test_another_configuration_is_refused_while_one_runs(client: LlamaStackAsLibraryClient, tmp_path: Path) -> None:
    other = run_yaml(tmp_path / "moon.yaml", "http://127.0.0.1:9/v1")
    with pytest.raises(EnvironmentFault, match=r"already runs the Stack of sky.*close its clients before moon"):
        LlamaStackAsLibraryClient(other)
    assert client.models.list()


async def test_a_process_that_serves_is_told_so(running: stack.LlamaStack, config: Path) -> None:
    with pytest.raises(EnvironmentFault, match="already serves a Stack"):
        await AsyncLlamaStackAsLibraryClient.create(config)


def test_a_configuration_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no file and no distribution 'startr'; did you mean 'starter'"):
        LlamaStackAsLibraryClient("startr")
    file = tmp_path / "run.yaml"
    file.write_text("version: 2\nimage_name: x\nproviders: 5\n")
    with pytest.raises(ConfigError):
        LlamaStackAsLibraryClient(file)
    assert "llama-stack" not in stack_threads()


def test_another_database_than_that_of_this_process_is_refused(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "sqlite:////nowhere/x.db")
    with pytest.raises(EnvironmentFault, match=r"already set up on another database.*llama stack run"):
        LlamaStackAsLibraryClient(config)


# --- options ---


def test_a_copy_has_other_options_and_the_same_stack(client: LlamaStackAsLibraryClient) -> None:
    copied = client.with_options(timeout=5, max_retries=1)
    assert (copied.timeout, copied.max_retries) == (5, 1)
    assert copied.models.list()


def test_an_option_that_is_unknown_leaves_nothing_running(config: Path) -> None:
    with pytest.raises(TypeError, match="colour"):
        LlamaStackAsLibraryClient(config, colour="blue")
    assert not stack.is_running()


def test_provider_data_goes_along_with_every_request(config: Path) -> None:
    def sent(client: Any) -> str:
        return str(client.models.with_raw_response.list().http_request.headers["X-LlamaStack-Provider-Data"])

    with LlamaStackAsLibraryClient(config, provider_data={"tavily_search_api_key": "t"}) as client:
        assert json.loads(sent(client)) == {"tavily_search_api_key": "t"}
        assert sent(client.with_options(timeout=5)) == sent(client)
        assert sent(client.as_openai(default_headers={"x-mine": "1"})) == sent(client)


def test_the_environment_of_the_program_stays_as_it_was(config: Path) -> None:
    before = dict(os.environ)
    with LlamaStackAsLibraryClient(config):
        assert dict(os.environ) == before


# --- the Stack itself ---


async def test_the_stack_itself_answers_on_the_loop_of_its_caller(config: Path) -> None:
    from apps.inference.schemas import ChatCompletionRequest

    request = ChatCompletionRequest.model_validate({"model": "sky-1", "messages": QUESTION})
    async with LlamaStack.running(config) as running:
        reply: Any = await running.inference.post_chat_completion(Call(ANONYMOUS_ADMIN), request)
        assert reply.choices[0].message.content == SAID
        assert running.loop is asyncio.get_running_loop()
        with pytest.raises(EnvironmentFault, match=r"already runs the Stack of sky"):
            await asyncio.to_thread(LlamaStackAsLibraryClient, config)
    assert not stack.is_running()
