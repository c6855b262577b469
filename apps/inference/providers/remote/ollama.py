"""An Ollama server.

It chats by the OpenAI-compatible door, and its own API says what each model can do.

Format: https://github.com/ollama/ollama/blob/main/docs/api.md (`/api/tags`, `/api/show`).
"""

import asyncio
from typing import Any

from pydantic import Field, SecretStr

from apps.inference.providers.remote.openai_compatible import OpenAICompatible, OpenAICompatibleConfig
from apps.registry.schemas import ProviderModel
from llamastack.call import Call

AT_ONCE = 4


class OllamaConfig(OpenAICompatibleConfig):
    """An Ollama server: its address, and which of its models are offered here."""

    base_url: str = Field("http://localhost:11434/v1", description="Its address, with or without /v1 at the end")
    api_key: SecretStr | None = Field(None, description="A bearer token for a proxy in front of it")

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        return {"url": "http://localhost:11434"}


class Ollama(OpenAICompatible):
    config_class = OllamaConfig
    config: OllamaConfig
    api_path = "/v1"
    renamed = {"max_completion_tokens": "max_tokens"}  # https://github.com/ollama/ollama/issues/7125
    # What its compatibility page leaves unticked (https://docs.ollama.com/api/openai-compatibility), and openai.go does
    # not read; of `tool_choice` also https://github.com/ollama/ollama/issues/17921. `user` changes no answer.
    ignored = {"best_of": (0, 1), "echo": (False,), "logit_bias": ({},), "n": (1,), "tool_choice": ("auto",)}

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
