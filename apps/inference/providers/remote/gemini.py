"""Google's Gemini API, by its OpenAI-compatible API.

Format: https://ai.google.dev/gemini-api/docs/openai and https://ai.google.dev/api/compatibility. It refuses fields that
it does not know with a 400, and puts its errors into a list; listed names begin with `models/`.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, SecretStr

from apps.inference.providers.remote.openai_compatible import Address, OpenAICompatible, OpenAICompatibleConfig

PREFIX = "models/"


class GeminiConfig(OpenAICompatibleConfig):
    """Google's Gemini API: a key of AI Studio, or an access token of Google Cloud."""

    base_url: Address = "https://generativelanguage.googleapis.com/v1beta/openai/"
    access_token: SecretStr | None = Field(None, description="An OAuth token of Google Cloud, in place of api_key")
    project: str | None = Field(None, description="The Google Cloud project whose quota an access token draws on")


class Gemini(OpenAICompatible):
    config_class = GeminiConfig
    config: GeminiConfig
    data_key = "gemini_api_key"

    def api_key(self) -> SecretStr | None:
        return self.config.access_token or self.config.api_key

    def headers(self) -> Mapping[str, str]:
        quota = {"x-goog-user-project": self.config.project} if self.config.access_token and self.config.project else {}
        return {**super().headers(), **quota}

    async def listed(self) -> list[dict[str, Any]]:
        """Its list; allowed models may be named without `models/`, as the API takes them."""
        items, allowed = await super().listed(), self.config.allowed_models or ()
        return [item | {"id": item["id"].removeprefix(PREFIX)} if _bare(item) in allowed else item for item in items]


def _bare(item: dict[str, Any]) -> str:
    return str(item["id"]).removeprefix(PREFIX)
