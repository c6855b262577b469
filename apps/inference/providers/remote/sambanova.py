"""SambaNova (https://docs.sambanova.ai/docs/en/features/openai-compatibility)."""

from apps.inference.providers.remote.openai_compatible import Address, OpenAICompatible, OpenAICompatibleConfig


class SambaNovaConfig(OpenAICompatibleConfig):
    """SambaNova: its key, and which of its models are offered here."""

    base_url: Address = "https://api.sambanova.ai/v1"


class SambaNova(OpenAICompatible):
    config_class = SambaNovaConfig
    data_key = "sambanova_api_key"
