"""Texts to vectors: one thread, one model, and batches of whatever sentences are waiting, alike in length."""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence

import numpy

from apps.inference.providers.inline.sentence_transformers.encoder import Encoder, Vectors
from llamastack.errors import RateLimited, StackError, Unavailable

log = logging.getLogger(__name__)

BATCH_TOKENS = 16_384  # padded tokens in one forward call, for memory's sake
SMALL_BATCH = 8  # from here on, computing padding costs more than another call
PADDING = 1.1
WAITING = 16_384  # sentences that may queue before callers are sent away


class Sentence:
    """One input on its way: its tokens, where its vector goes, and for whom."""

    __slots__ = ("job", "place", "tokens")

    def __init__(self, tokens: Sequence[int], job: "Job", place: int) -> None:
        self.tokens = tokens
        self.job = job
        self.place = place


class Job:
    """The inputs of one request."""

    def __init__(self, inputs: Sequence[Sequence[int]], dimension: int) -> None:
        self.vectors: Vectors = numpy.empty((len(inputs), dimension), dtype=numpy.float32)
        self.missing = len(inputs)
        self.loop = asyncio.get_running_loop()
        self.done: asyncio.Future[Vectors] = self.loop.create_future()
        self.sentences = [Sentence(tokens, self, place) for place, tokens in enumerate(inputs)]

    def finish(self, failure: StackError | None = None) -> None:
        """Called by the worker; harmless to repeat, and where the caller or its loop has gone."""
        try:
            self.loop.call_soon_threadsafe(self._settle, failure)
        except RuntimeError:  # the loop is closed
            log.debug("A caller went away with its loop.")

    def _settle(self, failure: StackError | None) -> None:
        if self.done.done():
            return
        if failure is None:
            self.done.set_result(self.vectors)
        else:
            self.done.set_exception(failure)


class Embedder:
    """Runs one encoder. `window` is how many seconds an idle embedder waits for requests that come together."""

    def __init__(self, encoder: Encoder, *, max_batch: int = 64, window: float = 0.002) -> None:
        self.encoder = encoder
        self.max_batch = max_batch
        self.window = window
        self._waiting: deque[Sentence] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="embedder", daemon=True)

    def start(self) -> None:
        """Warm up, then serve."""
        self.encoder.vectors([range(min(32, self.encoder.vocabulary))] * 2)  # the first call prepares kernels
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what is still waiting fails."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    async def embed(self, inputs: Sequence[Sequence[int]]) -> Vectors:
        """One row an input, in order. Inputs must fit the context."""
        job = Job(inputs, self.encoder.dimension)
        with self._changed:
            if self._stopping:
                raise Unavailable("The model is being unloaded.", retry_after=1)
            if len(self._waiting) > WAITING:
                raise RateLimited(f"{len(self._waiting)} sentences are waiting already.", retry_after=5)
            self._waiting.extend(job.sentences)
            self._changed.notify()
        return await job.done

    # --- below here, the embedder's thread ---

    def _run(self) -> None:
        while self._has_work():
            for batch in self._batches():
                self._answer(batch)
        for sentence in self._waiting:
            sentence.job.finish(Unavailable("The model was unloaded."))

    def _has_work(self) -> bool:
        """Wait for sentences, and when idle a moment longer for those that come together; False when stopping."""
        with self._changed:
            idle = not self._waiting
            self._changed.wait_for(lambda: self._waiting or self._stopping)
        if idle:
            time.sleep(self.window)
        return not self._stopping

    def _batches(self) -> list[list[Sentence]]:
        """The oldest sentences, grouped so that little is padded; long requests leave room for newcomers."""
        with self._changed:
            count = min(len(self._waiting), 2 * self.max_batch)
            taken = [self._waiting.popleft() for _ in range(count)]
        return grouped([sentence for sentence in taken if not sentence.job.done.done()], self.max_batch)

    def _answer(self, batch: list[Sentence]) -> None:
        """Whatever goes wrong (out of memory, a defect) fails the requests in this batch, never the thread."""
        try:
            vectors = self.encoder.vectors([sentence.tokens for sentence in batch])
        except Exception as error:
            log.exception("Embedding %d sentences failed.", len(batch))
            failure = StackError(f"The model failed while embedding: {type(error).__name__}.", code="engine_error")
            for sentence in batch:
                sentence.job.finish(failure)
            return
        for sentence, vector in zip(batch, vectors, strict=True):
            sentence.job.vectors[sentence.place] = vector
            sentence.job.missing -= 1
            if not sentence.job.missing:
                sentence.job.finish()


def grouped(sentences: Sequence[Sentence], most: int) -> list[list[Sentence]]:
    """Batches of sentences alike in length: a longer one starts a new batch where it would pad the others much."""
    batches: list[list[Sentence]] = []
    used = 0
    for sentence in sorted(sentences, key=lambda sentence: len(sentence.tokens)):
        size = len(sentence.tokens)
        batch = batches[-1] if batches else []
        padded = size * (len(batch) + 1)
        wasteful = len(batch) >= SMALL_BATCH and padded > PADDING * (used + size)
        if not batch or len(batch) >= most or padded > BATCH_TOKENS or wasteful:
            batches.append([])
            used = 0
        batches[-1].append(sentence)
        used += size
    return batches
