"""Logprobs as clients read them: which text they belong to, and how tokens are written."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from json import loads
from typing import TYPE_CHECKING, Any

from apps.inference.providers.inline.meta_reference.text import Detokenizer

if TYPE_CHECKING:
    from apps.inference.providers.inline.meta_reference.generation import Logprob

Wire = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token of an answer, the place of its first character in the answer's text, and how likely it was."""

    token: int
    start: int
    logprob: "Logprob | None"


class Waiting:
    """Tokens of an answer until their text is shown: each comes with its first character, or never.

    So a token whose text is held back (half a character, perhaps a stop string) waits, and one after a stop string or
    the end of the sequence is left out.
    """

    def __init__(self, begun: int) -> None:
        """`begun` characters stand before the first token's text."""
        self._decoded = self._shown = begun
        self._tokens: deque[TokenLogprob] = deque()

    def feed(self, token: int, logprob: "Logprob", decoded: str, shown: str) -> tuple[TokenLogprob, ...]:
        """A token with the text it made certain, and what was shown thereupon; the tokens that belong to that."""
        self._tokens.append(TokenLogprob(token, self._decoded, logprob))
        self._decoded += len(decoded)
        return self.show(shown)

    def show(self, text: str) -> tuple[TokenLogprob, ...]:
        self._shown += len(text)
        found = []
        while self._tokens and self._tokens[0].start < self._shown:
            found.append(self._tokens.popleft())
        return tuple(found)

    def rest(self) -> tuple[TokenLogprob, ...]:
        """What is left of an answer that was cut short: perhaps half a character."""
        found = tuple(self._tokens)
        self._tokens.clear()
        return found


def of_prompt(tokenizer: Any, tokens: Sequence[int], logprobs: "Sequence[Logprob]") -> tuple[TokenLogprob, ...]:
    """A prompt's tokens; of the first one, which nothing stands before, no logprob is known."""
    detokenizer, start, found = Detokenizer(tokenizer), 0, []
    for token, logprob in zip(tokens, [None, *logprobs], strict=True):
        found.append(TokenLogprob(token, start, logprob))
        start += len(detokenizer.feed(token))
    return tuple(found)


class Wording:
    """Writes tokens as text and bytes, each for itself, and logprobs as OpenAI does."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._added = {token: text for text, token in tokenizer.get_added_vocab().items()}
        self._byte_level = _is_byte_level(tokenizer)
        self.bytes = cache(self._bytes)  # the likeliest tokens are often the same

    def _bytes(self, token: int) -> bytes:
        """What the token stands for, which may be a part of a character; special tokens are their names."""
        if token in self._added:
            return str(self._added[token]).encode()
        piece: str = self._tokenizer.convert_ids_to_tokens(token) or ""
        if self._byte_level:
            return bytes(_byte_of_character()[character] for character in piece)
        if len(piece) == 6 and piece.startswith("<0x"):  # SentencePiece's way to write a byte
            return bytes.fromhex(piece[3:5])
        return piece.replace("\N{LOWER ONE EIGHTH BLOCK}", " ").encode()

    def text(self, token: int) -> str:
        """The token's characters; bytes that are no whole character as OpenAI writes them: `\\xe6\\x97`."""
        return _written(self.bytes(token))

    def chat(self, tokens: Sequence[TokenLogprob]) -> Wire:
        return {"content": [self._chat(one.token, one.logprob) for one in tokens if one.logprob], "refusal": None}

    def completion(self, tokens: Sequence[TokenLogprob]) -> Wire:
        """`text_offset` counts characters of the choice's text, as vLLM does."""
        return {
            "tokens": [self.text(one.token) for one in tokens],
            "token_logprobs": [one.logprob and one.logprob.value for one in tokens],
            "top_logprobs": [self._top(one.token, one.logprob) for one in tokens],
            "text_offset": [one.start for one in tokens],
        }

    def _chat(self, token: int, logprob: "Logprob") -> Wire:
        likeliest = [self._entry(other, value) for other, value in logprob.top]
        return self._entry(token, logprob.value) | {"top_logprobs": likeliest}

    def _entry(self, token: int, value: float) -> Wire:
        data = self.bytes(token)
        return {"token": _written(data), "logprob": value, "bytes": list(data)}

    def _top(self, token: int, logprob: "Logprob | None") -> dict[str, float] | None:
        """The likeliest tokens and, where it is not one of them, the token itself."""
        if logprob is None:
            return None
        found: dict[str, float] = {}
        for other, value in [*logprob.top, (token, logprob.value)]:
            found.setdefault(self.text(other), value)
        return found


def _written(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "".join(f"\\x{byte:02x}" for byte in data)


def _is_byte_level(tokenizer: Any) -> bool:
    """Whether its tokens are written in GPT-2's alphabet, in which a character stands for a byte."""
    decoder = tokenizer.backend_tokenizer.decoder
    state = loads(decoder.__getstate__()) if decoder else {}
    return any(part.get("type") == "ByteLevel" for part in [state, *state.get("decoders", [])])


@cache
def _byte_of_character() -> dict[str, int]:
    """GPT-2's alphabet: a byte that is a visible character of Latin-1 is that; the others follow from U+0100 on.

    Source: https://github.com/openai/gpt-2/blob/master/src/encoder.py (bytes_to_unicode).
    """
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(0x100 + place): byte for place, byte in enumerate(others)}
