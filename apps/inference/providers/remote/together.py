"""Together (https://github.com/togethercomputer/openapi)."""

from apps.inference.providers.remote.openai_compatible import Address, OpenAICompatible, OpenAICompatibleConfig


class TogetherConfig(OpenAICompatibleConfig):
    """Together: its key, and which of its models are offered here."""

    base_url: Address = "https://api.together.xyz/v1"


class Together(OpenAICompatible):
    config_class = TogetherConfig
    data_key = "together_api_key"
    developer_role = False
    renamed = {"max_completion_tokens": "max_tokens"}
    # A chat's `logprobs` is a number there and its answer of another shape; embeddings take none of the others.
    ignored = {"logprobs": (False,), "top_logprobs": (), "dimensions": ()}
