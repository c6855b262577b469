"""A vLLM server."""

from typing import Any

from pydantic import Field, SecretStr, model_validator

from apps.inference.providers.remote.openai_compatible import OpenAICompatible, OpenAICompatibleConfig, Request
from apps.inference.schemas import ChatCompletionRequest
from apps.registry.schemas import ProviderModel


class VLLMConfig(OpenAICompatibleConfig):
    """A vLLM server: its address, its key, and which of its models are offered here."""

    base_url: str | None = Field(None, description="Its address, with /v1 at the end")
    url: str | None = Field(None, description="Llama Stack 0.3.5's name of base_url")
    api_token: SecretStr | None = Field(None, description="Llama Stack 0.3.5's name of api_key")
    max_tokens: int | None = Field(None, ge=1, description="Of chats that name none")
    tls_verify: bool | str | None = Field(True, description="Check its certificate: true, false, or a CA bundle's path")

    @model_validator(mode="after")
    def has_address(self) -> "VLLMConfig":
        if not (self.base_url or self.url):
            raise ValueError("base_url is required: the address of the vLLM server, with /v1 at its end")
        return self

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        return {"base_url": "http://localhost:8000/v1", "max_tokens": 4096, "tls_verify": True}


class VLLM(OpenAICompatible):
    config_class = VLLMConfig
    config: VLLMConfig
    reranks_images = True

    def url(self) -> str:
        return self.config.base_url or self.config.url or ""

    def api_key(self) -> SecretStr | None:
        return self.config.api_key or self.config.api_token

    def verify(self) -> bool | str:
        return True if self.config.tls_verify is None else self.config.tls_verify

    def described(self, item: dict[str, Any]) -> ProviderModel:
        length = item.get("max_model_len")
        metadata = {"context_length": length} if isinstance(length, int) else {}
        return ProviderModel(provider_model_id=item["id"], metadata=metadata)

    def body(self, request: Request) -> dict[str, Any]:
        body = super().body(request)
        limit = self.config.max_tokens if isinstance(request, ChatCompletionRequest) else None
        if limit is None or body.keys() & {"max_tokens", "max_completion_tokens"}:
            return body
        return body | {"max_tokens": limit}
