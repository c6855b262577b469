"""The base of every remote vendor: its address, keys and models, and the way of a call to it, in whatever dialect."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from functools import cached_property
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from apps.inference.dialect import ChatStream, Stream, mended
from apps.inference.protocol import ChatReply, CompletionReply
from apps.inference.providers.remote.embedding_models import dimension
from apps.inference.providers.remote.translation import JSON, R, Translation, reading
from apps.inference.providers.unsupported import GeneratesConfig
from apps.inference.schemas import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    CompletionRequest,
    EmbeddingRequest,
    EmbeddingResponse,
    RerankRequest,
    RerankResponse,
)
from apps.registry.schemas import ModelType, ProviderModel
from llamastack.call import Call
from llamastack.egress import Egress, Signer
from llamastack.egress.guard import confine
from llamastack.egress.network import NetworkConfig, RemoteConfig, opened, sent
from llamastack.egress.sentences import secrets_of, sentence, shown
from llamastack.errors import AuthenticationError, NotSupported, StackError, UpstreamError
from llamastack.provider_data import HEADER, ApiKey
from llamastack.providers import Health, Provider, ProviderConfig

Address = Annotated[str, Field(description="Where its API begins, in most cases with /v1 at the end")]
# What lists of models call a context's length: Together, Fireworks and SambaNova; Groq; vLLM.
LENGTHS = ("context_length", "context_window", "max_model_len")
# And a model's type: Together's `type`, Fireworks' `kind`. Everything else generates text, or is not for an API here.
TYPES: Mapping[str, ModelType] = {"embedding": "embedding", "EMBEDDING_MODEL": "embedding", "rerank": "rerank"}
OTHER_TYPES = frozenset({"audio", "image", "transcribe", "video", "FLUMINA_BASE_MODEL", "FLUMINA_ADDON"})


class VendorConfig(RemoteConfig, GeneratesConfig):
    """A vendor's server: its address, its key, and which of its models are offered here."""

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


