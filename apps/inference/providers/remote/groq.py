"""Groq (https://console.groq.com/docs/openai)."""

from apps.inference.providers.remote.openai_compatible import Address, OpenAICompatible, OpenAICompatibleConfig


class GroqConfig(OpenAICompatibleConfig):
    """Groq: its key, and which of its models are offered here."""

    base_url: Address = "https://api.groq.com/openai/v1"


class Groq(OpenAICompatible):
    config_class = GroqConfig
    data_key = "groq_api_key"
    api_path = "/openai/v1"
    # What it answers with a 400: named here, so that `drop_unsupported` can leave it out.
    ignored = {"logit_bias": ({},), "logprobs": (False,), "n": (1,), "top_logprobs": ()}
