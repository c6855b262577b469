"""The base of every vendor that speaks the OpenAI dialect. A vendor states its URL and what differs."""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Annotated, Any, ClassVar, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator

from apps.inference.dialect import AnswerFailed, ChatStream, Malformed, Stream, TextStream, mended, mended_embeddings
from apps.inference.protocol import ChatReply, CompletionReply
from apps.inference.providers import reranking
from apps.inference.providers.remote.embedding_models import dimension
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
from apps.registry.schemas import ModelType, ProviderModel
from llamastack.bodies import spelt
from llamastack.call import Call
from llamastack.egress import Egress
from llamastack.egress.network import NetworkConfig, RemoteConfig, opened, sent
from llamastack.egress.sentences import secrets_of, sentence, shown
from llamastack.errors import AuthenticationError, StackError, UnsupportedParameter, UpstreamError, UpstreamRejected
from llamastack.provider_data import HEADER, ApiKey
from llamastack.providers import Health, Provider, ProviderConfig

R = TypeVar("R", bound=BaseModel)
Request = ChatCompletionRequest | CompletionRequest | EmbeddingRequest | RerankRequest
Address = Annotated[str, Field(description="Where its API begins, in most cases with /v1 at the end")]
VERSIONED = re.compile(r"[^/]/v\d\w*$")
# What lists of models call a context's length: Together, Fireworks and SambaNova; Groq; vLLM.
LENGTHS = ("context_length", "context_window", "max_model_len")
# And a model's type: Together's `type`, Fireworks' `kind`. Everything else generates text, or is not for an API here.
TYPES: Mapping[str, ModelType] = {"embedding": "embedding", "EMBEDDING_MODEL": "embedding", "rerank": "rerank"}
OTHER_TYPES = frozenset({"audio", "image", "transcribe", "video", "FLUMINA_BASE_MODEL", "FLUMINA_ADDON"})


class OpenAICompatibleConfig(RemoteConfig, GeneratesConfig):
    """A server that speaks the OpenAI dialect: its address, its key, and which of its models are offered here."""

    # What 0.3.5 and OGX call them: each of the vendors in another way.
    other_names: ClassVar[Mapping[str, str]] = {
        "url": "base_url",
        "api_base": "base_url",
        "openai_compat_api_base": "base_url",
        "api_token": "api_key",
        "auth_credential": "api_key",
    }

    base_url: Address = Field(examples=["http://localhost:8000/v1"])
    api_key: SecretStr | None = Field(None, description="Sent as a bearer token; empty for a server that asks for none")
    allowed_models: list[str] | None = Field(
        None, description="Those to offer, one a line; all that it lists where empty"
    )
    refresh_models: bool = Field(True, description="Ask every five minutes which models there are")

    @field_validator("base_url", mode="after", check_fields=False)
    @classmethod
    def an_address(cls, value: str | None) -> str | None:
        """The text is not repeated: it may hold a password."""
        if value and not is_http(value):
            raise ValueError("this is no address of a server: write http://host:port or https://host, and its path")
        return value

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        field = cls.model_fields["base_url"]
        return {"base_url": field.default if field.examples is None else field.examples[0], "api_key": "key"}


