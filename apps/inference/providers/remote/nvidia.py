"""NVIDIA's API catalog, or a NIM of one's own.

https://docs.nvidia.com/nim/large-language-models/latest/api-reference.html; reranking is asked and answered in words
of its own: https://docs.nvidia.com/nim/nemo-retriever/text-reranking/latest/using-reranking.html
"""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from apps.inference.providers import reranking
from apps.inference.providers.remote.openai_compatible import OpenAICompatible, OpenAICompatibleConfig
from apps.inference.providers.remote.translation import Request
from apps.inference.schemas import EmbeddingRequest, RerankRequest
from apps.registry.schemas import ProviderModel
from llamastack.call import Call
from llamastack.egress.network import NetworkConfig, TimeoutConfig

CATALOG = "https://integrate.api.nvidia.com"
RETRIEVAL = "https://ai.api.nvidia.com/v1/retrieval/nvidia"


class NvidiaConfig(OpenAICompatibleConfig):
    """NVIDIA's API catalog or a NIM: its address, its key, and which of its models are offered here."""

    base_url: str = Field(f"{CATALOG}/v1", description="Its address, with or without /v1 at the end")
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
    data_key = "nvidia_api_key"
    api_path = "/v1"

    def url(self) -> str:
        return super().url() if self.config.append_api_version else self.config.base_url

    def network_config(self) -> NetworkConfig | None:
        network, timeout = self.config.network or NetworkConfig(), self.config.timeout
        if timeout is None or network.timeout is not None:
            return self.config.network
        return network.model_copy(update={"timeout": TimeoutConfig(read=timeout)})

    @property
    def rerankers(self) -> Mapping[str, str]:
        """Addresses of reranking models by name. The default ones are the catalog's: a NIM answers at its own."""
        written = "rerank_model_to_url" in self.config.model_fields_set
        return self.config.rerank_model_to_url if written or self.url().startswith(f"{CATALOG}/") else {}

    def path(self, operation: str, request: Request | None = None) -> str:
        """A NIM reranks at …/ranking."""
        if isinstance(request, RerankRequest):
            return self.rerankers.get(request.model, "ranking")
        return super().path(operation, request)

    async def call_headers(self, call: Call) -> Mapping[str, str]:
        """The key is for its rerankers' addresses too."""
        return {**self.headers(), **await super().call_headers(call)}

    async def listed(self) -> list[dict[str, Any]]:
        """The catalog's list lacks its rerankers."""
        models = await super().listed()
        known = {model["id"] for model in models}
        return models + [{"id": name} for name in self.rerankers if name not in known]

    def described(self, item: dict[str, Any]) -> ProviderModel | None:
        return super().described(item | {"type": "rerank"} if item["id"] in self.config.rerank_model_to_url else item)

    def body(self, request: Request) -> dict[str, Any]:
        """Its retrieval models ask what a text is for; as in Llama Stack it is a query, unless the caller says passage.

        https://docs.nvidia.com/nim/nemo-retriever/text-embedding/latest/reference.html
        """
        if isinstance(request, RerankRequest):
            return self._ranking(request)
        body = super().body(request)
        return {"input_type": "query"} | body if isinstance(request, EmbeddingRequest) else body

    def _ranking(self, request: RerankRequest) -> dict[str, Any]:
        passages = [{"text": text} for text in reranking.item_texts(request, self.upstream)]
        query = {"text": reranking.query_text(request, self.upstream)}
        return reranking.fields(request) | {"query": query, "passages": passages}
