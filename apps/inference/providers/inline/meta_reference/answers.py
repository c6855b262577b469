"""The answers to one request: they run side by side in the engine and come out as text."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from apps.inference.providers.inline.meta_reference.text import Detokenizer, StopFilter
from apps.inference.schemas import FinishReason, Usage
from llamastack.errors import BadRequest
from llamastack.sampling import SamplingParams

if TYPE_CHECKING:
    from apps.inference.providers.inline.meta_reference.generation import Generation
    from apps.inference.providers.inline.meta_reference.loader import LoadedModel

Tokens = Sequence[int]


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text of one answer; with a finish reason, its last."""

    index: int
    text: str
    finish_reason: FinishReason | None = None


class Answers:
    """Generates `choices` answers to each prompt. Usage counts the end-of-sequence token, as vLLM does."""

    def __init__(
        self,
        loaded: "LoadedModel",
        prompts: Sequence[Tokens],
        sampling: SamplingParams,
        choices: int,
        goes_on: bool = False,
    ) -> None:
        """With `goes_on`, an answer continues its prompt's text, and a space where they meet is kept.

        Raises BadRequest for more answers than the engine can ever take at once.
        """
        self._loaded = loaded
        self._prompts = prompts
        self._sampling = sampling
        self._choices = choices
        self._goes_on = goes_on
        self._completion_tokens = 0
        self.count = len(prompts) * choices
        if self.count > (most := loaded.engine.capacity):
            field = "n" if len(prompts) == 1 else "prompt"
            raise BadRequest(f"{self.count} answers are asked for; this provider takes {most} at once.", param=field)

    async def whole(self) -> tuple[list[str], list[FinishReason | None]]:
        """Every answer's text and finish reason."""
        texts = [""] * self.count
        reasons: list[FinishReason | None] = [None] * self.count
        async with aclosing(self.pieces()) as pieces:
            async for piece in pieces:
                texts[piece.index] += piece.text
                reasons[piece.index] = piece.finish_reason
        return texts, reasons

    def usage(self) -> Usage:
        """Of what was generated until now; a prompt counts once, however many answers it has."""
        prompt, completion = sum(map(len, self._prompts)), self._completion_tokens
        return Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)

    async def pieces(self) -> AsyncGenerator[Piece, None]:
        if self._sampling.max_tokens == 0:
            for index in range(self.count):
                yield Piece(index, "", "length")
            return
        generations: list[Generation] = []
        try:
            for index in range(self.count):  # one by one: if the third is refused, the first two must be closed
                generations.append(await self._loaded.engine.submit(self._prompt(index), self._sampling_of(index)))  # noqa: PERF401
            answers = [self._answer(index, generation) for index, generation in enumerate(generations)]
            async with aclosing(answers[0] if len(answers) == 1 else merged(answers)) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            for generation in generations:
                await generation.aclose()

    async def _answer(self, index: int, generation: "Generation") -> AsyncGenerator[Piece, None]:
        before = self._prompt(index) if self._goes_on else ()
        detokenizer, stops = Detokenizer(self._loaded.tokenizer, before), StopFilter(self._sampling.stop)
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

    def _prompt(self, index: int) -> Tokens:
        return self._prompts[index // self._choices]

    def _sampling_of(self, index: int) -> SamplingParams:
        """Each of a prompt's answers has a seed of its own, and alike prompts are answered alike."""
        seed = self._sampling.seed
        return self._sampling if seed is None else replace(self._sampling, seed=seed + index % self._choices)


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
