"""Inference over HTTP: parse, call the service, shape the answer."""

from typing import Any

from django.http import HttpResponse, StreamingHttpResponse
from ninja import Router

from apps.access.service import Request
from apps.inference.schemas import (
    ChatCompletion,
    ChatCompletionRequest,
    Completion,
    CompletionRequest,
    EmbeddingRequest,
    EmbeddingResponse,
)
from llamastack import sse
from llamastack.apis import ALIASES
from llamastack.stack import current

router = Router(tags=["inference"])


@router.post("/chat/completions", response=ChatCompletion, summary="Create a chat completion")
async def create_chat_completion(request: Request, body: ChatCompletionRequest) -> Any:
    """One completion, or with `stream: true` server-sent events of its chunks that end in `[DONE]`."""
    reply = await current().inference.post_chat_completion(request.auth, body)
    return json(reply) if isinstance(reply, ChatCompletion) else await stream(request, reply)


@router.post("/completions", response=Completion, summary="Create a completion")
async def create_completion(request: Request, body: CompletionRequest) -> Any:
    """Text that continues each prompt; with `stream: true` server-sent events that end in `[DONE]`."""
    reply = await current().inference.post_completion(request.auth, body)
    return json(reply) if isinstance(reply, Completion) else await stream(request, reply)


@router.post("/embeddings", response=EmbeddingResponse, summary="Create embeddings")
async def create_embeddings(request: Request, body: EmbeddingRequest) -> Any:
    """One vector an input, as floats or as base64 of little-endian float32."""
    return json(await current().inference.post_embedding(request.auth, body))


def json(reply: ChatCompletion | Completion | EmbeddingResponse) -> HttpResponse:
    return HttpResponse(sse.dump(reply), content_type="application/json")


async def stream(request: Request, chunks: Any) -> StreamingHttpResponse:
    """The deprecated aliases end as 0.3.5 did, without `[DONE]`: llama-stack-client 0.2 takes it for a chunk."""
    return await sse.respond(chunks, done=b"" if request.path.startswith(ALIASES) else sse.DONE)
