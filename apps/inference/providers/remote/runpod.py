"""RunPod's vLLM workers (https://docs.runpod.io/serverless/vllm/openai-compatibility)."""

from pydantic import Field

from apps.inference.providers.remote.openai_compatible import OpenAICompatible, OpenAICompatibleConfig

ADDRESS = "https://api.runpod.ai/v2/your-endpoint-id/openai/v1"


class RunPodConfig(OpenAICompatibleConfig):
    """An endpoint of RunPod's: its address, its key, and which of its models are offered here."""

    base_url: str = Field(description="The endpoint's address, with /openai/v1 at the end", examples=[ADDRESS])


class RunPod(OpenAICompatible):
    config_class = RunPodConfig
    data_key = "runpod_api_token"
    developer_role = False  # as with vLLM
