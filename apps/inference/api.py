"""Inference over HTTP: parse, call the service, shape the answer."""

from typing import Any

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from ninja import Router

from apps.inference.schemas import (
    ChatCompletion,
    ChatCompletionRequest,
    EmbeddingRequest,
    EmbeddingResponse,
)
from llamastack import sse
from llamastack.call import Call
from llamastack.stack import current

router = Router(tags=["inference"])


class Request(HttpRequest):
    """A request that has been authenticated."""

    auth: Call


@router.post("/chat/completions", response=ChatCompletion, summary="Create a chat completion")
async def create_chat_completion(request: Request, body: ChatCompletionRequest) -> Any:
    """One completion, or with `stream: true` server-sent events of its chunks that end in `[DONE]`."""
    reply = await current().inference.post_chat_completion(request.auth, body)
    return json(reply) if isinstance(reply, ChatCompletion) else await stream(reply)


@router.post("/embeddings", response=EmbeddingResponse, summary="Create embeddings")
async def create_embeddings(request: Request, body: EmbeddingRequest) -> Any:
    """One vector an input, as floats or as base64 of little-endian float32."""
    return json(await current().inference.post_embedding(request.auth, body))


def json(reply: ChatCompletion | EmbeddingResponse) -> HttpResponse:
    return HttpResponse(sse.dump(reply), content_type="application/json")


async def stream(chunks: Any) -> StreamingHttpResponse:
    return await sse.respond(chunks)
