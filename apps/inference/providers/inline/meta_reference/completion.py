"""Answers as they travel: chat completions and completions, whole and in chunks."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from apps.inference.providers.inline.meta_reference.answers import Answers
from apps.inference.schemas import (
    AssistantMessage,
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


async def whole_chat(answers: Answers, model: str) -> ChatCompletion:
    texts, reasons = await answers.whole()
    choices = [
        Choice(index=index, message=AssistantMessage(content=text), finish_reason=reason)
        for index, (text, reason) in enumerate(zip(texts, reasons, strict=True))
    ]
    return ChatCompletion(model=model, choices=choices, usage=answers.usage())


async def stream_chat(answers: Answers, model: str, wants_usage: bool) -> AsyncGenerator[ChatCompletionChunk, None]:
    """A choice begins with its role, goes on with text, ends with its finish reason; usage comes last of all."""
    envelope = ChatCompletionChunk(id=completion_id(), created=now(), model=model)
    begun: set[int] = set()
    async with aclosing(answers.pieces()) as pieces:
        async for piece in pieces:
            if piece.index not in begun:
                begun.add(piece.index)
                yield _delta(envelope, piece.index, Delta(role="assistant", content=""))
            if piece.text:
                yield _delta(envelope, piece.index, Delta(content=piece.text))
            if piece.finish_reason:
                yield _delta(envelope, piece.index, Delta(), piece.finish_reason)
    if wants_usage:
        yield envelope.model_copy(update={"usage": answers.usage()})


async def whole_text(answers: Answers, model: str, echoes: Sequence[str]) -> Completion:
    """`echoes` holds what each choice begins with."""
    texts, reasons = await answers.whole()
    choices = [
        CompletionChoice(index=index, text=echo + text, finish_reason=reason)
        for index, (echo, text, reason) in enumerate(zip(echoes, texts, reasons, strict=True))
    ]
    return Completion(model=model, choices=choices, usage=answers.usage())


async def stream_text(
    answers: Answers, model: str, echoes: Sequence[str], wants_usage: bool
) -> AsyncGenerator[CompletionChunk, None]:
    """A choice begins with its echo, goes on with text, ends with its finish reason; usage comes last of all."""
    envelope = CompletionChunk(id=text_completion_id(), created=now(), model=model)
    ahead = dict(enumerate(echoes))
    async with aclosing(answers.pieces()) as pieces:
        async for piece in pieces:
            text = ahead.pop(piece.index, "") + piece.text
            if text or piece.finish_reason:
                choice = CompletionChoice(index=piece.index, text=text, finish_reason=piece.finish_reason)
                yield envelope.model_copy(update={"choices": [choice]})
    if wants_usage:
        yield envelope.model_copy(update={"usage": answers.usage()})


def _delta(
    envelope: ChatCompletionChunk, index: int, delta: Delta, reason: FinishReason | None = None
) -> ChatCompletionChunk:
    choice = ChunkChoice(index=index, delta=delta, finish_reason=reason)
    return envelope.model_copy(update={"choices": [choice]})
