"""NVIDIA's API catalog, or a NIM of one's own.

https://docs.nvidia.com/nim/large-language-models/latest/api-reference.html
"""

from typing import Any

from pydantic import Field

from apps.inference.providers.remote.openai_compatible import OpenAICompatible, OpenAICompatibleConfig, Request
from apps.inference.schemas import EmbeddingRequest
from apps.registry.schemas import ProviderModel
from llamastack.egress.network import NetworkConfig, TimeoutConfig

RETRIEVAL = "https://ai.api.nvidia.com/v1/retrieval/nvidia"


class NvidiaConfig(OpenAICompatibleConfig):
    """NVIDIA's API catalog or a NIM: its address, its key, and which of its models are offered here."""

    base_url: str = Field(
        "https://integrate.api.nvidia.com/v1", description="Its address, with or without /v1 at the end"
    )
    append_api_version: bool = Field(True, description="Add /v1 to an address that ends in no version")
    timeout: int | None = Field(None, ge=1, description="An older name of network.timeout.read")
    rerank_model_to_url: dict[str, str] = Field(
        {
            "nv-rerank-qa-mistral-4b:1": f"{RETRIEVAL}/reranking",
            "nvidia/nv-rerankqa-mistral-4b-v3": f"{RETRIEVAL}/nv-rerankqa-mistral-4b-v3/reranking",
            "nvidia/llama-3.2-nv-rerankqa-1b-v2": f"{RETRIEVAL}/llama-3_2-nv-rerankqa-1b-v2/reranking",
        },
        description="Where each reranking model is asked: in the catalog they have addresses of their own",
    )


class Nvidia(OpenAICompatible):
    config_class = NvidiaConfig
    config: NvidiaConfig
    api_path = "/v1"

    def url(self) -> str:
        return super().url() if self.config.append_api_version else self.config.base_url

    def network(self) -> NetworkConfig | None:
        network, timeout = self.config.network or NetworkConfig(), self.config.timeout
        if timeout is None or network.timeout is not None:
            return self.config.network
        return network.model_copy(update={"timeout": TimeoutConfig(read=timeout)})

    def described(self, item: dict[str, Any]) -> ProviderModel | None:
        is_reranker = item["id"] in self.config.rerank_model_to_url
        return super().described(item | {"type": "rerank"} if is_reranker else item)

    def body(self, request: Request) -> dict[str, Any]:
        """Its retrieval models ask what a text is for; as in Llama Stack it is a query, unless the caller says passage.

        https://docs.nvidia.com/nim/nemo-retriever/text-embedding/latest/reference.html
        """
        body = super().body(request)
        return {"input_type": "query"} | body if isinstance(request, EmbeddingRequest) else body
