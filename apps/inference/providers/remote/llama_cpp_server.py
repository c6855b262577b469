"""A llama.cpp server (https://github.com/ggml-org/llama.cpp/tree/master/tools/server)."""

from typing import Any

from apps.inference.providers.remote.openai_compatible import Address, OpenAICompatible, OpenAICompatibleConfig
from apps.registry.schemas import ProviderModel


class LlamaCppServerConfig(OpenAICompatibleConfig):
    base_url: Address = "http://localhost:8080/v1"


class LlamaCppServer(OpenAICompatible):
    config_class = LlamaCppServerConfig
    renamed = {"max_completion_tokens": "max_tokens"}  # which older servers know alone
    developer_role = False  # nor do they know it: https://github.com/ggml-org/llama.cpp/pull/20215

    def described(self, item: dict[str, Any]) -> ProviderModel | None:
        meta = item["meta"] if isinstance(item.get("meta"), dict) else {}
        return super().described(item | {"context_length": meta.get("n_ctx_train")})
