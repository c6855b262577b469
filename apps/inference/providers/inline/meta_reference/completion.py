"""One chat completion: its choices run side by side in the engine and come out as text."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from apps.inference.providers.inline.meta_reference.text import Detokenizer, StopFilter
from apps.inference.schemas import (
    AssistantMessage,
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChunkChoice,
    Delta,
    FinishReason,
    Usage,
    completion_id,
    now,
)
from llamastack.sampling import SamplingParams

if TYPE_CHECKING:
    from apps.inference.providers.inline.meta_reference.generation import Generation
    from apps.inference.providers.inline.meta_reference.loader import LoadedModel


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text of one choice; with a finish reason, its last."""

    index: int
    text: str
    finish_reason: FinishReason | None = None


class Completion:
    """Generates `choices` answers to one prompt. Usage counts the end-of-sequence token, as vLLM does."""

    def __init__(self, loaded: "LoadedModel", prompt: Sequence[int], sampling: SamplingParams, choices: int) -> None:
        self._loaded = loaded
        self._prompt = prompt
        self._sampling = sampling
        self._choices = choices
        self._completion_tokens = 0

    async def whole(self, model: str) -> ChatCompletion:
        texts = [""] * self._choices
        reasons: list[FinishReason | None] = [None] * self._choices
        async with aclosing(self._pieces()) as pieces:
            async for piece in pieces:
                texts[piece.index] += piece.text
                reasons[piece.index] = piece.finish_reason
        choices = [
            Choice(index=index, message=AssistantMessage(content=text), finish_reason=reason)
            for index, (text, reason) in enumerate(zip(texts, reasons, strict=True))
        ]
        return ChatCompletion(model=model, choices=choices, usage=self._usage())

    async def stream(self, model: str, wants_usage: bool) -> AsyncGenerator[ChatCompletionChunk, None]:
        """A choice begins with its role, goes on with text, ends with its finish reason; usage comes last of all."""
        envelope = ChatCompletionChunk(id=completion_id(), created=now(), model=model)
        begun: set[int] = set()
        async with aclosing(self._pieces()) as pieces:
            async for piece in pieces:
                if piece.index not in begun:
                    begun.add(piece.index)
                    yield _chunk(envelope, piece.index, Delta(role="assistant", content=""))
                if piece.text:
                    yield _chunk(envelope, piece.index, Delta(content=piece.text))
                if piece.finish_reason:
                    yield _chunk(envelope, piece.index, Delta(), piece.finish_reason)
        if wants_usage:
            yield envelope.model_copy(update={"usage": self._usage()})

    def _usage(self) -> Usage:
        prompt, completion = len(self._prompt), self._completion_tokens
        return Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)

    async def _pieces(self) -> AsyncGenerator[Piece, None]:
        generations: list[Generation] = []
        try:
            for index in range(self._choices):  # one by one: if the third is refused, the first two must be closed
                generations.append(await self._loaded.engine.submit(self._prompt, self._choice_sampling(index)))  # noqa: PERF401
            choices = [self._choice(index, generation) for index, generation in enumerate(generations)]
            async with aclosing(choices[0] if len(choices) == 1 else merged(choices)) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            for generation in generations:
                await generation.aclose()

    async def _choice(self, index: int, generation: "Generation") -> AsyncGenerator[Piece, None]:
        detokenizer, stops = Detokenizer(self._loaded.tokenizer), StopFilter(self._sampling.stop)
        async for token in generation:
            self._completion_tokens += 1
            text = stops.feed(detokenizer.feed(token))
            if stops.found:
                await generation.aclose()
                yield Piece(index, text, "stop")
                return
            yield Piece(index, text)
        rest = stops.feed(detokenizer.flush()) + stops.flush()
        yield Piece(index, rest, "stop" if stops.found else generation.finish_reason)

    def _choice_sampling(self, index: int) -> SamplingParams:
        seed = self._sampling.seed
        return self._sampling if seed is None else replace(self._sampling, seed=seed + index)


def _chunk(
    envelope: ChatCompletionChunk, index: int, delta: Delta, reason: FinishReason | None = None
) -> ChatCompletionChunk:
    choice = ChunkChoice(index=index, delta=delta, finish_reason=reason)
    return envelope.model_copy(update={"choices": [choice]})


async def merged(sources: Sequence[AsyncGenerator[Piece, None]]) -> AsyncGenerator[Piece, None]:
    """The pieces of several choices in the order they come."""
    pending = {asyncio.ensure_future(_next(source)): source for source in sources}
    try:
        while pending:
            done, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                source = pending.pop(task)
                piece = task.result()
                if piece is not None:
                    pending[asyncio.ensure_future(_next(source))] = source
                    yield piece
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


async def _next(source: AsyncGenerator[Piece, None]) -> Piece | None:
    return await anext(source, None)
