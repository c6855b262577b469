"""Azure OpenAI: a resource's deployments, by its dated API or by its v1 API.

Format: https://learn.microsoft.com/azure/ai-foundry/openai/reference (dated: the deployment is part of the path, and
`api-version` is due), https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle (v1: as OpenAI's, the
deployment is the model, `api-version` may be `preview`). Both take a key as `api-key`, a token of Entra ID as a bearer.
"""

import re
from collections.abc import Mapping
from typing import Literal
from urllib.parse import quote

from pydantic import Field, SecretStr, field_validator

from apps.inference.providers.remote.openai_compatible import OpenAICompatible, OpenAICompatibleConfig
from apps.inference.providers.remote.translation import Request
from apps.registry.schemas import ProviderModel
from llamastack.call import Call

V1 = "/openai/v1"
DATED = re.compile(r"\d{4}-\d{2}-\d{2}(-preview)?")
FINE_PRINT = "Azure lists no deployments: name them here, one a line, or register them as models"


class AzureConfig(OpenAICompatibleConfig):
    """A resource of Azure OpenAI: its address, its key, and its deployments."""

    base_url: str = Field(
        description="https://NAME.openai.azure.com; with /openai/v1 at its end always the v1 API",
        examples=["https://your-resource.openai.azure.com"],
    )
    api_key: SecretStr | None = Field(None, description="The resource's key, or a token where api_type is azure_ad")
    api_version: str | None = Field(None, description="A date, as 2024-10-21, asks for the dated API; empty for v1")
    api_type: Literal["azure", "azure_ad", "azuread"] | None = Field("azure", description="What the key is")
    allowed_models: list[str] | None = Field(None, description=FINE_PRINT)

    @field_validator("base_url")
    @classmethod
    def is_a_resource(cls, url: str) -> str:
        if "/openai/deployments" in url:
            raise ValueError("give the resource's address alone: what follows /openai/deployments comes from the model")
        return url.rstrip("/").removesuffix("/openai")

    @field_validator("api_version")
    @classmethod
    def is_a_version(cls, version: str | None) -> str | None:
        if version and not DATED.fullmatch(version) and version not in ("v1", "preview", "latest"):
            raise ValueError("must be a date such as 2024-10-21 or 2025-01-01-preview, or v1, preview or latest")
        return version


class Azure(OpenAICompatible):
    """The models are deployments. `/models` tells what could be deployed, so only the health check asks for it."""

    config_class = AzureConfig
    config: AzureConfig
    data_key = "azure_api_key"

    @property
    def dated(self) -> bool:
        return not self.config.base_url.endswith(V1) and bool(DATED.fullmatch(self.config.api_version or ""))

    def url(self) -> str:
        resource = self.config.base_url.removesuffix(V1)
        return f"{resource}/openai" if self.dated else resource + V1

    def authorization(self, key: str) -> Mapping[str, str]:
        return {"api-key": key} if self.config.api_type in (None, "azure") else super().authorization(key)

    def path(self, operation: str, request: Request | None = None) -> str:
        version = self.config.api_version or ""
        if self.dated:
            deployment = f"deployments/{quote(request.model, safe='')}/" if request else ""
            return f"{deployment}{operation}?api-version={version}"
        # 0.3.5 sends no version to the v1 API; a dated one beside a v1 address means nothing there.
        return operation if not version or DATED.fullmatch(version) else f"{operation}?api-version={version}"

    async def get_models(self, call: Call) -> list[ProviderModel]:
        """The deployments that are named: by default a deployment has its model's name, which tells its type."""
        named = [self.described({"id": name}) for name in self.config.allowed_models or ()]
        return [model for model in named if model is not None]
