"""The answers to one request: they run side by side in the engine and come out as text."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from apps.inference.providers.inline.meta_reference.logprobs import TokenLogprob, Waiting, Wording, of_prompt
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
    """Some text of one answer, with the logprobs of its tokens where they are asked for; the last has a reason."""

    index: int
    text: str
    finish_reason: FinishReason | None = None
    logprobs: tuple[TokenLogprob, ...] = ()


class Answers:
    """Generates `choices` answers to each prompt. Usage counts the end-of-sequence token, as vLLM does."""

    def __init__(
        self,
        loaded: "LoadedModel",
        prompts: Sequence[Tokens],
        sampling: SamplingParams,
        choices: int,
        echoes: Sequence[str] | None = None,
        marks: frozenset[int] = frozenset(),
    ) -> None:
        """With `echoes`, an answer goes on from its prompt's text, and a space where they meet is kept.

        They are what each answer begins with. Of the special tokens, `marks` are shown as text.

        Raises BadRequest for more answers than the engine can ever take at once.
        """
        self._loaded = loaded
        self._prompts = prompts
        self._sampling = sampling
        self._choices = choices
        self._echoes = echoes
        self._marks = marks
        self.wording = None if sampling.logprobs is None else Wording(loaded.tokenizer)
        self._completion_tokens = 0
        self.count = len(prompts) * choices
        if self.count > (most := loaded.engine.capacity):
            field = "n" if len(prompts) == 1 else "prompt"
            raise BadRequest(f"{self.count} answers are asked for; this provider takes {most} at once.", param=field)

    async def whole(self) -> list[Piece]:
        """Every answer in one piece."""
        parts: list[list[Piece]] = [[] for _ in range(self.count)]
        async with aclosing(self.pieces()) as pieces:
            async for piece in pieces:
                parts[piece.index].append(piece)
        return [_joined(one) for one in parts]

    def usage(self) -> Usage:
        """Of what was generated until now; a prompt counts once, however many answers it has."""
        prompt, completion = sum(map(len, self._prompts)), self._completion_tokens
        return Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)

    async def pieces(self) -> AsyncGenerator[Piece, None]:
        if self._sampling.max_tokens == 0 and not self._sampling.prompt_logprobs:
            for index in range(self.count):
                yield Piece(index, self._echo(index), "length")
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
        before = () if self._echoes is None else self._prompt(index)
        detokenizer = Detokenizer(self._loaded.tokenizer, before, self._marks)
        stops = StopFilter(self._sampling.stop)
        echo = self._echo(index)
        if echo or self._sampling.prompt_logprobs:
            await generation.begun()
            yield Piece(index, echo, logprobs=await self._prompt_logprobs(index, generation))
        waiting = Waiting(len(echo))
        async for token in generation:
            self._completion_tokens += 1
            decoded = detokenizer.feed(token)
            text = stops.feed(decoded)
            logprobs = waiting.feed(token, generation.logprob, decoded, text) if generation.logprob else ()
            if stops.found:
                await generation.aclose()
                yield Piece(index, text, "stop", logprobs)
                return
            yield Piece(index, text, logprobs=logprobs)
        rest = stops.feed(detokenizer.flush()) + stops.flush()
        reason = "stop" if stops.found else generation.finish_reason
        yield Piece(index, rest, reason, waiting.show(rest) + (waiting.rest() if reason == "length" else ()))

    async def _prompt_logprobs(self, index: int, generation: "Generation") -> tuple[TokenLogprob, ...]:
        if not self._sampling.prompt_logprobs:
            return ()
        return await asyncio.to_thread(
            of_prompt, self._loaded.tokenizer, self._prompt(index), generation.prompt_logprobs
        )

    def _echo(self, index: int) -> str:
        return self._echoes[index] if self._echoes else ""

    def _prompt(self, index: int) -> Tokens:
        return self._prompts[index // self._choices]

    def _sampling_of(self, index: int) -> SamplingParams:
        """Each of a prompt's answers has a seed of its own, and alike prompts are answered alike."""
        seed = self._sampling.seed
        return self._sampling if seed is None else replace(self._sampling, seed=seed + index % self._choices)


def _joined(pieces: Sequence[Piece]) -> Piece:
    logprobs = tuple(one for piece in pieces for one in piece.logprobs)
    return replace(pieces[-1], text="".join(piece.text for piece in pieces), logprobs=logprobs)


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
