"""A server of Hugging Face's text-generation-inference, by its Messages API.

Format: https://github.com/huggingface/text-generation-inference/blob/main/docs/openapi.json, and of what is not read
router/src/lib.rs (`ChatRequest`).
"""

from typing import Any

from pydantic import Field

from apps.inference.providers.remote.openai_compatible import OpenAICompatible, OpenAICompatibleConfig
from apps.inference.providers.remote.translation import Request
from apps.inference.schemas import EmbeddingRequest, EmbeddingResponse
from apps.registry.schemas import ProviderModel
from llamastack.call import Call
from llamastack.errors import NotSupported, UpstreamError


class TGIConfig(OpenAICompatibleConfig):
    """A server of text-generation-inference: its address and, where it asks for one, its key."""

    base_url: str = Field(description="Its address, with or without /v1 at the end", examples=["http://localhost:8080"])


class TGI(OpenAICompatible):
    config_class = TGIConfig
    api_path = "/v1"
    developer_role = False
    renamed = {"max_completion_tokens": "max_tokens"}
    # "UNUSED" in ChatRequest, or no field of it: serde takes and forgets what it does not know.
    ignored = {"best_of": (0, 1), "echo": (False,), "logit_bias": ({},), "n": (1,), "parallel_tool_calls": (True,)}

    def body(self, request: Request) -> dict[str, Any]:
        """It wants `stop` in a list, and refuses a `top_p` of 1, which is none."""
        body = super().body(request)
        if isinstance(body.get("stop"), str):
            body["stop"] = [body["stop"]]
        if body.get("top_p") == 1:
            del body["top_p"]
        return body

    async def post_embedding(self, call: Call, request: EmbeddingRequest) -> EmbeddingResponse:
        raise NotSupported(f"{self.upstream} generates text: it has no embeddings.")

    async def listed(self) -> list[dict[str, Any]]:
        """The one model that it serves, from `/info`."""
        info = await self.egress.get("../info")
        if not isinstance(info, dict) or not isinstance(info.get("model_id"), str):
            raise UpstreamError(f"{self.upstream} answered /info with something that names no model.")
        return [info | {"id": info["model_id"]}]

    def described(self, item: dict[str, Any]) -> ProviderModel | None:
        length = item.get("max_total_tokens")
        metadata = {"context_length": length} if isinstance(length, int) else {}
        return ProviderModel(provider_model_id=item["id"], metadata=metadata)
