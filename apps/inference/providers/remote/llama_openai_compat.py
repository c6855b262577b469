"""Meta's Llama API, by its OpenAI-compatible door."""

from apps.inference.providers.remote.openai_compatible import OpenAICompatible, OpenAICompatibleConfig


class LlamaOpenAICompatConfig(OpenAICompatibleConfig):
    """`openai_compat_api_base` is 0.3.5's name of `base_url`."""

    base_url: str = "https://api.llama.com/compat/v1/"
    openai_compat_api_base: str | None = None


class LlamaOpenAICompat(OpenAICompatible):
    config_class = LlamaOpenAICompatConfig
    config: LlamaOpenAICompatConfig

    def url(self) -> str:
        return self.config.openai_compat_api_base or self.config.base_url
