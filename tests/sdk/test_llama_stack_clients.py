"""Llama Stack's own clients: ogx-client 1.1, llama-stack-client 0.2 (Python) and 0.7 (npm)."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from llama_stack_client import LlamaStackClient
from ogx_client import OgxClient

from tests.sdk.conftest import CHAT, EMBEDDING
from tests.servers import Server

pytestmark = pytest.mark.local_model
NODE = Path(__file__).parent / "node"
QUESTION: Any = [{"role": "user", "content": "What is the capital of France?"}]


def test_llama_stack_client_0_2(server: Server) -> None:
    """It chats by the deprecated /v1/openai/v1 paths."""
    with LlamaStackClient(base_url=server.url) as client:
        models = {model.identifier: model for model in client.models.list()}
        assert models[EMBEDDING].metadata["embedding_dimension"] == 384
        assert {"meta-reference", "sentence-transformers"} <= {p.provider_id for p in client.providers.list()}
        reply = client.chat.completions.create(model=CHAT, messages=QUESTION, temperature=0, max_tokens=20)
        assert "Paris" in reply.choices[0].message.content
        chunks = client.chat.completions.create(
            model=CHAT, messages=QUESTION, temperature=0, max_tokens=20, stream=True
        )
        assert "Paris" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert client.inspect.health().status == "OK"
        assert client.inspect.version().version


def test_llama_stack_client_0_2_registers_a_model(server: Server) -> None:
    with LlamaStackClient(base_url=server.url) as client:
        inner = client.models.retrieve(CHAT).provider_resource_id
        made = client.models.register(model_id="mine/too", provider_id="meta-reference", provider_model_id=inner)
        assert made.identifier == "mine/too"
        reply = client.chat.completions.create(model="mine/too", messages=QUESTION, temperature=0, max_tokens=20)
        assert "Paris" in reply.choices[0].message.content
        client.models.unregister("mine/too")
        assert "mine/too" not in {model.identifier for model in client.models.list()}


def test_ogx_client_1_1(server: Server) -> None:
    with OgxClient(base_url=server.url) as client:
        assert {CHAT, EMBEDDING} <= {model.id for model in client.models.list().data}
        assert {"meta-reference", "sentence-transformers"} <= {p.provider_id for p in client.providers.list()}
        reply = client.chat.completions.create(model=CHAT, messages=QUESTION, temperature=0, max_tokens=20)
        assert "Paris" in reply.choices[0].message.content
        chunks = client.chat.completions.create(
            model=CHAT, messages=QUESTION, temperature=0, max_tokens=20, stream=True
        )
        assert "Paris" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


@pytest.mark.node
def test_the_npm_clients(server: Server) -> None:
    ran = subprocess.run(
        ["node", "clients.mjs", server.url, CHAT, EMBEDDING], cwd=NODE, capture_output=True, text=True, timeout=100
    )
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert {CHAT, EMBEDDING} <= set(said["models"])
    assert "meta-reference" in said["providers"]
    assert "Paris" in said["chat"]
    assert "Paris" in said["stream"]
    assert "Paris" in said["openai"]
    assert said["missing"] == 404
    assert said["dimension"] == 384
