"""Answers that must have a form: llguidance says before each token which ones may follow.

A constraint is tried in a process of its own (grammar.py), compiled in a thread, and copied for each generation.
Copies share the states that their lexer has found: what one finds, the next need not; and what fills them, fills them
for all.
"""

import asyncio
import json
import re
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

from apps.inference.providers.inline.meta_reference import grammar
from llamastack.errors import BadRequest, RateLimited, StackError, Unavailable
from llamastack.sampling import Constraint

COMPILERS = 2  # threads
MAX_COMPILING = 64
KEPT = 8  # compiled constraints: most take a few MiB, the worst that pass their trial 200
COPIES = 100  # generations that share one compilation, so that states do not add up for ever
PATIENCE = 15  # seconds for a trial, which may have 2 of the processor
SHOWN = 300  # characters of what llguidance says
OURS = re.compile(r"^at \d+\(\d+\): |\n *\d+ \| .*", re.DOTALL)  # the place in a grammar, and the lines around it


@dataclass
class Compiled:
    """A constraint at its beginning, never advanced itself; `spoilt` once a copy has failed."""

    matcher: LLMatcher
    copies: int = 0
    spoilt: bool = False


class Matcher:
    """Follows one generation: what may come next, and whether anything can."""

    def __init__(self, compiled: Compiled, vocabulary: int, field: str) -> None:
        self.following = compiled.matcher.deep_copy()
        self.vocabulary = vocabulary
        self._compiled = compiled
        self._field = field

    def take(self, token: int) -> None:
        """A token was chosen."""
        self.following.consume_token(token)

    @property
    def error(self) -> StackError | None:
        """Why this generation cannot go on."""
        if not self.following.is_error():
            return None
        self._compiled.spoilt = True
        return refusal(self._field, self.following.get_error())

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
        self._compiled: OrderedDict[Constraint, Compiled] = OrderedDict()
        self._lock = threading.Lock()
        self._room = threading.BoundedSemaphore(MAX_COMPILING)
        self._threads = ThreadPoolExecutor(COMPILERS, "grammar")

    async def matcher(self, constraint: Constraint) -> Matcher:
        """A matcher at its beginning. Raises BadRequest for a constraint that cannot be used."""
        if (known := self._known(constraint)) is None:
            known = await self._compile(constraint)
        return await asyncio.to_thread(Matcher, known, self._vocabulary, constraint.field)

    def close(self) -> None:
        self._threads.shutdown(wait=False)

    def _known(self, constraint: Constraint) -> Compiled | None:
        with self._lock:
            known = self._compiled.get(constraint)
            if known is None or known.spoilt or known.copies >= COPIES:
                return None
            known.copies += 1
            self._compiled.move_to_end(constraint)
            return known

    async def _compile(self, constraint: Constraint) -> Compiled:
        if not self._room.acquire(blocking=False):
            raise RateLimited(f"{MAX_COMPILING} constraints are being compiled already.", retry_after=5)
        try:
            return await asyncio.wrap_future(self._threads.submit(self._made, constraint))
        except RuntimeError as error:  # the threads have ended
            raise Unavailable("The model is being unloaded.", retry_after=1) from error
        finally:
            self._room.release()

    def _made(self, constraint: Constraint) -> Compiled:
        if known := self._known(constraint):
            return known
        if flaw := _tried(constraint):
            raise refusal(constraint.field, flaw)
        made = Compiled(grammar.matcher(self._tokenizer, constraint.type, constraint.text), copies=1)
        if flaw := grammar.flaw(made.matcher):
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
    """llguidance's own words, as far as they help: without its traces, and without what we wrote around a field."""
    said = flaw.partition("\n<")[0]
    said = " ".join((said if field.endswith("grammar") else OURS.sub("", said)).split())
    said = said if len(said) <= SHOWN else said[:SHOWN] + " …"
    return BadRequest(f"'{field}' cannot be followed: {said.rstrip('.')}.", param=field)


def restrict(logits: torch.Tensor, matchers: Sequence[Matcher | None]) -> None:
    """Set to -inf what may not follow, in place, in the rows that have a matcher.

    A matcher that fails here is in error afterwards, and what its row chooses does not matter.
    """
    held = [(row, matcher) for row, matcher in enumerate(matchers) if matcher is not None]
    if not held:
        return
    masks = allocate_token_bitmask(len(matchers), held[0][1].vocabulary)  # all bits set: everything may follow
    for row, matcher in held:
        fill_next_token_bitmask(matcher.following, masks, row)
    bits = np.unpackbits((~masks).view(np.uint8), axis=-1, bitorder="little")
    forbidden = torch.from_numpy(bits[:, : logits.shape[-1]]).view(torch.bool)
    logits.masked_fill_(forbidden.to(logits.device), float("-inf"))
