"""The engine: one thread, one model, one batch that requests join and leave between steps.

    step = schedule (who leaves, who joins)  ->  run (prefill the new, decode all)  ->  publish (tokens to their loops)

The life of a generation:

1. `submit`, on the caller's loop, checks the prompt against the context and puts it into the queue.
2. Before a step the engine takes from the queue what fits into the batch.
3. `_prefill` computes the prompts' keys and values, several prompts at once where their lengths are alike.
   A prompt with images is prefilled alone.
4. The first token is chosen and published, and the rows join the batch.
5. Each step decodes one token for every row.
6. End of sequence, the limit, a cancel or an error ends it; its row is dropped before the next step.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from random import Random
from typing import Any, Protocol

import torch
from transformers import DynamicCache

from apps.inference.providers.inline.meta_reference import likelihood
from apps.inference.providers.inline.meta_reference.adjustment import adjustment
from apps.inference.providers.inline.meta_reference.constraint import Grammars, Matcher
from apps.inference.providers.inline.meta_reference.generation import Event, Finish, Generation, Logprob, publish
from apps.inference.providers.inline.meta_reference.rows import Rows
from apps.inference.providers.inline.meta_reference.sampler import choose
from apps.inference.providers.inline.meta_reference.seen import Seen
from llamastack.errors import BadRequest, RateLimited, StackError, Unavailable, UnsupportedParameter
from llamastack.sampling import SamplingParams

log = logging.getLogger(__name__)

# Prompts are prefilled together while padding stays small against the prompts, or against reading the weights once.
PREFILL_TOKENS = 4096
CHEAP_TOKENS = 512
PADDING = 1.5
WAITING_PIXELS = 1 << 30  # bytes of images that wait for their prefill; the next one is answered 429
GATHER = 0.002  # seconds an idle engine waits for requests that arrive together, to prefill them together


class LanguageModel(Protocol):
    """What the engine needs of a model: transformers' forward call."""

    device: torch.device

    def __call__(self, **inputs: Any) -> Any: ...


