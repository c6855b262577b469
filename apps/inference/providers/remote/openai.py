"""OpenAI, or any other server that speaks its dialect at the address given."""

from apps.inference.providers.remote.openai_compatible import Address, OpenAICompatible, OpenAICompatibleConfig


class OpenAIConfig(OpenAICompatibleConfig):
    base_url: Address = "https://api.openai.com/v1"


class OpenAI(OpenAICompatible):
    config_class = OpenAIConfig
    data_key = "openai_api_key"
