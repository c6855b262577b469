"""Per-request keys with the official clients: llama-stack-client, ogx-client and openai."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from llama_stack_client import AuthenticationError, BadRequestError, LlamaStackClient
from ogx_client import OgxClient

from tests.live import SERVERS, Live, live
from tests.servers import ANSWER_SECONDS

CANARY, OURS = "sk-canary-7", "sk-the-operators"
DATA = {"openai_api_key": CANARY}
HELLO: Any = [{"role": "user", "content": "Hello"}]
HEADER = "X-LlamaStack-Provider-Data"


@pytest.fixture(scope="module", params=SERVERS)
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    variables = {
        "VLLM_URL": "http://127.0.0.1:9/v1",
        "VLLM_API_TOKEN": OURS,
        "LLAMA_STACK_ALLOWED_FETCHES": "127.0.0.1",
    }
    with live(request.param, tmp_path_factory.mktemp("keys"), **variables) as running:
        yield running


def sent(gateway: Live) -> str:
    """The key of the last request with a body: the server lists models whenever it likes."""
    asked = [headers for headers in gateway.upstream.headers if "Content-Type" in headers]
    return asked[-1].get("Authorization", "").removeprefix("Bearer ")


def test_llama_stack_clients_provider_data(gateway: Live) -> None:
    with LlamaStackClient(base_url=gateway.url, provider_data=DATA) as client:
        client.chat.completions.create(model="openai/sky-1", messages=HELLO)
        assert sent(gateway) == CANARY
    with LlamaStackClient(base_url=gateway.url) as client:
        client.chat.completions.create(model="openai/sky-1", messages=HELLO)
        assert sent(gateway) == "sk-upstream"


def test_ogx_clients_provider_data(gateway: Live) -> None:
    with OgxClient(base_url=gateway.url, provider_data=DATA) as client:
        chunks = client.chat.completions.create(model="openai/sky-1", messages=HELLO, stream=True)
        assert list(chunks)
    assert sent(gateway) == CANARY


def test_openais_client_with_a_header(gateway: Live) -> None:
    headers = {HEADER: json.dumps(DATA)}
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", default_headers=headers) as client:
        client.completions.create(model="openai/sky-1", prompt="Hello")
    assert sent(gateway) == CANARY


def test_a_key_that_is_none_is_told(gateway: Live) -> None:
    with LlamaStackClient(base_url=gateway.url, provider_data={"openai_api_key": 5}, max_retries=0) as client:
        with pytest.raises(BadRequestError, match="openai_api_key"):
            client.chat.completions.create(model="openai/sky-1", messages=HELLO)


def test_no_key_at_all_is_told(gateway: Live) -> None:
    entry = {"provider_id": "mine", "provider_type": "remote::groq", "config": {}}
    made = httpx.post(f"{gateway.url}/manage/providers", json=entry, timeout=ANSWER_SECONDS)
    assert made.status_code == 201, made.text
    with LlamaStackClient(base_url=gateway.url, max_retries=0) as client:
        client.models.register(model_id="mine/sky", provider_id="mine", provider_model_id="sky-1")
        with pytest.raises(AuthenticationError, match="groq_api_key"):
            client.chat.completions.create(model="mine/sky", messages=HELLO)
    assert httpx.delete(f"{gateway.url}/manage/providers/inference/mine", timeout=ANSWER_SECONDS).status_code in (
        200,
        204,
    )


def test_an_address_of_the_callers_gets_the_callers_key_and_nothing_of_the_operators(gateway: Live) -> None:
    with LlamaStackClient(base_url=gateway.url, max_retries=0) as client:
        client.models.register(model_id="vllm/sky", provider_id="vllm", provider_model_id="sky-1")
    for data, key in (({}, ""), ({"vllm_api_token": CANARY}, CANARY)):
        with LlamaStackClient(base_url=gateway.url, provider_data={"vllm_url": gateway.upstream.url, **data}) as client:
            chunks = client.chat.completions.create(model="vllm/sky", messages=HELLO, stream=True)
            assert list(chunks)
            assert client.chat.completions.create(model="vllm/sky", messages=HELLO).choices
        assert sent(gateway) == key
    with LlamaStackClient(base_url=gateway.url) as client:
        client.models.unregister("vllm/sky")
    assert OURS not in str(gateway.upstream.headers)


def test_the_server_logs_none_of_it(gateway: Live) -> None:
    assert CANARY not in gateway.server.output
    answer = httpx.get(f"{gateway.url}/v1/models", headers=[(HEADER, "{}"), (HEADER, "{}")], timeout=ANSWER_SECONDS)
    assert answer.status_code == 400
