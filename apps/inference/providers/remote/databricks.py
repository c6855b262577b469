"""Models served by Databricks.

https://docs.databricks.com/aws/en/machine-learning/foundation-model-apis/api-reference
"""

from typing import Any
from urllib.parse import urljoin

from pydantic import Field

from apps.inference.providers.remote.openai_compatible import OpenAICompatible, OpenAICompatibleConfig
from apps.registry.schemas import ProviderModel

# https://docs.databricks.com/api/workspace/servingendpoints/list
LISTING = "/api/2.0/serving-endpoints"
TYPES = {"llm/v1/chat": "chat", "llm/v1/completions": "chat", "llm/v1/embeddings": "embedding"}


class DatabricksConfig(OpenAICompatibleConfig):
    """A workspace of Databricks: its address, its token, and which of its models are offered here."""

    base_url: str = Field(
        description="The workspace's address, with or without /serving-endpoints at the end",
        examples=["https://your-workspace.cloud.databricks.com/serving-endpoints"],
    )


class Databricks(OpenAICompatible):
    config_class = DatabricksConfig
    data_key = "databricks_api_token"
    api_path = "/serving-endpoints"
    developer_role = False
    renamed = {"max_completion_tokens": "max_tokens"}

    async def listed(self) -> list[dict[str, Any]]:
        """Its endpoints: the dialect's own list is not among its paths."""
        answer = await self.egress.get(urljoin(self.url(), LISTING))
        endpoints = answer.get("endpoints", []) if isinstance(answer, dict) else answer
        named = isinstance(endpoints, list) and all(isinstance(endpoint, dict) for endpoint in endpoints)
        return self.checked([{**item, "id": item.get("name")} for item in endpoints] if named else None)

    def described(self, item: dict[str, Any]) -> ProviderModel | None:
        """An endpoint by its task; those of other models than an LLM's have none that is known here."""
        kind = TYPES.get(str(item.get("task")))
        return super().described({"id": item["id"], "type": kind}) if kind else None