class OpenAICompatible(Provider):
    """What the protocol asks for: sent as it is, put right, and read with our own types.

    `ignored` names the fields that a vendor's server takes and ignores in silence, each with the values that ask for
    nothing else than leaving it out does; with any other value a request is refused (`drop_unsupported`). `renamed`
    are fields that it knows by another name, and `developer_role` says whether it takes messages of a developer, which
    are a system's elsewhere. `api_path` is added to an address that ends in no version. `data_key` is the key of
    provider data that brings a caller's own API key, which goes before the configured one.
    `ends_with_done` is false of a server whose streams may lack `[DONE]`: such a stream is whole once each of its
    choices has said why it ended.
    """

    ends_with_done: ClassVar[bool] = True
    ignored: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    renamed: ClassVar[Mapping[str, str]] = {}
    developer_role: ClassVar[bool] = True
    api_path: ClassVar[str] = ""
    data_key: ClassVar[str] = ""
    reranks_images: ClassVar[bool] = False
    config_class: ClassVar[type[ProviderConfig]] = OpenAICompatibleConfig
    config: OpenAICompatibleConfig

    def __init__(self, provider_id: str, config: Any, **services: Any) -> None:
        super().__init__(provider_id, config, **services)
        self.egresses: list[Egress] = []

    @property
    def upstream(self) -> str:
        """Its name in errors."""
        return f"Provider '{self.provider_id}'"

    @property
    def refreshes(self) -> bool:
        return self.config.refresh_models

    async def start(self) -> None:
        self.network = await opened(self.network_config())
        self.egress = self.open_egress(self.url(), sent(self.network, self.headers()))

    async def stop(self) -> None:
        """Also where the start failed, before there was any egress."""
        for egress in self.egresses:
            await egress.close()

    def open_egress(self, base_url: str, headers: Mapping[str, str] | None = None) -> Egress:
        """To an address of the vendor's: that of its API or another, such as the one that issues its tokens.

        It is closed with the provider.
        """
        self.egresses.append(self.new_egress(base_url, headers))
        return self.egresses[-1]

    def new_egress(self, base_url: str, headers: Mapping[str, str] | None = None) -> Egress:
        """The same for whoever closes it."""
        network = self.network_config()
        timeouts = network.timeouts() if network else None
        return Egress(base_url, self.upstream, headers, timeouts, self.network)

    def url(self) -> str:
        """Where the dialect's paths begin (…/v1)."""
        address = self.config.base_url.rstrip("/")
        whole = address.endswith(self.api_path) or VERSIONED.search(address)
        return address if whole else address + self.api_path

    def api_key(self) -> SecretStr | None:
        return self.config.api_key

    def headers(self) -> Mapping[str, str]:
        key = self.api_key()
        return self.authorization(key.get_secret_value()) if key and key.get_secret_value() else {}

    def authorization(self, key: str) -> Mapping[str, str]:
        """A key as the headers that carry it."""
        return {"Authorization": f"Bearer {key}"}

    @classmethod
    def reads(cls) -> Mapping[str, Any]:
        return {cls.data_key: ApiKey} if cls.data_key else {}

    @property
    def lacks_key(self) -> bool:
        """Whether it is the vendor's own server, which answers nobody without a key, and none is configured."""
        own = urlsplit(str(self.config_class.model_fields["base_url"].default)).netloc
        needed = {name.lower() for name in self.authorization("any")}
        sent = {name.lower() for name in self.egress.headers}
        return bool(self.data_key and own) and urlsplit(self.url()).netloc == own and not needed & sent

    def network_config(self) -> NetworkConfig | None:
        """How the vendor is reached: proxy, TLS, time-outs and headers."""
        return self.config.network

    async def health(self) -> Health:
        if self.lacks_key:
            return Health(True, f"not asked: it has no API key, and callers send theirs as {self.data_key}")
        try:
            models = await self.listed()
        except StackError as error:
            return Health(False, error.message)
        return Health(True, f"{len(models)} models")

    async def post_chat_completion(self, call: Call, request: ChatCompletionRequest) -> ChatReply:
        stream = ChatStream(request.model, request.choices, request.wants_usage or not request.stream)
        if request.stream:
            return self._chunks(call, "chat/completions", ChatCompletionChunk, request, stream)
        return await self._whole(call, "chat/completions", ChatCompletion, request, stream)

    async def post_completion(self, call: Call, request: CompletionRequest) -> CompletionReply:
        choices = request.choices * request.prompts
        stream = TextStream(request.model, choices, request.wants_usage or not request.stream)
        if request.stream:
            return self._chunks(call, "completions", CompletionChunk, request, stream)
        return await self._whole(call, "completions", Completion, request, stream)

    async def post_embedding(self, call: Call, request: EmbeddingRequest) -> EmbeddingResponse:
        answer = await self._holding(call, "data", await self._answer(call, "embeddings", request))
        return parsed(EmbeddingResponse, mended_embeddings(answer, request.model), self.upstream)

    async def rerank(self, call: Call, request: RerankRequest) -> RerankResponse:
        try:
            answer = await self._answer(call, "rerank", request)
        except UpstreamRejected as error:
            raise reranking.refused(error, self.upstream, request.model) from error
        return reranking.ranked(parsed(reranking.Results, answer, self.upstream).results, request, self.upstream)

    async def _answer(self, call: Call, operation: str, request: Request) -> Any:
        path, body, headers = self.path(operation, request), self.body(request), await self.call_headers(call)
        async with self.egress_of(call) as egress:
            answer = await egress.post(path, body, headers, done=self.ends_with_done)
        return [self.repaired(event) for event in answer] if isinstance(answer, list) else self.repaired(answer)

    async def _whole(self, call: Call, operation: str, kind: type[R], request: Request, stream: Stream) -> R:
        """A whole reply, which a server that streams all the same has sent in parts."""
        answer = await self._answer(call, operation, request)
        with reading(kind, self.upstream):
            if isinstance(answer, list):
                whole = stream.whole([await self._holding(call, "choices", event) for event in answer])
                self._check_end(stream)
                return kind.model_validate(whole)
            return kind.model_validate(mended(await self._holding(call, "choices", answer), request.model))

    async def _chunks(
        self, call: Call, operation: str, kind: type[R], request: Request, stream: Stream
    ) -> AsyncGenerator[R]:
        """The chunks; those that say that a choice has ended, once the whole stream has ended as it should."""
        path, body, headers = self.path(operation, request), self.body(request), await self.call_headers(call)
        held: list[R] = []
        async with (
            self.egress_of(call) as egress,
            aclosing(egress.stream(path, body, headers, done=self.ends_with_done)) as events,
        ):
            async for event in events:
                passed: list[R] = []
                with reading(kind, self.upstream):
                    for chunk in stream.chunks(await self._holding(call, "choices", self.repaired(event))):
                        (held if stream.ends(chunk) else passed).append(kind.model_validate(chunk))
                for one in passed:
                    yield one
        self._check_end(stream)
        for last in [*held, *map(kind.model_validate, stream.end())]:
            yield last

    def _check_end(self, stream: Stream) -> None:
        if not (stream.closed if self.ends_with_done else stream.finished):
            raise UpstreamError(f"The stream from {self.upstream} was broken: it ended before the answer did.")

    async def _holding(self, call: Call, content: str, answer: Any) -> dict[str, Any]:
        """A reply, or an event of a stream, that holds its content; some vendors answer errors with status 200."""
        if not isinstance(answer, dict):
            raise UpstreamError(f"{self.upstream} answered with JSON that is not an object.")
        if content not in answer and not answer.get("usage"):
            headers = {**self.egress.headers, **await self.call_headers(call)}
            words = shown(sentence(answer), secrets_of(headers, self.egress.base_url))
            raise UpstreamError(f"{self.upstream} answered without '{content}': {words or 'it says not why'}")
        return answer

    @asynccontextmanager
    async def egress_of(self, call: Call) -> AsyncIterator[Egress]:
        callers = self.callers_egress(call)
        try:
            yield callers or self.egress
        finally:
            if callers is not None:
                await callers.close()

    def callers_egress(self, call: Call) -> Egress | None:
        """To an address that the caller of this call names; None where it names none."""
        return None

    def path(self, operation: str, request: Request | None = None) -> str:
        """Where below the base address an operation is found; that of `models` has no request."""
        return operation

    async def call_headers(self, call: Call) -> Mapping[str, str]:
        """What a single call sends beside `headers`: its caller's own key, or a token that has just been renewed."""
        key = call.provider_data.read(self.data_key, ApiKey) if self.data_key else None
        if key is None and self.lacks_key:
            raise self.keyless()
        return {} if key is None else self.authorization(key.get_secret_value())

    def keyless(self) -> AuthenticationError:
        return AuthenticationError(
            f'{self.upstream} has no API key. Send yours in the header {HEADER} as {{"{self.data_key}": "…"}}, '
            "or set api_key in the provider's config.",
            code="no_provider_key",
        )

    def repaired(self, answer: Any) -> Any:
        """A reply, or an event of a stream, as the dialect has it, where the vendor's server writes it otherwise."""
        return answer

    async def get_models(self, call: Call) -> list[ProviderModel]:
        allowed = self.config.allowed_models
        items = [item for item in await self.listed() if allowed is None or item["id"] in allowed]
        return [model for item in items if (model := self.described(item)) is not None]

    async def listed(self) -> list[dict[str, Any]]:
        """The vendor's own list of models."""
        if self.lacks_key:
            raise self.keyless()
        answer = await self.egress.get(self.path("models"))
        return self.checked(answer.get("data") if isinstance(answer, dict) else answer)

    def checked(self, items: Any) -> list[dict[str, Any]]:
        """A list of models, each with its `id`."""
        if not isinstance(items, list) or not all(isinstance(i, dict) and isinstance(i.get("id"), str) for i in items):
            raise UpstreamError(f"{self.upstream} answered /models with something that is not a list.")
        return items

    def described(self, item: dict[str, Any]) -> ProviderModel | None:
        """A listed model with its type, as far as its list or its name tells it; None where it cannot be served."""
        kind, size = str(item.get("type") or item.get("kind")), dimension(item["id"])
        if kind in OTHER_TYPES or item.get("active") is False:
            return None
        lengths = [item[name] for name in LENGTHS if isinstance(item.get(name), int) and item[name] > 0]
        metadata = {"context_length": lengths[0]} if lengths else {}
        if size is not None:
            kind, metadata = "embedding", metadata | {"embedding_dimension": size}
        return ProviderModel(provider_model_id=item["id"], model_type=TYPES.get(kind, "llm"), metadata=metadata)

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


