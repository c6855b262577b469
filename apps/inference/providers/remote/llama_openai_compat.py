"""Meta's Llama API, by its OpenAI-compatible API."""

from apps.inference.providers.remote.openai_compatible import Address, OpenAICompatible, OpenAICompatibleConfig


class LlamaOpenAICompatConfig(OpenAICompatibleConfig):
    """Meta's Llama API: its key, and which of its models are offered here."""

    base_url: Address = "https://api.llama.com/compat/v1/"


class LlamaOpenAICompat(OpenAICompatible):
    config_class = LlamaOpenAICompatConfig
    data_key = "llama_api_key"
