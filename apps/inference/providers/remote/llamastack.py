"""Another Llama Stack server: 0.3.5, OGX or one of ours. All that it serves is served here too.

Format: the OpenAPI documents of Llama Stack. A listed model of 0.3.5 has `identifier`, `model_type` and `metadata`; one
of OGX has `id` and the rest in `custom_metadata`; ours have all. Neither 0.3.5 nor OGX ends a stream in `[DONE]`.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import Field

from apps.inference.providers.remote.openai_compatible import OpenAICompatible, OpenAICompatibleConfig
from apps.inference.providers.remote.translation import Request
from apps.inference.schemas import RerankRequest
from apps.registry.schemas import ModelType, ProviderModel
from llamastack.call import Call
from llamastack.provider_data import ProviderData

NOT_METADATA = ("model_type", "provider_id", "provider_resource_id")


class LlamaStackConfig(OpenAICompatibleConfig):
    """Another Llama Stack server: its address, its key, and which of its models are offered here."""

    base_url: str = Field(description="Its address, with or without /v1 at the end", examples=["http://localhost:8322"])
    forward_provider_data: Literal["X-LlamaStack-Provider-Data", "X-OGX-Provider-Data"] | None = Field(
        None,
        description="The header in which it gets callers' own vendor keys, the latter for OGX; empty: it gets none",
    )


class LlamaStackServer(OpenAICompatible):
    """A stack in front of another."""

    config_class = LlamaStackConfig
    config: LlamaStackConfig
    api_path = "/v1"
    ends_with_done = False

    async def call_headers(self, call: Call) -> Mapping[str, str]:
        headers = dict(await super().call_headers(call))
        header = self.config.forward_provider_data
        if header is not None and call.provider_data:
            headers[header] = json.dumps(dict(call.provider_data))
        return headers

    def uses(self, data: ProviderData) -> bool:
        return bool(data) if self.config.forward_provider_data else super().uses(data)

    def passes(self, operation: str) -> bool:
        """It has its own ways to rerank alone."""
        return True

    def path(self, operation: str, request: Request | None = None) -> str:
        return "../v1alpha/inference/rerank" if operation == "rerank" else super().path(operation, request)

    def body(self, request: Request) -> dict[str, Any]:
        return request.model_dump(exclude_unset=True) if isinstance(request, RerankRequest) else super().body(request)

    async def listed(self) -> list[dict[str, Any]]:
        """Its models of the types that are known here."""
        answer = await self.egress.get(self.path("models"))
        items = answer.get("data") if isinstance(answer, dict) else None
        objects = isinstance(items, list) and all(isinstance(item, dict) for item in items)
        named = self.checked([item | {"id": _name(item)} for item in items or ()] if objects else None)
        return [item for item in named if _type(item) in get_args(ModelType)]

    def described(self, item: dict[str, Any]) -> ProviderModel | None:
        custom = item.get("custom_metadata") or {}
        metadata = item.get("metadata") or {key: value for key, value in custom.items() if key not in NOT_METADATA}
        return ProviderModel(provider_model_id=item["id"], model_type=_type(item), metadata=metadata)


def _name(item: dict[str, Any]) -> Any:
    return item.get("identifier") or item.get("id")


def _type(item: dict[str, Any]) -> Any:
    return item.get("model_type") or (item.get("custom_metadata") or {}).get("model_type") or "llm"