class Vendor(Provider, ABC):
    """What the protocol asks for, as far as it is the same for every vendor.

    A vendor says how a request is translated (`translated`), and which models it has (`listed`). `data_key` is the key
    of provider data that brings a caller's own API key, which goes before the configured one. `ends_with_done` is false
    of a server whose streams may lack `[DONE]`: such a stream is whole once each of its choices has said why it ended.
    """

    ends_with_done: ClassVar[bool] = False
    data_key: ClassVar[str] = ""
    config_class: ClassVar[type[ProviderConfig]] = VendorConfig
    config: VendorConfig

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

    @property
    def refuses(self) -> bool:
        return bool(self.egresses) and self.egress.breaker.refuses

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
        egress = Egress(base_url, self.upstream, headers, timeouts, self.network, self.signer())
        if self.confined:
            confine(egress, self.network, self.signer())
        return egress

    def signer(self) -> Signer | None:
        """What signs each request to the vendor, where a header that stays the same is not enough."""
        return None

    def url(self) -> str:
        """Where the paths of its API begin."""
        return self.config.base_url.rstrip("/")

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

    @cached_property
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
        return Health(True, "1 model" if len(models) == 1 else f"{len(models)} models")

    async def post_chat_completion(self, call: Call, request: ChatCompletionRequest) -> ChatReply:
        translation = self.of(call).translated(request)
        choices = request.choices if translation.several else 1
        stream = ChatStream(request.model, choices, request.wants_usage or not request.stream)
        if request.stream:
            return self.chunks(call, ChatCompletionChunk, translation, stream)
        return await self.whole(call, ChatCompletion, translation, stream)

    async def post_completion(self, call: Call, request: CompletionRequest) -> CompletionReply:
        raise NotSupported(f"{self.upstream} has no completions: send a chat completion.")

    async def post_embedding(self, call: Call, request: EmbeddingRequest) -> EmbeddingResponse:
        raise NotSupported(f"{self.upstream} has no embeddings.")

    async def rerank(self, call: Call, request: RerankRequest) -> RerankResponse:
        raise NotSupported(f"{self.upstream} does not rerank.")

    def of(self, call: Call) -> Self:
        """This vendor as a call has its request translated: itself, unless the caller names a project or the like."""
        return self

    @abstractmethod
    def translated(self, request: ChatCompletionRequest) -> Translation:
        """A chat as the vendor takes it. Raises UnsupportedParameter for what it cannot express."""

    async def answer(self, call: Call, translation: Translation) -> Any:
        """The vendor's answer to a call that is no stream; a list of events where it streams all the same."""
        headers = await self.call_headers(call)
        async with self.egress_of(call) as egress:
            place = self.place(egress, translation)
            return await egress.post(place, translation.body, headers, done=self.ends_with_done)

    def events(self, egress: Egress, translation: Translation, headers: Mapping[str, str]) -> AsyncGenerator[JSON]:
        """The objects of a stream, as the vendor sends them."""
        place = self.place(egress, translation)
        return egress.stream(place, translation.body, headers, done=self.ends_with_done)

    def place(self, egress: Egress, translation: Translation) -> str:
        """Where a call goes: a path below the address, or a whole URL."""
        return translation.path

    async def whole(self, call: Call, kind: type[R], translation: Translation, stream: Stream) -> R:
        """A whole reply, which a server that streams all the same has sent in parts."""
        return await self.read(call, kind, translation, stream, await self.answer(call, translation))

    async def read(self, call: Call, kind: type[R], translation: Translation, stream: Stream, answer: Any) -> R:
        """What the vendor's answer says: JSON, or a list of events."""
        with reading(kind, self.upstream):
            if isinstance(answer, list):
                whole = stream.whole(
                    [c for e in answer for c in translation.chunks(await self.reply(call, translation, e))]
                )
                self.check_end(stream)
                return kind.model_validate(whole)
            whole = translation.whole(await self.reply(call, translation, answer))
            return kind.model_validate(mended(whole, translation.request.model))

    async def chunks(self, call: Call, kind: type[R], translation: Translation, stream: Stream) -> AsyncGenerator[R]:
        """The chunks; those that say that a choice has ended, once the whole stream has ended as it should."""
        headers = await self.call_headers(call)
        held: list[R] = []
        async with (
            self.egress_of(call) as egress,
            aclosing(self.events(egress, translation, headers)) as events,
        ):
            async for event in events:
                passed: list[R] = []
                with reading(kind, self.upstream):
                    for part in translation.chunks(await self.reply(call, translation, event)):
                        for chunk in stream.chunks(part):
                            (held if stream.ends(chunk) else passed).append(kind.model_validate(chunk))
                for one in passed:
                    yield one
        self.check_end(stream)
        with reading(kind, self.upstream):
            held += map(kind.model_validate, stream.end())
        for last in held:
            yield last

    def check_end(self, stream: Stream) -> None:
        if not (stream.closed if self.ends_with_done else stream.finished):
            raise UpstreamError(f"The stream from {self.upstream} was broken: it ended before the answer did.")

    async def reply(self, call: Call, translation: Translation, answer: Any) -> JSON:
        """An answer, or an event of a stream, that holds what was asked for."""
        if not isinstance(answer, dict):
            raise UpstreamError(f"{self.upstream} answered with JSON that is not an object.")
        if not translation.is_reply(answer):
            headers = {**self.egress.headers, **await self.call_headers(call)}
            words = shown(sentence(answer), secrets_of(headers, self.egress.base_url))
            raise UpstreamError(f"{self.upstream} gave no answer: {words or 'it says not why'}")
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

    async def get_models(self, call: Call) -> list[ProviderModel]:
        allowed = self.config.allowed_models
        items = [item for item in await self.listed() if allowed is None or item["id"] in allowed]
        return [model for item in items if (model := self.described(item)) is not None]

    @abstractmethod
    async def listed(self) -> list[JSON]:
        """The vendor's own list of models, each with its `id`."""

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


def is_http(text: str) -> bool:
    """Whether it has the scheme and the host of an address, and nothing after the path, to which paths are added."""
    try:
        url = urlsplit(text.strip())
        whole = url.scheme in ("http", "https") and bool(url.hostname) and (url.port is None or url.port > 0)
        return whole and not (url.query or url.fragment)
    except ValueError:
        return False