def _as_system(message: dict[str, Any]) -> dict[str, Any]:
    return message | {"role": "system"} if message["role"] == "developer" else message


def is_http(text: str) -> bool:
    """Whether it has the scheme and the host of an address, and nothing after the path, to which paths are added."""
    try:
        url = urlsplit(text.strip())
        whole = url.scheme in ("http", "https") and bool(url.hostname) and (url.port is None or url.port > 0)
        return whole and not (url.query or url.fragment)
    except ValueError:
        return False


def parsed(kind: type[R], answer: Any, upstream: str) -> R:
    """An upstream's JSON read with one of our own types."""
    with reading(kind, upstream):
        return kind.model_validate(answer)


@contextmanager
def reading(kind: type[BaseModel], upstream: str) -> Iterator[None]:
    """What is wrong with an answer, as an error that names the upstream."""
    try:
        yield
    except AnswerFailed as failed:
        raise UpstreamError(f"{upstream} broke off its answer and gave as the reason '{failed}'.") from failed
    except Malformed as error:
        raise UpstreamError(f"{upstream} sent an answer that is not a {kind.__name__}: {error}.") from error
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        told = f"'{spelt(first['loc'])}': {first['msg']}"
        raise UpstreamError(f"{upstream} sent an answer that is not a {kind.__name__}: {told}.") from error
