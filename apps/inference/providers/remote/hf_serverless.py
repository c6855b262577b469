"""A model of the Hugging Face Hub by Inference Providers: the OpenAI-compatible API of its router.

Format: https://huggingface.co/docs/inference-providers (chats alone; `repository:provider` picks who serves it, and the
router's list, which needs no token, has what somebody serves now).
"""

from typing import Any

from pydantic import Field

from apps.inference.protocol import CompletionReply
from apps.inference.providers.remote.openai_compatible import Address, OpenAICompatible, OpenAICompatibleConfig
from apps.inference.schemas import CompletionRequest, EmbeddingRequest, EmbeddingResponse
from llamastack.call import Call
from llamastack.errors import NotSupported, UpstreamError


class HFServerlessConfig(OpenAICompatibleConfig):
    """One model of the Hugging Face Hub, served by Hugging Face's Inference Providers."""

    base_url: Address = "https://router.huggingface.co/v1"
    huggingface_repo: str = Field(min_length=1, description="The model: its repository, or repository:provider")

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        return super().sample_run_config() | {"huggingface_repo": "meta-llama/Llama-3.1-8B-Instruct"}


class HFServerless(OpenAICompatible):
    config_class = HFServerlessConfig
    config: HFServerlessConfig
    renamed = {"max_completion_tokens": "max_tokens"}  # the one name that its page has, for whoever serves the model

    async def listed(self) -> list[dict[str, Any]]:
        """The one model, if somebody serves it now."""
        name = self.config.huggingface_repo
        repository = name.partition(":")[0]
        if all(item["id"] != repository for item in await super().listed()):
            raise UpstreamError(f"No inference provider of Hugging Face serves '{repository}' now.")
        return [{"id": name}]

    async def post_completion(self, call: Call, request: CompletionRequest) -> CompletionReply:
        raise NotSupported(f"{self.upstream} chats alone: it has no completions.")

    async def post_embedding(self, call: Call, request: EmbeddingRequest) -> EmbeddingResponse:
        raise NotSupported(f"{self.upstream} chats alone: it has no embeddings.")
