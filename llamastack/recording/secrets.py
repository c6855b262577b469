"""Keys and passwords, kept out of what is written to files."""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

from pydantic import BaseModel, SecretStr

MASK = "***"
FORM = "application/x-www-form-urlencoded"
# Shorter ones, such as the `fake` of servers that check none, are words of ordinary answers too.
SHORTEST = 8
PROVIDER_DATA = re.compile(r"provider-data$", re.IGNORECASE)
# All other headers may be secret: a provider names those that carry a caller's values as it likes.
HARMLESS = frozenset(
    {"accept", "accept-encoding", "connection", "content-length", "content-type", "host", "user-agent"}
)
# Whole names: a `page_token` tells two requests apart.
OF_QUERIES = re.compile(
    r"(x[-_]amz[-_]|x[-_])?((api|access|auth|subscription|security)[-_]?)?"
    r"(key|token|sig|signature|secret|password|credential)",
    re.IGNORECASE,
)
# Not `token`, which logprobs have too.
OF_BODIES = re.compile(
    r"(proxy[-_]?)?authorization|(x[-_])?(api|access|private|secret)[-_]?key|(access|refresh|auth|api)[-_]?token"
    r"|id_token|subject_token|(client_)?assertion|client[-_]?secret|password|secret",
    re.IGNORECASE,
)


class Secrets:
    """Texts that are masked wherever they stand, however they are escaped."""

    def __init__(self, texts: Iterable[str]) -> None:
        long = {text for text in texts if len(text) >= SHORTEST}
        forms = {form for text in long for form in (text, quote(text, safe=""), json.dumps(text)[1:-1])}
        self.forms = sorted(forms, key=len, reverse=True)

    def masked(self, value: Any) -> Any:
        """JSON without them, nor what stands under a name that only a secret has."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.masked(item) for item in value]
        if isinstance(value, dict):
            return {self.text(name): self._under(name, inner) for name, inner in value.items()}
        return value

    def text(self, text: str) -> str:
        for form in self.forms:
            text = text.replace(form, MASK)
        return text

    def within(self, text: str) -> bool:
        return any(form in text for form in self.forms)

    def _under(self, name: str, value: Any) -> Any:
        return MASK if isinstance(value, str) and value and OF_BODIES.fullmatch(name) else self.masked(value)


def of_request(url: str, headers: Mapping[str, str]) -> Iterator[str]:
    """The secrets that a request carries in its address and its headers."""
    with suppress(ValueError):  # an address that leads nowhere, which is told by who tries it
        parts = urlsplit(url)
        if parts.password:
            yield from (parts.password, unquote(parts.password))
        yield from (value for name, value in parse_qsl(parts.query) if OF_QUERIES.fullmatch(name))
    for name, value in headers.items():
        if PROVIDER_DATA.search(name):
            yield from _provider_data(value)
        elif name.lower() not in HARMLESS:
            yield value
            yield value.rpartition(" ")[2]
            yield from _credentials(value)


def of_form(headers: Mapping[str, str], body: bytes | None) -> Iterator[str]:
    """The secrets in a form, such as what a token server is sent."""
    kind = next((value for name, value in headers.items() if name.lower() == "content-type"), "")
    if body is not None and kind.startswith(FORM):
        for name, value in parse_qsl(body.decode(errors="replace")):
            if OF_BODIES.fullmatch(name):
                yield from (value, quote_plus(value))


def _provider_data(header: str) -> Iterator[str]:
    """A caller's keys, which another stack is sent as they came."""
    yield header
    with suppress(ValueError):
        yield from (text for _, text in texts(json.loads(header)))


def texts(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Each text of some JSON, with where it stands."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from texts(inner, f"{place}.{name}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from texts(inner, f"{place}[{number}]")


def _credentials(header: str) -> Iterator[str]:
    """What Basic authentication wraps."""
    scheme, _, wrapped = header.partition(" ")
    if scheme.lower() == "basic":
        try:
            said = base64.b64decode(wrapped, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return
        yield said
        yield said.partition(":")[2]


def of_config(value: Any) -> Iterator[str]:
    """The secret fields of a provider's config, however deep."""
    if isinstance(value, SecretStr):
        yield value.get_secret_value().strip()
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from of_config(getattr(value, name))
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from of_config(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from of_config(inner)
