"""The base of every vendor that speaks the OpenAI dialect. A vendor states its URL and what differs."""

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, Field, SecretStr, ValidationError

from apps.inference.protocol import ChatReply, CompletionReply
from apps.inference.providers import reranking
from apps.inference.providers.unsupported import REMEDY, GeneratesConfig, to_drop
from apps.inference.schemas import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    Completion,
    CompletionChunk,
    CompletionRequest,
    EmbeddingRequest,
    EmbeddingResponse,
    RerankRequest,
    RerankResponse,
)
from apps.registry.schemas import ProviderModel
from llamastack.bodies import spelt
from llamastack.call import Call
from llamastack.egress import Egress
from llamastack.errors import StackError, UnsupportedParameter, UpstreamError, UpstreamRejected
from llamastack.providers import Health, Provider, ProviderConfig

R = TypeVar("R", bound=BaseModel)
Request = ChatCompletionRequest | CompletionRequest | EmbeddingRequest | RerankRequest
BASE_URL = "Where its API begins, in most cases with /v1 at the end"


class OpenAICompatibleConfig(GeneratesConfig):
    """A server that speaks the OpenAI dialect: its address, its key, and which of its models are offered here."""

    base_url: str | None = Field(description=BASE_URL)
    api_key: SecretStr | None = Field(None, description="Sent as a bearer token; empty for a server that asks for none")
    allowed_models: list[str] | None = Field(
        None, description="Those to offer, one a line; all that it lists where empty"
    )
    refresh_models: bool = Field(True, description="Ask every five minutes which models there are")

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        return {"base_url": "http://localhost:8000/v1"}


class OpenAICompatible(Provider):
    """What the protocol asks for, forwarded as it is and read with our own types.

    `ignored` names the fields that a vendor's server takes and ignores in silence, each with the values that ask for
    nothing else than leaving it out does; with any other value a request is refused (`drop_unsupported`).
    `ends_with_done` is false of a server whose streams may lack `[DONE]`: whoever says so checks their end.
    """

    ends_with_done: ClassVar[bool] = True
    ignored: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    reranks_images: ClassVar[bool] = False
    config_class: ClassVar[type[ProviderConfig]] = OpenAICompatibleConfig
    config: OpenAICompatibleConfig

    @property
    def upstream(self) -> str:
        """Its name in errors."""
        return f"Provider '{self.provider_id}'"

    @property
    def refreshes(self) -> bool:
        return self.config.refresh_models

    async def start(self) -> None:
        self.egress = self.reaching(self.url(), self.headers())

    async def stop(self) -> None:
        await self.egress.close()

    def reaching(self, base_url: str, headers: Mapping[str, str] | None = None) -> Egress:
        """The way to an address of the vendor's: that of its API or another, such as the one that issues its tokens."""
        return Egress(base_url, self.upstream, headers, verify=self.verify())

    def url(self) -> str:
        """Where the dialect's paths begin (…/v1)."""
        return self.config.base_url or ""

    def api_key(self) -> SecretStr | None:
        return self.config.api_key

    def headers(self) -> Mapping[str, str]:
        key = self.api_key()
        return {"Authorization": f"Bearer {key.get_secret_value()}"} if key and key.get_secret_value() else {}

    def verify(self) -> bool | str:
        """Whether to verify the upstream's certificate, or with which CA bundle."""
        return True

    async def health(self) -> Health:
        try:
            models = await self.listed()
        except StackError as error:
            return Health(False, error.message)
        return Health(True, f"{len(models)} models")

    async def post_chat_completion(self, call: Call, request: ChatCompletionRequest) -> ChatReply:
        if request.stream:
            return self._chunks(call, "chat/completions", ChatCompletionChunk, request)
        return parsed(ChatCompletion, await self._answer(call, "chat/completions", request))

    async def post_completion(self, call: Call, request: CompletionRequest) -> CompletionReply:
        if request.stream:
            return self._chunks(call, "completions", CompletionChunk, request)
        return parsed(Completion, await self._answer(call, "completions", request))

    async def post_embedding(self, call: Call, request: EmbeddingRequest) -> EmbeddingResponse:
        return parsed(EmbeddingResponse, await self._answer(call, "embeddings", request))

    async def rerank(self, call: Call, request: RerankRequest) -> RerankResponse:
        try:
            answer = await self._answer(call, "rerank", request)
        except UpstreamRejected as error:
            raise reranking.refused(error, self.upstream, request.model) from error
        return reranking.ranked(parsed(reranking.Results, answer).results, request, self.upstream)

    async def _answer(self, call: Call, operation: str, request: Request) -> Any:
        path, body, headers = self.path(operation, request), self.body(request), await self.call_headers(call)
        return self.repaired(await self.egress.post(path, body, headers))

    async def _chunks(self, call: Call, operation: str, kind: type[R], request: Request) -> AsyncGenerator[R]:
        path, body, headers = self.path(operation, request), self.body(request), await self.call_headers(call)
        async with aclosing(self.egress.stream(path, body, headers, done=self.ends_with_done)) as events:
            async for event in events:
                yield parsed(kind, self.repaired(event))

    def path(self, operation: str, request: Request) -> str:
        """Where below the base address an operation is found."""
        return operation

    async def call_headers(self, call: Call) -> Mapping[str, str]:
        """What a single call sends beside `headers`, such as a token that has just been renewed."""
        return {}

    def repaired(self, answer: Any) -> Any:
        """A reply, or an event of a stream, as the dialect has it, where the vendor's server writes it otherwise."""
        return answer

    async def get_models(self, call: Call) -> list[ProviderModel]:
        allowed = self.config.allowed_models
        return [self.described(item) for item in await self.listed() if allowed is None or item["id"] in allowed]

    async def listed(self) -> list[dict[str, Any]]:
        """The vendor's own list of models."""
        answer = await self.egress.get("models")
        items = answer.get("data") if isinstance(answer, dict) else answer
        if not isinstance(items, list) or not all(isinstance(i, dict) and isinstance(i.get("id"), str) for i in items):
            raise UpstreamError(f"{self.upstream} answered /models with something that is not a list.")
        return items

    def described(self, item: dict[str, Any]) -> ProviderModel:
        """A listed model with its type, as far as the vendor's list tells it."""
        return ProviderModel(provider_model_id=item["id"])

    def body(self, request: Request) -> dict[str, Any]:
        """What is sent: the fields the client set, under the vendor's name of the model."""
        if isinstance(request, RerankRequest):
            return reranking.body(request, self.upstream, images=self.reranks_images)
        body = request.model_dump(exclude_unset=True) | {"model": request.model}
        dropped = to_drop(self._unsupported(body), self.config)
        return {name: value for name, value in body.items() if name not in dropped}

    def _unsupported(self, body: dict[str, Any]) -> Iterator[UnsupportedParameter]:
        for name, neutral in self.ignored.items():
            value = body.get(name)
            if value is not None and value not in neutral:
                yield UnsupportedParameter(name, self.upstream, REMEDY)


def parsed(kind: type[R], answer: Any) -> R:
    try:
        return kind.model_validate(answer)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = spelt(first["loc"])
        raise UpstreamError(f"The provider's answer is not a {kind.__name__}: '{where}': {first['msg']}.") from error
