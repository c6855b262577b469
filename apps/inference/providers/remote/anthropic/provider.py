"""Anthropic's API: https://platform.claude.com/docs/en/api/overview. Or a server that speaks it, at another address."""

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote

from pydantic import Field, SecretStr

from apps.inference.protocol import CompletionReply
from apps.inference.providers.remote.anthropic.translation import MessagesTranslation
from apps.inference.providers.remote.translation import JSON
from apps.inference.providers.remote.vendor import Vendor, VendorConfig
from apps.inference.schemas import ChatCompletionRequest, CompletionRequest, EmbeddingRequest, EmbeddingResponse
from apps.registry.schemas import ProviderModel
from llamastack.call import Call
from llamastack.errors import NotSupported, UpstreamError

VERSION = "2023-06-01"
PAGE = 1000  # the most that a page of the list holds
MAX_PAGES = 20


class AnthropicConfig(VendorConfig):
    """Anthropic's API: its key, and which of its models are offered here."""

    base_url: str = Field("https://api.anthropic.com", description="Where its API begins, without /v1")
    api_key: SecretStr | None = Field(None, description="Sent as x-api-key; without it callers bring their own")
    max_tokens: int | None = Field(
        None,
        ge=1,
        description="The limit of answers where a request gives none; empty for the most that the model gives",
    )


class Anthropic(Vendor):
    config_class: ClassVar[type[AnthropicConfig]] = AnthropicConfig
    config: AnthropicConfig
    data_key = "anthropic_api_key"

    def url(self) -> str:
        return super().url().removesuffix("/v1")

    def headers(self) -> Mapping[str, str]:
        return {"anthropic-version": VERSION, **super().headers()}

    def authorization(self, key: str) -> Mapping[str, str]:
        return {"x-api-key": key}

    def translated(self, request: ChatCompletionRequest) -> MessagesTranslation:
        return MessagesTranslation(request, self.upstream, self.config, self.config.max_tokens)

    async def post_completion(self, call: Call, request: CompletionRequest) -> CompletionReply:
        raise NotSupported(
            f"{self.upstream} has no completions: Claude takes chats alone. Send a chat completion instead."
        )

    async def post_embedding(self, call: Call, request: EmbeddingRequest) -> EmbeddingResponse:
        raise NotSupported(
            f"{self.upstream} has no embeddings, since Anthropic has no model for them: use one of another provider."
        )

    async def listed(self) -> list[JSON]:
        """Its list, page by page. https://platform.claude.com/docs/en/api/models-list"""
        if self.lacks_key:
            raise self.keyless()
        items: list[JSON] = []
        after = ""
        for _ in range(MAX_PAGES):
            answer = await self.egress.get(f"v1/models?limit={PAGE}{after}")
            page = answer if isinstance(answer, dict) else {}
            listed = self.checked(page.get("data"))
            items += listed
            if not page.get("has_more") or not listed:
                return items
            after = f"&after_id={quote(listed[-1]['id'], safe='')}"
        raise UpstreamError(f"{self.upstream} lists models without an end.")

    def described(self, item: dict[str, Any]) -> ProviderModel | None:
        """A model with how much it reads and writes, which newer lists tell. Retired ones are not served."""
        if item.get("lifecycle") == "retired":
            return None
        told = {"context_length": item.get("max_input_tokens"), "max_output_tokens": item.get("max_tokens")}
        metadata = {name: length for name, length in told.items() if isinstance(length, int) and length > 0}
        return ProviderModel(provider_model_id=item["id"], model_type="llm", metadata=metadata)
