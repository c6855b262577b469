"""A line's answer, as it stands in one of the two files that a batch writes."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import orjson
from pydantic import BaseModel, ValidationError

from apps.batches.lines import Line
from apps.batches.tries import Tries
from apps.inference.protocol import Elsewhere, FastLane, Inference
from apps.inference.schemas import (
    ChatCompletion,
    ChatCompletionRequest,
    Completion,
    CompletionRequest,
    EmbeddingRequest,
    EmbeddingResponse,
)
from llamastack import bodies, sse
from llamastack.call import Call, Outcome, Served
from llamastack.egress.failures import status_of
from llamastack.errors import StackError, render
from llamastack.ids import new_id

BREAKS = b"\r\n"
# Those that JSON lets stand in strings; Python's splitlines(), by which many read the file, would break a line there.
BREAKS_IN_TEXT = {char.encode(): f"\\u{ord(char):04x}".encode() for char in "\x85\u2028\u2029"}
MOST_TOKENS = 2**40  # of one line: whoever tells more has told nothing
OPERATIONS: dict[str, tuple[type[BaseModel], Callable[[Inference], Any]]] = {
    "/v1/chat/completions": (ChatCompletionRequest, lambda inference: inference.post_chat_completion),
    "/v1/completions": (CompletionRequest, lambda inference: inference.post_completion),
    "/v1/embeddings": (EmbeddingRequest, lambda inference: inference.post_embedding),
}
Counted = tuple[int, int, int, int]
Reply = ChatCompletion | Completion | EmbeddingResponse
logger = logging.getLogger(__name__)


class Request(msgspec.Struct):
    """What a line asks for, its body as it stands there."""

    custom_id: str
    body: msgspec.Raw


requests = msgspec.json.Decoder(Request)


@dataclass(slots=True)
class Answer:
    """`tokens` are the reply's input, cached, output and reasoning tokens."""

    line: int
    succeeded: bool
    text: bytes
    tokens: Counted = (0, 0, 0, 0)


async def answer(
    inference: Inference, lane: FastLane, call: Call, endpoint: str, line: Line, tries: Tries | None = None
) -> Answer:
    """What comes of a line, which never raises: it has an answer, or an error of its own."""
    request = requests.decode(line.text)
    call = replace(call, request_id=new_id("req_"), served=Served())
    try:
        data, counted = await _tried(inference, lane, call, endpoint, bytes(request.body), tries or Tries())
        return Answer(line.number, True, written(request.custom_id, call, 200, data), counted)
    except StackError as error:
        return _failed(line, request, call, error)
    except Exception:  # a provider may fail in any way; the other lines go on
        logger.exception("Line %d of a batch failed", line.number)
        return _failed(line, request, call, StackError("The server failed to answer this; its log says more."))


def unanswered(line: Line, code: str, message: str) -> Answer:
    told = {"id": new_id("batch_req_"), "custom_id": requests.decode(line.text).custom_id, "response": None}
    return Answer(line.number, False, one_line(orjson.dumps(told | {"error": {"code": code, "message": message}})))


async def _tried(
    inference: Inference, lane: FastLane, call: Call, endpoint: str, body: bytes, tries: Tries
) -> tuple[bytes, Counted]:
    """The answer and what it counts, once the upstream is there and has room for it."""
    while True:
        try:
            return await _asked(inference, lane, call, endpoint, body)
        except StackError as error:
            await asyncio.sleep(tries.pause(error))


async def _asked(inference: Inference, lane: FastLane, call: Call, endpoint: str, body: bytes) -> tuple[bytes, Counted]:
    try:
        data, outcome = await lane.answer(call, endpoint, body)
    except Elsewhere as elsewhere:
        reply = await _answered(inference, replace(call, tried=elsewhere.tried), endpoint, orjson.loads(body))
        return sse.dump(reply), tokens(reply.usage)
    return data, counted(outcome)


async def _answered(inference: Inference, call: Call, endpoint: str, body: dict[str, Any]) -> Reply:
    kind, method = OPERATIONS[endpoint]
    try:
        request = kind.model_validate(body)
    except ValidationError as error:
        raise bodies.invalid(error.errors(), body) from error
    if isinstance(request, ChatCompletionRequest) and request.store is None:
        request.store = False  # the output file is where its answer is kept
    reply: Reply = await method(inference)(call, request)
    return reply


def _failed(line: Line, request: Request, call: Call, error: StackError) -> Answer:
    status, body = render(error)
    text = written(request.custom_id, call, status_of(error) or status, orjson.dumps(body))
    return Answer(line.number, False, text)


def written(custom_id: str, call: Call, status: int, body: bytes) -> bytes:
    """One line, also where an upstream indents what it answers, as OpenAI does: in JSON breaks stand between values."""
    head = {"id": new_id("batch_req_"), "custom_id": custom_id}
    response = {"status_code": status, "request_id": call.request_id}
    begun = orjson.dumps(head)[:-1] + b',"response":' + orjson.dumps(response)[:-1]
    return one_line(begun + b',"body":' + body + b'},"error":null}')


def one_line(text: bytes) -> bytes:
    """The same JSON, which nobody takes for several lines."""
    line = text.translate(None, BREAKS)
    for char, escaped in BREAKS_IN_TEXT.items():
        line = line.replace(char, escaped)
    return line


def counted(outcome: Outcome) -> Counted:
    told = outcome.input_tokens, outcome.cached_tokens, outcome.output_tokens, outcome.reasoning_tokens
    asked, cached, said, reasoned = (value if value is not None and 0 <= value <= MOST_TOKENS else 0 for value in told)
    return asked, cached, said, reasoned


def tokens(usage: BaseModel | None) -> Counted:
    """Of a reply: its input, cached, output and reasoning tokens; 0 where a vendor tells none, or nonsense."""
    told = {} if usage is None else usage.model_dump()
    asked, said = told.get("prompt_tokens_details"), told.get("completion_tokens_details")
    return (
        _count(told, "prompt_tokens"),
        _count(asked, "cached_tokens"),
        _count(told, "completion_tokens"),
        _count(said, "reasoning_tokens"),
    )


def _count(told: Any, name: str) -> int:
    value = told.get(name) if isinstance(told, dict) else None
    return value if isinstance(value, int) and 0 <= value <= MOST_TOKENS else 0
