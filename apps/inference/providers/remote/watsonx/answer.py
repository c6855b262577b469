"""Answers of watsonx.ai as OpenAI's: of its /ml/v1/text/generation, and of its chat, which nearly is OpenAI's.

Format: https://github.com/IBM/watsonx-ai-java-sdk (TextGenerationResponse, and the streams of its tests).
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from apps.inference.dialect.fields import count_at, objects_at, text_or_none
from apps.inference.providers.remote.translation import JSON, Request, Translation

# https://ibm.github.io/watsonx-ai-node-sdk (TextGenResponseFieldsResultsItem); `eos_token`, `max_tokens`,
# `stop_sequence` and `error` are known to the dialect.
REASONS = {"not_finished": None, "token_limit": "max_tokens", "time_limit": "max_tokens", "cancelled": "error"}


# The same of chats, whose ends are OpenAI's but for these: …/TextChatResultChoice.
ENDS = {"time_limit": "length", "cancelled": "error"}


class Chatted(Translation):
    """A chat as OpenAI has it, but for the ends that IBM has beside OpenAI's: a cut answer is no whole one."""

    def whole(self, answer: JSON) -> JSON:
        choices = answer.get("choices")
        return answer | {"choices": [_ended(choice) for choice in choices]} if isinstance(choices, list) else answer

    def chunks(self, event: JSON) -> Iterable[JSON]:
        return (self.whole(event),)


class Generated(Translation):
    """One text, whose tokens a stream counts as they come: those of the prompt in its first event alone."""

    def __init__(self, request: Request, path: str, body: JSON) -> None:
        super().__init__(request, path, body)
        self.prompt_tokens = self.completion_tokens = 0

    def is_reply(self, answer: JSON) -> bool:
        return "results" in answer

    def whole(self, answer: JSON) -> JSON:
        choices = [self._choice(result, place) for place, result in enumerate(objects_at(answer, "results"))]
        usage = {"prompt_tokens": self.prompt_tokens, "completion_tokens": self.completion_tokens}
        more = {name: answer[name] for name in ("model_version", "system") if name in answer}
        head = {"model": answer.get("model_id"), "created": _epoch(answer.get("created_at"))}
        return head | more | {"choices": choices, "usage": usage}

    def chunks(self, event: JSON) -> Iterable[JSON]:
        return (self.whole(event),)

    def _choice(self, result: JSON, place: int) -> JSON:
        self.prompt_tokens = max(self.prompt_tokens, count_at(result, "input_token_count"))
        self.completion_tokens = max(self.completion_tokens, count_at(result, "generated_token_count"))
        reason = text_or_none(result, "stop_reason")
        more = {name: result[name] for name in ("moderations",) if name in result}
        said = {"index": place, "text": result.get("generated_text"), "logprobs": None}
        return said | more | {"finish_reason": REASONS.get(reason or "", reason)}


def _ended(choice: Any) -> Any:
    native = choice.get("finish_reason") if isinstance(choice, dict) else None
    ours = ENDS.get(native) if isinstance(native, str) else None
    return choice if ours is None else choice | {"finish_reason": ours, "native_finish_reason": native}


def _epoch(created_at: Any) -> int | None:
    try:
        return int(datetime.fromisoformat(created_at).timestamp())
    except (TypeError, ValueError):
        return None
