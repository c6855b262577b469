"""One call in a vendor's own words, and what is wrong with its answer."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from apps.inference.dialect import AnswerFailed, Malformed
from apps.inference.schemas import ChatCompletionRequest, CompletionRequest, EmbeddingRequest, RerankRequest
from llamastack.bodies import spelt
from llamastack.errors import UpstreamError

JSON = dict[str, Any]
R = TypeVar("R", bound=BaseModel)
Request = ChatCompletionRequest | CompletionRequest | EmbeddingRequest | RerankRequest


class Translation:
    """A request as the vendor takes it, and the vendor's answer as OpenAI would give it; here both are the same.

    It is made for one call and does no I/O. `path` is below the vendor's address. Where an answer is not in the
    vendor's dialect, `whole` and `chunks` raise Malformed; where it says that it failed, AnswerFailed.
    `several`: the vendor gives as many choices as are asked for; otherwise one, also where `n` was left out.
    """

    several: ClassVar[bool] = True

    def __init__(self, request: Request, path: str, body: Any) -> None:
        self.request = request
        self.path = path
        self.body = body

    def is_reply(self, answer: JSON) -> bool:
        """Whether a whole answer, or an event of a stream, holds content: some tell errors with status 200."""
        return "choices" in answer or "data" in answer or bool(answer.get("usage"))

    def whole(self, answer: JSON) -> JSON:
        """A chat completion, or a completion, of OpenAI's."""
        return answer

    def chunks(self, event: JSON) -> Iterable[JSON]:
        """The chunks of OpenAI's that an event of the stream stands for. Usage may come in one without choices."""
        return (event,)


def parsed(kind: type[R], answer: Any, upstream: str) -> R:
    """An upstream's JSON read with one of our own types."""
    with reading(kind, upstream):
        return kind.model_validate(answer)


@contextmanager
def reading(kind: type[BaseModel], upstream: str) -> Iterator[None]:
    """What is wrong with an answer, as an error that names the upstream."""
    try:
        yield
    except AnswerFailed as failed:
        raise UpstreamError(f"{upstream} broke off its answer and gave as the reason '{failed}'.") from failed
    except Malformed as error:
        raise UpstreamError(f"{upstream} sent an answer that is not a {kind.__name__}: {error}.") from error
    except orjson.JSONEncodeError as error:  # of what is passed on as text
        raise UpstreamError(f"{upstream} sent an answer that is nested too deep.") from error
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        told = f"'{spelt(first['loc'])}': {first['msg']}"
        raise UpstreamError(f"{upstream} sent an answer that is not a {kind.__name__}: {told}.") from error
