"""A call from its admission until it is settled: what becomes known of it goes into its usage record."""

import asyncio
import time
from types import TracebackType
from typing import Any

from pydantic import BaseModel

from apps.access.service import settle
from apps.inference.schemas import ChatCompletionChunk, ChunkChoice, CompletionChoice, CompletionChunk
from llamastack.call import CLIENT_GONE, Call, Outcome
from llamastack.errors import StackError
from llamastack.flusher import Flusher

GONE = (asyncio.CancelledError, GeneratorExit)


class Settling:
    """A `with` block around all that is done for a call: its record is made at the end, however that comes."""

    def __init__(self, call: Call, outcome: Outcome, flusher: Flusher) -> None:
        self.call = call
        self.outcome = outcome
        self.flusher = flusher
        self.parts = 0  # of a stream: those that said something

    def __enter__(self) -> "Settling":
        self.began = time.perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        outcome = self.outcome
        outcome.whole = error is None
        if error is not None:
            outcome.status, outcome.error = ended_by(error)
        estimate(outcome, self.parts)
        outcome.seconds = time.perf_counter() - self.began
        self.flusher.note(settle(self.call, outcome))

    def add(self, chunk: ChatCompletionChunk | CompletionChunk) -> None:
        """Look at a chunk of a stream."""
        tally(self.outcome, chunk.usage)
        self.parts += sum(says_something(choice) for choice in chunk.choices)


def tally(outcome: Outcome, usage: Any) -> None:
    """Take over what a reply tells of its tokens, if it does. `usage` is an object of ours, or JSON."""
    told = usage.model_dump(exclude_unset=True) if isinstance(usage, BaseModel) else usage
    if isinstance(told, dict):
        outcome.input_tokens, outcome.output_tokens = detail(told, "prompt_tokens"), detail(told, "completion_tokens")
        outcome.cached_tokens = detail(told.get("prompt_tokens_details"), "cached_tokens")
        outcome.reasoning_tokens = detail(told.get("completion_tokens_details"), "reasoning_tokens")


def estimate(outcome: Outcome, parts: int) -> None:
    """Where nobody has told the tokens of a stream, they are as many as its `parts` that said something."""
    if outcome.output_tokens is None and parts:
        outcome.output_tokens, outcome.estimated = parts, True


def ended_by(error: BaseException) -> tuple[int, str]:
    """The status and the code of what ended a call."""
    if isinstance(error, StackError):
        return error.status, error.code or error.type
    return (CLIENT_GONE, "client_gone") if isinstance(error, GONE) else (500, "internal_error")


def detail(details: Any, name: str) -> int | None:
    """A count that a vendor adds, in a form that nobody has checked."""
    value = details.get(name) if isinstance(details, dict) else None
    return value if type(value) is int else None  # which true is not


def says_something(choice: ChunkChoice | CompletionChoice) -> bool:
    """Whether a choice of a chunk brings about a token: text, thought, or a piece of a tool's call."""
    if isinstance(choice, ChunkChoice):
        delta = choice.delta
        return bool(delta.content or delta.reasoning_content or delta.tool_calls)
    return bool(choice.text)
