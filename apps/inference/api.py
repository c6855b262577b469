"""Inference over HTTP: parse, call the service, shape the answer."""

import re
from collections.abc import Callable
from typing import Any, ParamSpec

import orjson
from django.http import HttpResponse, StreamingHttpResponse
from ninja import Query, Router
from pydantic import BaseModel, Field

from apps.access.service import Request
from apps.inference import stored
from apps.inference.schemas import (
    ChatCompletion,
    ChatCompletionRequest,
    ChatCompletionUpdate,
    Completion,
    CompletionRequest,
    DeletedChatCompletion,
    EmbeddingRequest,
    EmbeddingResponse,
    RerankRequest,
    RerankResponse,
    StoredChatCompletion,
    StoredMessage,
)
from llamastack import sse
from llamastack.apis import ALIASES
from llamastack.bodies import refuse_unknown
from llamastack.db import db
from llamastack.pagination import NewestFirst, OldestFirst, Page
from llamastack.stack import current

METADATA = re.compile(r"metadata\[.*\]", re.DOTALL)
P = ParamSpec("P")
router = Router(tags=["inference"])
alpha = Router(tags=["inference"])


class StoredFilter(NewestFirst):
    model: str | None = Field(None, description="Only completions of this model")


@router.post("/chat/completions", response=ChatCompletion, summary="Create a chat completion")
async def create_chat_completion(request: Request, body: ChatCompletionRequest) -> Any:
    """One completion, or with `stream: true` server-sent events of its chunks that end in `[DONE]`."""
    reply = await current().inference.post_chat_completion(request.auth, body)
    return json(reply) if isinstance(reply, ChatCompletion) else await stream(request, reply)


@router.get("/chat/completions", response=Page[StoredChatCompletion], summary="List stored chat completions")
async def list_chat_completions(request: Request, paging: Query[StoredFilter]) -> Any:
    """Those of the caller's tenant, each with its input messages; `metadata[key]=text` finds by metadata."""
    metadata = {name[9:-1]: str(text) for name, text in request.GET.items() if METADATA.fullmatch(name)}
    refuse_unknown(
        (name for name in request.GET if not METADATA.fullmatch(name)), [*StoredFilter.model_fields, "metadata[key]"]
    )
    return await found(stored.listed, request.auth.principal, paging, paging.model, metadata)


@router.get("/chat/completions/{completion_id}", response=StoredChatCompletion, summary="Get a stored chat completion")
async def get_chat_completion(request: Request, completion_id: str) -> Any:
    """A completion that was stored, with its input messages."""
    return await found(stored.got, request.auth.principal, completion_id)


@router.post(
    "/chat/completions/{completion_id}", response=StoredChatCompletion, summary="Update a stored chat completion"
)
async def update_chat_completion(request: Request, completion_id: str, body: ChatCompletionUpdate) -> Any:
    """Replace its metadata."""
    return await found(stored.updated, request.auth.principal, completion_id, body.metadata or {})


@router.delete(
    "/chat/completions/{completion_id}", response=DeletedChatCompletion, summary="Delete a stored chat completion"
)
async def delete_chat_completion(request: Request, completion_id: str) -> Any:
    await db(stored.deleted, request.auth.principal, completion_id)
    return DeletedChatCompletion(id=completion_id)


@router.get(
    "/chat/completions/{completion_id}/messages",
    response=Page[StoredMessage],
    summary="List the messages of a stored chat completion",
)
async def list_chat_completion_messages(request: Request, completion_id: str, paging: Query[OldestFirst]) -> Any:
    """The messages it answered, the first one first."""
    refuse_unknown(request.GET, list(OldestFirst.model_fields))
    return await found(stored.messages, request.auth.principal, completion_id, paging)


@router.post("/completions", response=Completion, summary="Create a completion")
async def create_completion(request: Request, body: CompletionRequest) -> Any:
    """Text that continues each prompt; with `stream: true` server-sent events that end in `[DONE]`."""
    reply = await current().inference.post_completion(request.auth, body)
    return json(reply) if isinstance(reply, Completion) else await stream(request, reply)


@router.post("/embeddings", response=EmbeddingResponse, summary="Create embeddings")
async def create_embeddings(request: Request, body: EmbeddingRequest) -> Any:
    """One vector an input, as floats or as base64 of little-endian float32."""
    return json(await current().inference.post_embedding(request.auth, body))


@alpha.post("/inference/rerank", response=RerankResponse, summary="Rerank items by their relevance to a query")
async def rerank(request: Request, body: RerankRequest) -> Any:
    """The items' places in the request and their scores, the most relevant first. Needs a model of type `rerank`."""
    return json(await current().inference.rerank(request.auth, body))


def json(reply: BaseModel) -> HttpResponse:
    return HttpResponse(sse.dump(reply), content_type="application/json")


async def found(work: Callable[P, BaseModel | dict[str, Any]], *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
    """What was stored, which may be long: made to JSON in the thread that read it."""

    def dumped() -> bytes:
        reply = work(*args, **kwargs)
        return sse.dump(reply) if isinstance(reply, BaseModel) else orjson.dumps(reply)

    return HttpResponse(await db(dumped), content_type="application/json")


async def stream(request: Request, chunks: Any) -> StreamingHttpResponse:
    """The deprecated aliases end as 0.3.5 did, without `[DONE]`: llama-stack-client 0.2 takes it for a chunk."""
    return await sse.respond(chunks, done=b"" if request.path.startswith(ALIASES) else sse.DONE)
