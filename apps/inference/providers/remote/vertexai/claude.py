"""Claude on Vertex AI: Anthropic's Messages API, with the model in the path and the version in the body.

Format: https://platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai
"""

from apps.inference.providers.remote.anthropic.translation import MessagesTranslation
from apps.inference.providers.unsupported import GeneratesConfig
from apps.inference.schemas import ChatCompletionRequest

VERSION = "vertex-2023-10-16"


class Claude(MessagesTranslation):
    """`name` is the model's own, as claude-sonnet-4-5@20250929."""

    def __init__(self, request: ChatCompletionRequest, name: str, upstream: str, config: GeneratesConfig) -> None:
        method = "streamRawPredict" if request.stream else "rawPredict"
        named = request.model_copy(update={"model": name})
        super().__init__(named, upstream, config, path=f"publishers/anthropic/models/{name}:{method}")
        del self.body["model"]
        self.body["anthropic_version"] = VERSION
