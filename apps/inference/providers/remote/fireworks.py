"""Fireworks (https://docs.fireworks.ai/tools-sdks/openai-compatibility)."""

from apps.inference.providers.remote.openai_compatible import Address, OpenAICompatible, OpenAICompatibleConfig


class FireworksConfig(OpenAICompatibleConfig):
    """Fireworks: its key, and which of its models are offered here."""

    base_url: Address = "https://api.fireworks.ai/inference/v1"


class Fireworks(OpenAICompatible):
    config_class = FireworksConfig
    data_key = "fireworks_api_key"
