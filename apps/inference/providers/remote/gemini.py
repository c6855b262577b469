"""Google's Gemini API, in its own dialect.

Format: https://ai.google.dev/api (generate-content, embeddings, models) and the package google.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field, SecretStr

from apps.inference.providers.remote.google import Google, embeddings
from apps.inference.providers.remote.google.embeddings import Asked, Embeds
from apps.inference.providers.remote.translation import JSON
from apps.inference.providers.remote.vendor import Address, VendorConfig
from apps.registry.schemas import ProviderModel
from llamastack.call import Call
from llamastack.provider_data import ApiKey

PREFIX = "models/"
NAME = re.compile(r"(?:models/|tunedModels/)?[\w.@-]+")
OPENAI = "/openai"  # the end of the address of its OpenAI-compatible API, which configs of 0.3.5 and OGX have
PAGE_SIZE = 1000
CHATS, EMBEDS = "generateContent", "embedContent"


class GeminiConfig(VendorConfig):
    """Google's Gemini API: a key of AI Studio, or an access token of Google Cloud."""

    base_url: Address = Field(
        "https://generativelanguage.googleapis.com/v1beta", description="Where its API begins, with its version"
    )
    api_key: SecretStr | None = Field(None, description="A key of AI Studio, sent as x-goog-api-key")
    access_token: SecretStr | None = Field(None, description="An OAuth token of Google Cloud, in place of api_key")
    project: str | None = Field(None, description="The Google Cloud project whose quota an access token draws on")


class Gemini(Google):
    config_class = GeminiConfig
    config: GeminiConfig
    data_key = "gemini_api_key"

    def url(self) -> str:
        return super().url().removesuffix(OPENAI)

    def authorization(self, key: str) -> Mapping[str, str]:
        return {"x-goog-api-key": key}

    def headers(self) -> Mapping[str, str]:
        """A token goes with each call instead, since a caller's own key takes its place."""
        return {} if self._token else super().headers()

    @property
    def lacks_key(self) -> bool:
        return not self._token and super().lacks_key

    @property
    def _token(self) -> Mapping[str, str]:
        token = self.config.access_token
        if token is None or not token.get_secret_value():
            return {}
        quota = {"x-goog-user-project": self.config.project} if self.config.project else {}
        return {"Authorization": f"Bearer {token.get_secret_value()}", **quota}

    async def call_headers(self, call: Call) -> Mapping[str, str]:
        own = call.provider_data.read(self.data_key, ApiKey)
        return await super().call_headers(call) if own is not None else self._token or await super().call_headers(call)

    def resource(self, model: str) -> str:
        if not NAME.fullmatch(model):
            raise self.no_model(model)
        return model if "/" in model else PREFIX + model

    def embeds(self, asked: Asked) -> Iterator[Embeds]:
        return embeddings.batches(asked, self.resource(asked.request.model))

    async def listed(self) -> list[JSON]:
        """Its list; allowed models may be named with `models/` or without, as the API takes them."""
        if self.lacks_key:
            raise self.keyless()
        items, allowed = await self.paged("models", PAGE_SIZE, "models", dict(self._token)), self.config.allowed_models
        return [item | {"id": name if (name := str(item["name"])) in (allowed or ()) else bare(name)} for item in items]

    def described(self, item: dict[str, Any]) -> ProviderModel | None:
        """Models that neither chat nor embed, such as those that make videos, are none of ours.

        The others are known by their whole names as well, as Llama Stack lists them.
        """
        methods = item.get("supportedGenerationMethods") or ()
        if CHATS not in methods and EMBEDS not in methods:
            return None
        kind = "llm" if CHATS in methods else "embedding"
        name = bare(item["id"])
        model = super().described({"id": name, "type": kind, "context_length": item.get("inputTokenLimit")})
        if model is None:
            return None
        longest = item.get("outputTokenLimit")
        if kind == "llm" and isinstance(longest, int) and longest > 0:
            model.metadata["max_output_tokens"] = longest
        return model if name == item["name"] else model.model_copy(update={"other_names": [item["name"]]})


def bare(name: str) -> str:
    return name.removeprefix(PREFIX)
