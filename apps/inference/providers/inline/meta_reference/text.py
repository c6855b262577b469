"""Tokens to text as they come: whole characters only, and nothing that might be the beginning of a stop string."""

from collections.abc import Sequence
from typing import Any

UNFINISHED = "\N{REPLACEMENT CHARACTER}"  # how a tokenizer shows bytes that are no whole character yet
BEFORE = 8  # how many tokens of a prompt are looked at; a character has at most four
PATIENCE = 8  # how many tokens may pass without a whole character: more are no half of one, and the window would grow


class Detokenizer:
    """Decodes a window that begins before the unseen tokens, since what a token says depends on the one before it."""

    def __init__(self, tokenizer: Any, before: Sequence[int] = (), marks: frozenset[int] = frozenset()) -> None:
        """`before` are tokens whose text goes on here; it is not shown again. Of special tokens, `marks` are shown."""
        self._tokenizer = tokenizer
        self._hidden = special_tokens(tokenizer) - marks if marks else None
        self._tokens = list(before[-BEFORE:])
        self._start = 0
        self._shown = len(self._tokens)
        if self._decode(self._tokens).endswith(UNFINISHED):
            self._tokens, self._shown = [], 0

    def feed(self, token: int) -> str:
        """The text that is certain now; empty where a character is not whole yet."""
        self._tokens.append(token)
        seen, text = self._window()
        if text.endswith(UNFINISHED) and len(self._tokens) - self._shown < PATIENCE:
            return ""
        self._start, self._shown = self._shown, len(self._tokens)
        return text[len(seen) :]

    def flush(self) -> str:
        """What is left at the end, without the half of a character."""
        seen, text = self._window()
        return text[len(seen) :].rstrip(UNFINISHED)

    def _window(self) -> tuple[str, str]:
        return self._decode(self._tokens[self._start : self._shown]), self._decode(self._tokens[self._start :])

    def _decode(self, tokens: list[int]) -> str:
        skip = self._hidden is None
        shown = tokens if self._hidden is None else [token for token in tokens if token not in self._hidden]
        text: str = self._tokenizer.decode(shown, skip_special_tokens=skip, clean_up_tokenization_spaces=False)
        return text


def special_tokens(tokenizer: Any) -> frozenset[int]:
    return frozenset(token for token, entry in tokenizer.added_tokens_decoder.items() if entry.special)


class StopFilter:
    """Passes text on until a stop string appears; neither it nor what follows is passed."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self.found = False

    def feed(self, text: str) -> str:
        if not self._stops:
            return text
        self._held += text
        places = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if places:
            self.found = True
            return self._take(min(places))
        return self._take(len(self._held) - self._beginning())

    def flush(self) -> str:
        """What was held back and turned out to be no stop string."""
        return "" if self.found else self._take(len(self._held))

    def _take(self, size: int) -> str:
        taken, self._held = self._held[:size], self._held[size:]
        return taken

    def _beginning(self) -> int:
        """The length of the longest end of the held text that begins a stop string."""
        longest = min(len(self._held), max(len(stop) for stop in self._stops) - 1)
        for size in range(longest, 0, -1):
            if any(stop.startswith(self._held[-size:]) for stop in self._stops):
                return size
        return 0
