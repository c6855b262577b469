"""LangChain's ChatOpenAI against the real server and a real model: chats, streams, tools, structured output."""

from collections.abc import AsyncIterator

import httpx
import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

from tests.sdk.conftest import CHAT, EMBEDDING, ON_ONE
from tests.servers import Server

pytestmark = [pytest.mark.local_model, ON_ONE]
QUESTION = "What is the capital of France?"


class Answer(BaseModel):
    city: str
    certain: bool


@tool
def capital(country: str) -> str:
    """The capital of a country."""
    return {"France": "Paris"}.get(country, "unknown")


@pytest.fixture
async def model(server: Server) -> AsyncIterator[ChatOpenAI]:
    """With connections of its own, since LangChain closes none."""
    async with httpx.AsyncClient() as waiting:
        with httpx.Client() as http:
            yield ChatOpenAI(
                base_url=f"{server.url}/v1",
                api_key="none",
                model=CHAT,
                temperature=0,
                max_tokens=60,
                max_retries=0,
                http_client=http,
                http_async_client=waiting,
            )


def test_a_chat_whole_and_streamed(model: ChatOpenAI) -> None:
    whole = model.invoke(QUESTION)
    assert "Paris" in str(whole.content)
    assert whole.usage_metadata["output_tokens"] > 0
    streamed = None
    for chunk in model.stream(QUESTION):
        streamed = chunk if streamed is None else streamed + chunk
    assert isinstance(streamed, AIMessageChunk)
    assert streamed.content == whole.content


async def test_chats_at_once(model: ChatOpenAI) -> None:
    replies = await model.abatch([QUESTION, QUESTION])
    assert ["Paris" in str(reply.content) for reply in replies] == [True, True]


def test_a_bound_tool_is_called_and_its_answer_read(model: ChatOpenAI) -> None:
    question = HumanMessage(QUESTION)
    asked = model.bind_tools([capital], tool_choice="capital").invoke([question])
    assert [call["name"] for call in asked.tool_calls] == ["capital"]
    told = capital.invoke(asked.tool_calls[0])
    assert isinstance(told, ToolMessage)
    assert model.bind_tools([capital], tool_choice="none").invoke([question, asked, told]).content


def test_a_tool_call_is_streamed_in_parts(model: ChatOpenAI) -> None:
    bound = model.bind_tools([capital], tool_choice="required")
    chunks = list(bound.stream(QUESTION))
    together = chunks[0]
    for chunk in chunks[1:]:
        together += chunk
    assert len(chunks) > 3
    assert together.tool_calls[0]["args"] == bound.invoke(QUESTION).tool_calls[0]["args"]


def test_an_answer_is_a_pydantic_model(model: ChatOpenAI) -> None:
    assert isinstance(model.with_structured_output(Answer, method="json_schema").invoke(QUESTION), Answer)


def test_embeddings(server: Server) -> None:
    with httpx.Client() as http:
        embeddings = OpenAIEmbeddings(
            base_url=f"{server.url}/v1",
            api_key="none",
            model=EMBEDDING,
            check_embedding_ctx_length=False,
            http_client=http,
        )
        assert [len(vector) for vector in embeddings.embed_documents(["a cat", "a kitten"])] == [384, 384]