class Engine:
    """Runs one model. `context` is the longest prompt and completion together; `ends` are end-of-sequence ids.

    Without `grammars` no generation can be constrained.
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        context: int,
        ends: frozenset[int],
        max_batch_size: int = 8,
        max_waiting: int = 256,
        seed: int | None = None,
        grammars: Grammars | None = None,
    ) -> None:
        self.model = model
        self.context = context
        self.ends = ends
        self.max_batch_size = max_batch_size
        self.max_waiting = max_waiting
        self._grammars = grammars
        self._seeds = Random(seed)
        self._waiting: deque[Generation] = deque()
        self._running: list[Generation] = []
        self._last: list[int] = []  # the newest token of each running row
        self._rows = Rows()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the step under way; what is still running fails."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()
        if self._grammars is not None:
            self._grammars.close()

    async def submit(self, tokens: Sequence[int], sampling: SamplingParams) -> Generation:
        """Queue a generation.

        Raises BadRequest for too long a prompt or an unusable constraint, RateLimited where the queue is full.
        """
        room = self.room(tokens, least=0 if sampling.max_tokens == 0 else 1)
        seed = self._seeds.getrandbits(64) if sampling.seed is None else sampling.seed
        limit = room if sampling.max_tokens is None else min(room, sampling.max_tokens)
        matcher = await self._matcher(sampling)
        generation = Generation(tokens, sampling, limit, Random(str(seed)), adjustment(sampling, tokens), matcher)
        self._enqueue(generation)
        return generation

    @property
    def running(self) -> int:
        """How many generations are in the batch now."""
        return len(self._running)

    @property
    def capacity(self) -> int:
        """How many generations can be in the batch and in the queue."""
        return self.max_batch_size + self.max_waiting

    def room(self, tokens: Sequence[int], field: str = "messages", least: int = 1) -> int:
        """How many tokens can follow a prompt: at least so many, or BadRequest of the field it came in."""
        if not tokens or len(tokens) > self.context - least:
            raise BadRequest(
                f"The prompt has {len(tokens)} tokens; this model takes 1 to {self.context - least} "
                f"(its context is {self.context} tokens, completion included).",
                param=field,
                code="context_length_exceeded",
            )
        return self.context - len(tokens)

    async def _matcher(self, sampling: SamplingParams) -> Matcher | None:
        if sampling.constraint is None:
            return None
        if self._grammars is None:
            raise UnsupportedParameter(sampling.constraint.field, "This engine")
        return await self._grammars.matcher(sampling.constraint)

    def _enqueue(self, generation: Generation) -> None:
        with self._changed:
            if self._stopping:
                raise Unavailable("The model is being unloaded.", retry_after=1)
            if len(self._waiting) >= self.capacity - len(self._running):
                raise RateLimited(f"{len(self._waiting)} generations are waiting already.", retry_after=5)
            if isinstance(generation.tokens, Seen) and self._pixels_before(generation.tokens) > WAITING_PIXELS:
                raise RateLimited("Too many images are waiting already.", retry_after=5)
            self._waiting.append(generation)
            self._changed.notify()

    def _pixels_before(self, tokens: Seen) -> int:
        """Bytes of the images that wait; several answers to one prompt share theirs."""
        waiting = {id(other.tokens): other.tokens for other in self._waiting if isinstance(other.tokens, Seen)}
        return sum(seen.nbytes for seen in waiting.values() if seen is not tokens)

    # --- below here, the engine's thread ---

    def _run(self) -> None:
        with torch.inference_mode():
            while self._has_work():
                self._step()
        publish(Event(generation, error=Unavailable("The model was unloaded.")) for generation in self._everyone())

    def _everyone(self) -> list[Generation]:
        with self._changed:
            return [*self._running, *self._waiting]

    def _has_work(self) -> bool:
        """Wait for something to do; False when stopping."""
        if self._running:
            return not self._stopping
        with self._changed:
            idle = not self._waiting
            self._changed.wait_for(lambda: self._waiting or self._stopping)
        if idle:
            time.sleep(GATHER)
        return not self._stopping

    def _step(self) -> None:
        if any(generation.cancelled for generation in self._running):
            self._guarded(list(self._running), self._drop_cancelled)
        newcomers = self._admitted()
        if newcomers:
            self._guarded(newcomers, self._prefill)
        if self._running:
            self._guarded(list(self._running), self._decode)

    def _admitted(self) -> list[Generation]:
        """Take from the queue, in order, what fits: rows into the batch, padded prompts into one prefill."""
        taken: list[Generation] = []
        with self._changed:
            while self._waiting and len(self._running) + len(taken) < self.max_batch_size:
                generation = self._waiting[0]
                if taken and not _go_together([*taken, generation]):
                    break
                self._waiting.popleft()
                if not generation.cancelled:
                    taken.append(generation)
        return taken

    def _drop_cancelled(self, generations: list[Generation]) -> None:
        self._retain([row for row, generation in enumerate(generations) if not generation.cancelled])

    def _guarded(self, generations: list[Generation], work: Any) -> None:
        """Whatever goes wrong in a step (out of memory, a defect) ends its generations, never the engine."""
        try:
            work(generations)
        except Exception as error:
            log.exception("A step of %d generations failed.", len(generations))
            others = [generation for generation in self._running if generation not in generations]
            try:
                self._retain([row for row, generation in enumerate(self._running) if generation in others])
            except Exception:  # to leave, others' rows are copied: where there is no memory for that, all end
                generations = [*generations, *others]
                self._retain([])
            failure = StackError(f"The model failed while generating: {type(error).__name__}.", code="engine_error")
            publish(Event(generation, error=failure) for generation in generations)

    def _prefill(self, newcomers: list[Generation]) -> None:
        """Prompts that differ in length are padded on the left; one alone, or all alike, need no mask."""
        width = max(len(generation.tokens) for generation in newcomers)
        starts = [width - len(generation.tokens) for generation in newcomers]
        rows = [[0] * start + list(g.tokens) for g, start in zip(newcomers, starts, strict=True)]
        inputs: dict[str, Any] = {"input_ids": torch.tensor(rows, device=self.model.device)}
        if any(starts):
            columns = torch.arange(width, device=self.model.device)
            offsets = torch.tensor(starts, device=self.model.device)[:, None]
            inputs["attention_mask"] = (columns >= offsets).long()
            inputs["position_ids"] = (columns - offsets).clamp(min=0)
        if isinstance(newcomers[0].tokens, Seen):
            inputs |= newcomers[0].tokens.on(self.model.device)
        cache = DynamicCache()
        if newcomers[0].sampling.prompt_logprobs:
            logits = likelihood.prefill(self.model, inputs, cache, newcomers)
        else:
            logits = self.model(**inputs, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
        chosen = choose(logits, newcomers).tolist()
        self._rows.join(cache, starts)
        self._running += newcomers
        self._last += chosen
        self._advance(newcomers, chosen, logits)

    def _decode(self, generations: list[Generation]) -> None:
        device = self.model.device
        logits = self.model(
            input_ids=torch.tensor(self._last, device=device)[:, None],
            attention_mask=self._rows.mask(device),
            position_ids=self._rows.positions(device),
            past_key_values=self._rows.cache,
            use_cache=True,
        ).logits[:, -1]
        self._last = choose(logits, generations).tolist()
        self._advance(generations, self._last, logits)

    def _advance(self, generations: list[Generation], tokens: list[int], logits: torch.Tensor) -> None:
        """Count and publish a token for each generation; those that have ended leave."""
        events = []
        logprobs = likelihood.of_step(logits, tokens, generations)
        for generation, token, logprob in zip(generations, tokens, logprobs, strict=True):
            if not generation.limit:  # only its prompt was wanted
                events.append(Event(generation, finish_reason="length"))
                continue
            generation.count += 1
            if generation.adjustment:
                generation.adjustment.count(token)
            events.append(self._event(generation, token, logprob))
        ended = {id(event.generation) for event in events if event.finish_reason or event.error}
        self._retain([row for row, generation in enumerate(self._running) if id(generation) not in ended])
        publish(events)

    def _event(self, generation: Generation, token: int, logprob: Logprob | None) -> Event:
        if generation.matcher:
            generation.matcher.take(token)
            if error := generation.matcher.error:
                return Event(generation, error=error)
        return Event(generation, token, logprob, self._finish(generation, token))

    def _finish(self, generation: Generation, token: int) -> Finish | None:
        if token in self.ends or (generation.matcher and generation.matcher.ended):
            return "stop"
        return "length" if generation.count >= generation.limit else None

    def _retain(self, rows: list[int]) -> None:
        if len(rows) == len(self._running):
            return
        self._rows.keep(rows)
        self._running = [self._running[row] for row in rows]
        self._last = [self._last[row] for row in rows]


def _go_together(generations: list[Generation]) -> bool:
    if len({generation.sampling.prompt_logprobs for generation in generations}) > 1:
        return False
    if any(isinstance(generation.tokens, Seen) for generation in generations):
        return False  # each model pads and numbers images in its own way
    lengths = [len(generation.tokens) for generation in generations]
    padded = max(lengths) * len(lengths)
    return padded <= CHEAP_TOKENS or padded <= min(PREFILL_TOKENS, PADDING * sum(lengths))
