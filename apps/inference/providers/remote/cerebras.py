"""Cerebras (https://inference-docs.cerebras.ai/resources/openai)."""

from apps.inference.providers.remote.openai_compatible import Address, OpenAICompatible, OpenAICompatibleConfig


class CerebrasConfig(OpenAICompatibleConfig):
    """Cerebras: its key, and which of its models are offered here."""

    base_url: Address = "https://api.cerebras.ai/v1"


class Cerebras(OpenAICompatible):
    config_class = CerebrasConfig
    data_key = "cerebras_api_key"
    api_path = "/v1"
    developer_role = False  # it is told to be known for gpt-oss-120b alone, where it means what system does
