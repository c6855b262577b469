"""Answers as they travel: chat completions and completions, whole and in chunks."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TypeVar

from apps.inference.providers.inline.meta_reference.answers import Answers, Piece
from apps.inference.providers.inline.meta_reference.logprobs import Wire
from apps.inference.providers.inline.meta_reference.tool_forms.reader import Reader
from apps.inference.providers.inline.meta_reference.tool_forms.talk import Talk
from apps.inference.providers.inline.meta_reference.tool_forms.wire import delta, finish_reason, whole_message
from apps.inference.schemas import (
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChunkChoice,
    Completion,
    CompletionChoice,
    CompletionChunk,
    Delta,
    FinishReason,
    completion_id,
    now,
    text_completion_id,
)

T = TypeVar("T")


async def _worded(answers: Answers, choice: Callable[[Piece], T]) -> list[T]:
    """The choices. Logprobs of long answers take seconds to write: in a thread, beside other requests."""
    pieces = await answers.whole()
    if answers.wording:
        return await asyncio.to_thread(lambda: [choice(piece) for piece in pieces])
    return [choice(piece) for piece in pieces]


async def whole_chat(answers: Answers, talk: Talk, model: str) -> ChatCompletion:
    choices = await _worded(answers, lambda answer: _choice(answers, talk, answer))
    return ChatCompletion(model=model, choices=choices, usage=answers.usage())


def _choice(answers: Answers, talk: Talk, answer: Piece) -> Choice:
    reader = talk.reader()
    return Choice(
        index=answer.index,
        message=whole_message([*reader.feed(answer.text), *reader.flush()]),
        finish_reason=finish_reason(reader, answer.finish_reason),
        logprobs=_chat_logprobs(answers, answer),
    )


async def stream_chat(
    answers: Answers, talk: Talk, model: str, wants_usage: bool
) -> AsyncGenerator[ChatCompletionChunk, None]:
    """A choice begins with its role, goes on as it comes, ends with its finish reason; usage comes last of all.

    The logprobs of tokens come with the chunk that has their text, or with one that has none yet.
    """
    envelope = ChatCompletionChunk(id=completion_id(), created=now(), model=model)
    readers: dict[int, Reader] = {}
    async with aclosing(answers.pieces()) as pieces:
        async for piece in pieces:
            if piece.index not in readers:
                readers[piece.index] = talk.reader()
                yield _delta(envelope, piece.index, Delta(role="assistant", content=""))
            reader = readers[piece.index]
            events = [*reader.feed(piece.text), *(reader.flush() if piece.finish_reason else ())]
            logprobs = _chat_logprobs(answers, piece) if piece.logprobs else None
            for said in [delta(event) for event in events] or ([Delta(content="")] if logprobs else []):
                yield _delta(envelope, piece.index, said, logprobs=logprobs)
                logprobs = None
            if piece.finish_reason:
                yield _delta(envelope, piece.index, Delta(), finish_reason(reader, piece.finish_reason))
    if wants_usage:
        yield envelope.model_copy(update={"usage": answers.usage()})


async def whole_text(answers: Answers, model: str) -> Completion:
    choices = await _worded(answers, lambda answer: _text_choice(answers, answer))
    return Completion(model=model, choices=choices, usage=answers.usage())


async def stream_text(answers: Answers, model: str, wants_usage: bool) -> AsyncGenerator[CompletionChunk, None]:
    """A choice begins with its echo, goes on with text, ends with its finish reason; usage comes last of all."""
    envelope = CompletionChunk(id=text_completion_id(), created=now(), model=model)
    async with aclosing(answers.pieces()) as pieces:
        async for piece in pieces:
            if piece.text or piece.logprobs or piece.finish_reason:
                yield envelope.model_copy(update={"choices": [_text_choice(answers, piece)]})
    if wants_usage:
        yield envelope.model_copy(update={"usage": answers.usage()})


def _chat_logprobs(answers: Answers, piece: Piece) -> Wire | None:
    return answers.wording.chat(piece.logprobs) if answers.wording else None


def _text_choice(answers: Answers, piece: Piece) -> CompletionChoice:
    return CompletionChoice(
        index=piece.index,
        text=piece.text,
        finish_reason=piece.finish_reason,
        logprobs=answers.wording.completion(piece.logprobs) if answers.wording else None,
    )


def _delta(
    envelope: ChatCompletionChunk,
    index: int,
    delta: Delta,
    reason: FinishReason | None = None,
    logprobs: Wire | None = None,
) -> ChatCompletionChunk:
    choice = ChunkChoice(index=index, delta=delta, finish_reason=reason, logprobs=logprobs)
    return envelope.model_copy(update={"choices": [choice]})
