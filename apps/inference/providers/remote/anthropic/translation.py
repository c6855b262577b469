"""One call in Anthropic's words, there and back: of no provider, so that whoever offers Claude can use it."""

from collections.abc import Iterable

from apps.inference.dialect import JSON
from apps.inference.providers.remote.anthropic import answer, request
from apps.inference.providers.remote.anthropic.stream import Events
from apps.inference.providers.unsupported import GeneratesConfig
from apps.inference.schemas import ChatCompletionRequest

PATH = "v1/messages"


class MessagesCall:
    """What is sent, and what comes back as OpenAI would have said it. It reads one answer, or one stream.

    Raises UnsupportedParameter, in the name of `upstream`, for what cannot be expressed and is not to be left out.
    """

    def __init__(
        self,
        asked: ChatCompletionRequest,
        upstream: str,
        config: GeneratesConfig,
        max_tokens: int | None = None,
        path: str = PATH,
    ) -> None:
        self.path = path
        self.body, self.answer_tool = request.asked(asked, upstream, config, max_tokens)
        self.model = asked.model
        self._events = Events(self.model, self.answer_tool)

    def whole(self, told: JSON) -> JSON:
        return answer.completion(told, self.model, self.answer_tool)

    def chunks(self, event: JSON) -> Iterable[JSON]:
        return self._events.chunks(event)
