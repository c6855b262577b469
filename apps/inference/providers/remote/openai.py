"""OpenAI, or any other server that speaks its dialect at the address given."""

from typing import Any

from pydantic import Field

from apps.inference.providers.remote.openai_compatible import BASE_URL, OpenAICompatible, OpenAICompatibleConfig
from apps.registry.schemas import ProviderModel

# Dimensions as https://platform.openai.com/docs/guides/embeddings gives them: the list of models has no types.
EMBEDDING_DIMENSIONS = {
    "text-embedding-3-large": 3072,
    "text-embedding-3-small": 1536,
    "text-embedding-ada-002": 1536,
}


class OpenAIConfig(OpenAICompatibleConfig):
    base_url: str = Field("https://api.openai.com/v1", description=BASE_URL)


class OpenAI(OpenAICompatible):
    config_class = OpenAIConfig

    def described(self, item: dict[str, Any]) -> ProviderModel:
        name = item["id"]
        if name not in EMBEDDING_DIMENSIONS:
            return super().described(item)
        metadata = {"embedding_dimension": EMBEDDING_DIMENSIONS[name]}
        return ProviderModel(provider_model_id=name, model_type="embedding", metadata=metadata)
