"""One call of generateContent or streamGenerateContent, and what it is answered."""

from collections.abc import Iterator

from apps.inference.dialect import Malformed
from apps.inference.dialect.answers import index_of, objects
from apps.inference.providers.remote.google import answers
from apps.inference.providers.remote.google.settings import NEWER, generation, settings
from apps.inference.providers.remote.google.turns import Turns
from apps.inference.providers.remote.translation import JSON, Translation
from apps.inference.providers.unsupported import GeneratesConfig, Lacks, to_drop
from apps.inference.schemas import ChatCompletionRequest


class GenerateContent(Translation):
    """`resource` is the model's address below the API's: models/gemini-2.5-flash. `upstream` names it in errors.

    `older_ids`: models before Gemini 3 take the ids of calls as well.
    """

    def __init__(
        self,
        request: ChatCompletionRequest,
        resource: str,
        upstream: str,
        config: GeneratesConfig,
        *,
        older_ids: bool = True,
    ) -> None:
        lacks = Lacks(upstream)
        self.choices = request.choices
        self.called: dict[int, int] = {}  # how many calls each choice of a stream has made
        method = "streamGenerateContent?alt=sse" if request.stream else "generateContent"
        newer = (generation(resource) or 0) >= NEWER
        body = _body(request, Turns(lacks, signed=newer, ids=newer or older_ids), lacks)
        to_drop(lacks, config)
        super().__init__(request, f"{resource}:{method}", body)

    def is_reply(self, answer: JSON) -> bool:
        return not answer.keys().isdisjoint(("candidates", "promptFeedback", "usageMetadata"))

    def whole(self, answer: JSON) -> JSON:
        choices = [self._choice(candidate, place) for place, candidate in enumerate(objects(answer.get("candidates")))]
        if not choices:
            if (why := answers.blocked(answer)) is None:
                raise Malformed("it has neither candidates nor the reason why the prompt was blocked")
            said = {"message": {"role": "assistant", "content": None, "refusal": why}}
            choices = self._withheld(said)
        told = self._head(answer) | {"object": "chat.completion", "choices": choices}
        usage = answers.usage(answer.get("usageMetadata"))
        return told if usage is None else told | {"usage": usage}

    def chunks(self, event: JSON) -> Iterator[JSON]:
        """Google tells usage with each event, as it grows."""
        choices = [self._part(candidate, place) for place, candidate in enumerate(objects(event.get("candidates")))]
        if not choices and (why := answers.blocked(event)) is not None:
            choices = self._withheld({"delta": {"refusal": why}})
        told = self._head(event) | {"choices": choices}
        usage = answers.usage(event.get("usageMetadata"))
        yield told if usage is None else told | {"usage": usage}

    def _withheld(self, said: JSON) -> list[JSON]:
        """All the choices that were asked for, where the prompt itself was blocked."""
        return [{"index": index, **said, "finish_reason": "content_filter"} for index in range(self.choices)]

    def _head(self, answer: JSON) -> JSON:
        model, own = answer.get("modelVersion"), answer.get("responseId")
        return {"model": model if isinstance(model, str) and model else self.request.model} | (
            {"id": own} if own else {}
        )

    def _choice(self, candidate: JSON, place: int) -> JSON:
        said = {"role": "assistant", "content": None} | answers.message(candidate)
        reason = answers.ended(candidate, called="tool_calls" in said)
        if (why := answers.refusal(candidate, reason)) is not None:
            said["refusal"] = why
        choice = {"index": index_of(candidate, place), "message": said, **reason, **answers.beyond(candidate)}
        logprobs = answers.logprobs(candidate)
        return choice if logprobs is None else choice | {"logprobs": logprobs}

    def _part(self, candidate: JSON, place: int) -> JSON:
        index, said = index_of(candidate, place), answers.message(candidate)
        if calls := said.get("tool_calls"):
            begun = self.called.get(index, 0)
            said["tool_calls"] = [{"index": begun + i, **call} for i, call in enumerate(calls)]
            self.called[index] = begun + len(calls)
        reason = answers.ended(candidate, called=index in self.called)
        if (why := answers.refusal(candidate, reason)) is not None:
            said["refusal"] = why
        choice = {"index": index, "delta": said, **reason, **answers.beyond(candidate)}
        logprobs = answers.logprobs(candidate)
        return choice if logprobs is None else choice | {"logprobs": logprobs}


def _body(request: ChatCompletionRequest, turns: Turns, lacks: Lacks) -> JSON:
    for place, message in enumerate(request.messages):
        turns.add(message, f"messages[{place}]")
    body = settings(request, lacks, turns.details)
    if not turns.contents:  # Google answers no instruction alone, which is then what it is asked
        return {"contents": [{"role": "user", "parts": turns.system}], **body}
    instruction = {"systemInstruction": {"parts": turns.system}} if turns.system else {}
    return {"contents": turns.contents, **instruction, **body}
