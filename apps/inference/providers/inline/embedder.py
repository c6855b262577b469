"""Texts to vectors: one thread, one model, and batches of whatever sentences are waiting, alike in length.

Reads a folder as sentence-transformers writes it (modules.json, 1_Pooling, sentence_bert_config.json); a folder without
modules.json is pooled by the mean, as sentence-transformers does.
"""

import asyncio
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
from transformers import AutoModel, AutoTokenizer

from apps.inference.providers.inline import runtime
from llamastack.errors import StackError, Unavailable
from llamastack.providers import ProviderUnavailable

log = logging.getLogger(__name__)

Vectors = numpy.ndarray[Any, numpy.dtype[numpy.float32]]

BATCH_TOKENS = 16_384  # padded tokens in one forward call, for memory's sake
SMALL_BATCH = 8  # from here on, computing padding costs more than another call
PADDING = 1.1
WAITING = 16_384  # sentences that may queue before callers are sent away

POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "lasttoken",
}


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
    """Loads a folder and embeds. Loading takes seconds: construct it in a thread. Raises ProviderUnavailable."""

    def __init__(self, folder: Path, *, device: str, dtype: str, max_batch: int, window: float) -> None:
        self.max_batch = max_batch
        self.window = window
        place = runtime.device(device)
        source: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            self.pooling, self.normalize = _modules(folder)
            tokenizer = AutoTokenizer.from_pretrained(folder, **source)
            model = AutoModel.from_pretrained(
                folder, use_safetensors=True, dtype=runtime.dtype(dtype, place), attn_implementation="sdpa", **source
            )
        except ProviderUnavailable:
            raise
        except Exception as error:  # a damaged or foreign file can fail in any of three libraries, each in its own way
            raise ProviderUnavailable(f"Cannot load {folder}: {error}") from error
        self.model: Any = model.to(place).eval()
        self.dimension: int = model.config.hidden_size
        self.context = context_length(folder)
        self.vocabulary: int = model.config.vocab_size
        self.matryoshka = _matryoshka(model.config)
        self.prefix = _default_prompt(folder)
        self._tokenizer = _plain_tokenizer(tokenizer)
        self._before, self._after = self._special_tokens()
        self._waiting: deque[Sentence] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._forward([list(range(min(32, self.vocabulary)))] * 2)  # the first call prepares kernels
        self._thread = threading.Thread(target=self._run, name="embedder", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what is still waiting fails."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids with the special tokens the model was trained with. Blocks: call it in a thread."""
        encodings = self._tokenizer.encode_batch([self.prefix + text for text in texts], add_special_tokens=True)
        return [encoding.ids for encoding in encodings]

    def framed(self, tokens: Sequence[int]) -> list[int]:
        """A caller's own token ids between the model's special tokens, unless they are there already."""
        before, after = self._before, self._after
        given = list(tokens)
        if (before or after) and given[: len(before)] == before and given[len(given) - len(after) :] == after:
            return given
        return [*before, *given, *after]

    def cut(self, tokens: Sequence[int], side: str) -> list[int]:
        """As many tokens as the model reads, its special tokens kept. `side` says where tokens go: `start` or `end`."""
        inner = list(tokens)[len(self._before) : len(tokens) - len(self._after)]
        room = self.context - len(self._before) - len(self._after)
        inner = inner[:room] if side == "end" else inner[-room:]
        return [*self._before, *inner, *self._after]

    async def embed(self, inputs: Sequence[Sequence[int]]) -> Vectors:
        """One row an input, in order. Inputs must fit the context."""
        job = Job(inputs, self.dimension)
        with self._changed:
            if self._stopping or len(self._waiting) > WAITING:
                raise Unavailable(f"{len(self._waiting)} sentences are waiting already.", retry_after=2)
            self._waiting.extend(job.sentences)
            self._changed.notify()
        return await job.done

    def _special_tokens(self) -> tuple[list[int], list[int]]:
        """What the tokenizer puts before and after a text."""
        encoding = self._tokenizer.encode("a", add_special_tokens=True)
        special = encoding.special_tokens_mask
        first = special.index(0) if 0 in special else len(special)
        last = len(special) - special[::-1].index(0) if 0 in special else len(special)
        return encoding.ids[:first], encoding.ids[last:]

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
            vectors = self._forward([sentence.tokens for sentence in batch])
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

    @torch.inference_mode()
    def _forward(self, inputs: Sequence[Sequence[int]]) -> Vectors:
        lengths = [len(tokens) for tokens in inputs]
        width = max(lengths)
        ids = torch.tensor([[*tokens, *[0] * (width - len(tokens))] for tokens in inputs], device=self.model.device)
        ends = torch.tensor(lengths, device=ids.device)
        mask = torch.arange(width, device=ids.device) < ends[:, None]
        masked = {} if min(lengths) == width else {"attention_mask": mask.long()}
        states = self.model(input_ids=ids, **masked).last_hidden_state.float()
        vectors = pool(states, mask, ends, self.pooling)
        if self.normalize:
            vectors = torch.nn.functional.normalize(vectors, dim=-1)
        found: Vectors = vectors.cpu().numpy()
        return found


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


def pool(states: torch.Tensor, mask: torch.Tensor, ends: torch.Tensor, mode: str) -> torch.Tensor:
    """One vector a row from [rows, tokens, size]."""
    if mode == "cls":
        return states[:, 0]
    if mode == "lasttoken":
        return states[torch.arange(len(ends), device=states.device), ends - 1]
    weights = mask[:, :, None]
    if mode == "max":
        return states.masked_fill(~weights, float("-inf")).amax(dim=1)
    return (states * weights).sum(dim=1) / ends[:, None]


# --- what a folder says of itself ---


def context_length(folder: Path) -> int:
    """The most tokens a text may have, special ones included."""
    sentence = _read(folder / "sentence_bert_config.json").get("max_seq_length")
    positions = _read(folder / "config.json").get("max_position_embeddings")
    return int(min(length for length in (sentence, positions, 1 << 20) if length))


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def _modules(folder: Path) -> tuple[str, bool]:
    """The pooling mode, and whether vectors are normalised."""
    listing = folder / "modules.json"
    if not listing.is_file():
        return "mean", False
    modules = {module["type"].rpartition(".")[2]: module["path"] for module in json.loads(listing.read_text())}
    if strange := modules.keys() - {"Transformer", "Pooling", "Normalize"}:
        raise ProviderUnavailable(f"{folder} has modules that are not read here: {', '.join(sorted(strange))}.")
    return _pooling(folder, _read(folder / modules["Pooling"] / "config.json")), "Normalize" in modules


def _pooling(folder: Path, config: dict[str, Any]) -> str:
    """sentence-transformers 6 writes one key, older versions a flag a mode."""
    flags = [name for name, value in config.items() if name.startswith("pooling_mode_") and value]
    mode = config.get("pooling_mode") or (POOLING.get(flags[0], flags[0]) if len(flags) == 1 else flags or "mean")
    if mode not in POOLING.values() or config.get("include_prompt") is False:
        raise ProviderUnavailable(f"{folder} pools in a way that is not computed here: {mode}.")
    return str(mode)


def _matryoshka(config: Any) -> Callable[[int], bool]:
    """Which shorter vectors the model was trained for, by the keys vLLM reads: a list, or a mark that all are."""
    settings = config.to_dict()
    if settings.get("matryoshka_dimensions"):
        return frozenset(settings["matryoshka_dimensions"]).__contains__
    return lambda dimensions: bool(settings.get("is_matryoshka"))


def _default_prompt(folder: Path) -> str:
    settings = _read(folder / "config_sentence_transformers.json")
    name = settings.get("default_prompt_name")
    return str(settings["prompts"][name]) if name else ""


def _plain_tokenizer(tokenizer: Any) -> Any:
    """The fast tokenizer, without the truncation and padding that its file may carry."""
    if not tokenizer.is_fast:
        raise ProviderUnavailable(f"{tokenizer.name_or_path} has no tokenizer.json.")
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return backend
