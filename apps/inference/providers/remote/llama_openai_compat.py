"""Meta's Llama API, by its OpenAI-compatible door."""

from pydantic import Field

from apps.inference.providers.remote.openai_compatible import BASE_URL, OpenAICompatible, OpenAICompatibleConfig


class LlamaOpenAICompatConfig(OpenAICompatibleConfig):
    """Meta's Llama API: its key, and which of its models are offered here."""

    base_url: str = Field("https://api.llama.com/compat/v1/", description=BASE_URL)
    openai_compat_api_base: str | None = Field(None, description="Llama Stack 0.3.5's name of base_url")


class LlamaOpenAICompat(OpenAICompatible):
    config_class = LlamaOpenAICompatConfig
    config: LlamaOpenAICompatConfig

    def url(self) -> str:
        return self.config.openai_compat_api_base or self.config.base_url
