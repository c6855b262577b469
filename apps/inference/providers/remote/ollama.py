"""An Ollama server.

It chats by the OpenAI-compatible door, and its own API says what each model can do.

Format: https://github.com/ollama/ollama/blob/main/docs/api.md (`/api/tags`, `/api/show`).
"""

import asyncio
from typing import Any

from pydantic import Field, SecretStr

from apps.inference.providers.remote.openai_compatible import OpenAICompatible, OpenAICompatibleConfig, Request
from apps.registry.schemas import ProviderModel
from llamastack.call import Call

AT_ONCE = 4


class OllamaConfig(OpenAICompatibleConfig):
    """An Ollama server: its address, and which of its models are offered here."""

    base_url: str | None = Field(None, description="Its address with /v1 at the end, in place of url")
    url: str = Field("http://localhost:11434", description="Its address, without /v1")
    auth_credential: SecretStr | None = Field(None, description="A bearer token for a proxy in front of it")

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        return {"url": "http://localhost:11434"}


class Ollama(OpenAICompatible):
    config_class = OllamaConfig
    config: OllamaConfig
    # What its compatibility page leaves unticked (https://docs.ollama.com/api/openai-compatibility), and openai.go does
    # not read; of `tool_choice` also https://github.com/ollama/ollama/issues/17921. `user` changes no answer.
    ignored = {"best_of": (0, 1), "echo": (False,), "logit_bias": ({},), "n": (1,), "tool_choice": ("auto",)}

    def url(self) -> str:
        return self.config.base_url or f"{self.config.url.rstrip('/')}/v1"

    def api_key(self) -> SecretStr | None:
        return self.config.api_key or self.config.auth_credential

    def body(self, request: Request) -> dict[str, Any]:
        """It reads `max_tokens` alone (https://github.com/ollama/ollama/issues/7125)."""
        body = super().body(request)
        limit = body.pop("max_completion_tokens", None)
        return body if limit is None else body | {"max_tokens": limit}

    async def get_models(self, call: Call) -> list[ProviderModel]:
        """Each model's type, dimension and context length, from `/api/show`."""
        gate = asyncio.Semaphore(AT_ONCE)
        return await asyncio.gather(*(self._shown(model, gate) for model in await super().get_models(call)))

    async def _shown(self, model: ProviderModel, gate: asyncio.Semaphore) -> ProviderModel:
        async with gate:
            shown = await self.egress.post("../api/show", {"model": model.provider_model_id})
        info = shown.get("model_info", {})
        lengths = {key.rpartition(".")[2]: value for key, value in info.items() if isinstance(value, int)}
        metadata = {"context_length": lengths["context_length"]} if "context_length" in lengths else {}
        if "embedding" not in shown.get("capabilities", ()):
            return model.model_copy(update={"metadata": metadata})
        metadata["embedding_dimension"] = lengths.get("embedding_length", 0)
        return model.model_copy(update={"model_type": "embedding", "metadata": metadata})
