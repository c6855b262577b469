"""The base of every vendor that speaks the OpenAI dialect. A vendor states its URL and what differs."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, ClassVar

from apps.inference.dialect import TextStream, mended_embeddings
from apps.inference.protocol import CompletionReply
from apps.inference.providers import reranking
from apps.inference.providers.remote.translation import JSON, Request, Translation, parsed, reading
from apps.inference.providers.remote.vendor import Address as Address
from apps.inference.providers.remote.vendor import Vendor, VendorConfig
from apps.inference.providers.unsupported import REMEDY, to_drop
from apps.inference.schemas import (
    ChatCompletionRequest,
    Completion,
    CompletionChunk,
    CompletionRequest,
    EmbeddingRequest,
    EmbeddingResponse,
    RerankRequest,
    RerankResponse,
)
from llamastack.call import Call
from llamastack.errors import UnsupportedParameter, UpstreamRejected
from llamastack.providers import ProviderConfig

# By these go requests and answers: who has its own of one does to them what the fast lane does not.
WAYS = (
    *("_sent", "answer", "body", "callers_egress", "chunks", "egress_of", "events", "of", "path", "place"),
    *("post_chat_completion", "post_completion", "post_embedding", "read", "reply", "signer", "translated", "vectors"),
    "whole",
)
VERSIONED = re.compile(r"[^/]/v\d\w*$")


class OpenAICompatibleConfig(VendorConfig):
    """A server that speaks the OpenAI dialect: its address, its key, and which of its models are offered here."""


class OpenAICompatible(Vendor):
    """What the protocol asks for: sent as it is, put right, and read with our own types.

    `ignored` names the fields that a vendor's server takes and ignores in silence, each with the values that ask for
    nothing else than leaving it out does; with any other value a request is refused (`drop_unsupported`). `renamed`
    are fields that it knows by another name, and `developer_role` says whether it takes messages of a developer, which
    are a system's elsewhere. `api_path` is added to an address that ends in no version. `translation` reads
    the answers.
    """

    ends_with_done = True
    ignored: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    renamed: ClassVar[Mapping[str, str]] = {}
    developer_role: ClassVar[bool] = True
    api_path: ClassVar[str] = ""
    reranks_images: ClassVar[bool] = False
    translation: ClassVar[type[Translation]] = Translation
    config_class: ClassVar[type[ProviderConfig]] = OpenAICompatibleConfig
    config: OpenAICompatibleConfig

    def url(self) -> str:
        """Where the dialect's paths begin (…/v1)."""
        address = self.config.base_url.rstrip("/")
        whole = address.endswith(self.api_path) or VERSIONED.search(address)
        return address if whole else address + self.api_path

    def passes(self, operation: str) -> bool:
        """Whether the fast lane may pass on what is asked for at a path such as chat/completions.

        It sends what the client has sent, but for fields that are `ignored` or `renamed`, and reads OpenAI's dialect.
        """
        return has_no_way_of_its_own(type(self))

    def translated(self, request: ChatCompletionRequest) -> Translation:
        return self._sent("chat/completions", request)

    async def post_completion(self, call: Call, request: CompletionRequest) -> CompletionReply:
        choices = request.choices * request.prompts
        stream = TextStream(request.model, choices, request.wants_usage or not request.stream)
        sent = self.of(call)._sent("completions", request)
        if request.stream:
            return self.chunks(call, CompletionChunk, sent, stream)
        return await self.whole(call, Completion, sent, stream)

    async def post_embedding(self, call: Call, request: EmbeddingRequest) -> EmbeddingResponse:
        sent = self.of(call)._sent("embeddings", request)
        return await self.vectors(call, sent, await self.answer(call, sent))

    async def vectors(self, call: Call, sent: Translation, answer: Any) -> EmbeddingResponse:
        """What the vendor's answer to a request for embeddings says."""
        found = await self.reply(call, sent, answer)
        with reading(EmbeddingResponse, self.upstream):
            return EmbeddingResponse.model_validate(mended_embeddings(found, sent.request.model))

    async def rerank(self, call: Call, request: RerankRequest) -> RerankResponse:
        try:
            answer = await self.answer(call, self.of(call)._sent("rerank", request))
        except UpstreamRejected as error:
            raise reranking.refused(error, self.upstream, request.model) from error
        return reranking.ranked(parsed(reranking.Results, answer, self.upstream).results, request, self.upstream)

    def _sent(self, operation: str, request: Request) -> Translation:
        return self.translation(request, self.path(operation, request), self.body(request))

    def path(self, operation: str, request: Request | None = None) -> str:
        """Where below the base address an operation is found; that of `models` has no request."""
        return operation

    async def listed(self) -> list[JSON]:
        if self.lacks_key:
            raise self.keyless()
        answer = await self.egress.get(self.path("models"))
        return self.checked(answer.get("data") if isinstance(answer, dict) else answer)

    def body(self, request: Request) -> dict[str, Any]:
        """What is sent: the fields the client set, under the vendor's name of the model."""
        if isinstance(request, RerankRequest):
            return reranking.body(request, self.upstream, images=self.reranks_images)
        body = request.model_dump(exclude_unset=True) | {"model": request.model}
        dropped = to_drop(self._unsupported(body), self.config)
        body = {self.renamed.get(name, name): value for name, value in body.items() if name not in dropped}
        if not self.developer_role and isinstance(request, ChatCompletionRequest):
            body["messages"] = [_as_system(message) for message in body["messages"]]
        return body

    def _unsupported(self, body: dict[str, Any]) -> Iterator[UnsupportedParameter]:
        for name, neutral in self.ignored.items():
            value = body.get(name)
            if value is not None and value not in neutral:
                yield UnsupportedParameter(name, self.upstream, REMEDY)


@cache
def has_no_way_of_its_own(kind: type[OpenAICompatible]) -> bool:
    common = OpenAICompatible
    return kind.translation is Translation and all(getattr(kind, name) is getattr(common, name) for name in WAYS)


def _as_system(message: dict[str, Any]) -> dict[str, Any]:
    return message | {"role": "system"} if message["role"] == "developer" else message
