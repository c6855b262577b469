"""Answers that must have a form: llguidance says before each token which ones may follow.

A constraint is tried in a process of its own (grammar.py), compiled in a thread, and copied for each generation.
"""

import asyncio
import json
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

from apps.inference.providers.inline.meta_reference import grammar
from llamastack.errors import BadRequest, RateLimited, StackError
from llamastack.sampling import Constraint

COMPILERS = 2  # threads
MAX_COMPILING = 64
KEPT = 8  # compiled constraints: most take a few MiB, the worst that pass their trial 200
PATIENCE = 15  # seconds for a trial, which may have 2 of the processor
SHOWN = 300  # characters of what llguidance says


class Matcher:
    """Follows one generation: what may come next, and whether anything can."""

    def __init__(self, matcher: LLMatcher, vocabulary: int, field: str) -> None:
        self.following = matcher
        self.vocabulary = vocabulary
        self._field = field

    def take(self, token: int) -> None:
        """A token was chosen."""
        self.following.consume_token(token)

    @property
    def error(self) -> StackError | None:
        """Why this generation cannot go on."""
        return refusal(self._field, self.following.get_error()) if self.following.is_error() else None

    @property
    def ended(self) -> bool:
        """Whether nothing but the end may follow."""
        return self.following.is_stopped()


class Grammars:
    """Constraints for one tokenizer. `width` is how many logits there are, at times more than tokens."""

    def __init__(self, tokenizer: Any, width: int, ends: frozenset[int]) -> None:
        self._source = tokenizer
        self._vocabulary = max(width, len(tokenizer))
        self._ends = ends
        self._made_tokenizer: LLTokenizer | None = None
        self._making = threading.Lock()
        self._compiled: OrderedDict[Constraint, LLMatcher] = OrderedDict()
        self._lock = threading.Lock()
        self._room = threading.BoundedSemaphore(MAX_COMPILING)
        self._threads = ThreadPoolExecutor(COMPILERS, "grammar")

    async def matcher(self, constraint: Constraint) -> Matcher:
        """A matcher at its beginning. Raises BadRequest for a constraint that cannot be used."""
        if (known := self._known(constraint)) is None:
            known = await self._compile(constraint)
        return Matcher(await asyncio.to_thread(known.deep_copy), self._vocabulary, constraint.field)

    def close(self) -> None:
        self._threads.shutdown(wait=False)

    def _known(self, constraint: Constraint) -> LLMatcher | None:
        with self._lock:
            if constraint in self._compiled:
                self._compiled.move_to_end(constraint)
            return self._compiled.get(constraint)

    async def _compile(self, constraint: Constraint) -> LLMatcher:
        if not self._room.acquire(blocking=False):
            raise RateLimited(f"{MAX_COMPILING} constraints are being compiled already.", retry_after=5)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._made, constraint)
        finally:
            self._room.release()

    def _made(self, constraint: Constraint) -> LLMatcher:
        if known := self._known(constraint):
            return known
        if flaw := _tried(constraint):
            raise refusal(constraint.field, flaw)
        made = grammar.matcher(self._tokenizer, constraint.type, constraint.text)
        if flaw := grammar.flaw(made):
            raise refusal(constraint.field, flaw)
        with self._lock:
            self._compiled[constraint] = made
            while len(self._compiled) > KEPT:
                self._compiled.popitem(last=False)
        return made

    @property
    def _tokenizer(self) -> LLTokenizer:
        """Takes up to a second, so it is made for the first constraint."""
        with self._making:
            if self._made_tokenizer is None:
                ends = sorted(self._ends)
                self._made_tokenizer = from_tokenizer(self._source, n_vocab=self._vocabulary, eos_token=ends)
            return self._made_tokenizer


def _tried(constraint: Constraint) -> str:
    """What a process of its own finds wrong with a constraint."""
    command = [sys.executable, "-P", grammar.__file__]
    given = json.dumps([constraint.type, constraint.text])
    try:
        trial = subprocess.run(command, check=False, input=given, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return "it takes too long to compile"
    if trial.returncode:
        return "it takes too much time, memory or nesting to compile; make it simpler"
    return str(json.loads(trial.stdout))


def refusal(field: str, flaw: str) -> BadRequest:
    """llguidance's own words, as far as they help: without its traces."""
    said = " ".join(flaw.partition("\n<")[0].split())
    said = said if len(said) <= SHOWN else said[:SHOWN] + " …"
    return BadRequest(f"'{field}' cannot be followed: {said.rstrip('.')}.", param=field)


def restrict(logits: torch.Tensor, matchers: Sequence[Matcher | None]) -> None:
    """Set to -inf what may not follow, in place, in the rows that have a matcher.

    A matcher that fails here is in error afterwards, and what its row chooses does not matter.
    """
    held = [(row, matcher) for row, matcher in enumerate(matchers) if matcher is not None]
    if not held:
        return
    masks = allocate_token_bitmask(len(held), held[0][1].vocabulary)
    for place, (_, matcher) in enumerate(held):
        fill_next_token_bitmask(matcher.following, masks, place)
    bits = np.unpackbits((~masks).view(np.uint8), axis=-1, bitorder="little")
    forbidden = torch.from_numpy(bits[:, : logits.shape[-1]]).view(torch.bool).to(logits.device)
    for place, (row, _) in enumerate(held):
        logits[row].masked_fill_(forbidden[place], float("-inf"))
