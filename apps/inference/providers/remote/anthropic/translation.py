"""One call in Anthropic's words, there and back: of no provider, so that whoever offers Claude can use it."""

from collections.abc import Iterable

from apps.inference.providers.remote.anthropic.answer import completion
from apps.inference.providers.remote.anthropic.request import asked
from apps.inference.providers.remote.anthropic.stream import Events
from apps.inference.providers.remote.translation import JSON, Translation
from apps.inference.providers.unsupported import GeneratesConfig
from apps.inference.schemas import ChatCompletionRequest

PATH = "v1/messages"


class MessagesTranslation(Translation):
    """It reads one answer, or one stream.

    Raises UnsupportedParameter, in the name of `upstream`, for what cannot be expressed and is not to be left out.
    `max_tokens` is asked for where the request gives no limit; without it, the most that the model gives.
    """

    several = False
    request: ChatCompletionRequest

    def __init__(
        self,
        request: ChatCompletionRequest,
        upstream: str,
        config: GeneratesConfig,
        max_tokens: int | None = None,
        path: str = PATH,
    ) -> None:
        body, self.answer_tool = asked(request, upstream, config, max_tokens)
        super().__init__(request, path, body)
        self.events = Events(request.model, self.answer_tool)

    def is_reply(self, answer: JSON) -> bool:
        """All that Anthropic says has a type."""
        return isinstance(answer.get("type"), str) and answer["type"] != "error"

    def whole(self, answer: JSON) -> JSON:
        return completion(answer, self.request.model, self.answer_tool)

    def chunks(self, event: JSON) -> Iterable[JSON]:
        return self.events.chunks(event)
