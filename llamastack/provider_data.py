"""What a request brings for providers, such as its caller's own vendor keys: the header X-LlamaStack-Provider-Data."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import AfterValidator, SecretStr, TypeAdapter, ValidationError

from llamastack.bodies import depth
from llamastack.errors import BadRequest

HEADER = "X-LlamaStack-Provider-Data"
HEADERS = {HEADER.lower().encode(), b"x-ogx-provider-data"}
MAX_BYTES = 8 * 1024
MAX_DEPTH = 8
# Keys that begin so are a server's own, in Llama Stack; this one names a test, and means nothing outside a replay.
PRIVATE, TEST_ID = "__", "__test_id"
SHOWN = 100


def _sendable(key: SecretStr) -> SecretStr:
    """Whatever a header may not hold could end it, and begin another."""
    if not re.fullmatch(r"[\x20-\x7e]*", key.get_secret_value()):
        raise ValueError("holds a character that no header may hold")
    return key


ApiKey = Annotated[SecretStr, AfterValidator(_sendable)]


class ProviderData(Mapping[str, Any]):
    """The values by key as they came, kept from representations and logs. A provider reads those that it knows."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self._values = values or {}

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"ProviderData({len(self)} keys)"

    def read(self, name: str, kind: Any) -> Any:
        """A key's value as `kind`, or None where it is absent, null or empty. Raises BadRequest, naming the key."""
        value = self._values.get(name)
        if value is None or value == "":
            return None
        try:
            return _reader(kind).validate_python(value, strict=True)
        except ValidationError as error:
            message = error.errors(include_input=False, include_url=False, include_context=False)[0]["msg"]
            raise _refused(f"'{name}': {message.removeprefix('Value error, ')}", name) from None


def from_headers(headers: Iterable[tuple[bytes, bytes]]) -> ProviderData:
    """Of a request's headers, as ASGI has them. Raises BadRequest; what is refused is not repeated.

    Once under each name and the same is one: who does not know whether a server is of Llama Stack or of OGX sends both.
    """
    found = [(name, value) for name, value in headers if name in HEADERS]
    if not found:
        return ProviderData()
    text = found[0][1]
    if len(found) > len(dict(found)) or any(value != text for _, value in found):
        raise _refused("the header stands here twice, and says different things or has one name: send it once")
    if len(text) > MAX_BYTES:
        raise _refused(f"it is larger than {MAX_BYTES} bytes")
    values = _parsed(text)
    if not isinstance(values, dict):
        raise _refused('it must be a JSON object, such as {"openai_api_key": "…"}')
    if private := next((name for name in values if name.startswith(PRIVATE) and name != TEST_ID), None):
        raise _refused(f"'{private[:SHOWN]}': no key may begin with {PRIVATE}", private[:SHOWN])
    return ProviderData(values)


@cache
def _reader(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _parsed(text: bytes) -> Any:
    try:
        values = json.loads(text, object_pairs_hook=_once_each, parse_constant=_no_number)
    except (ValueError, RecursionError):  # the error's own words would repeat what was sent
        raise _refused("it is not valid JSON") from None
    if depth(values) > MAX_DEPTH:
        raise _refused(f"it is nested more than {MAX_DEPTH} deep")
    return values


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _refused(f"'{name[:SHOWN]}' stands here twice", name[:SHOWN])
        found[name] = value
    return found


def _no_number(name: str) -> Any:
    raise ValueError(name)


def _refused(what: str, key: str | None = None) -> BadRequest:
    return BadRequest(f"Provider data ({HEADER}): {what}.", param=key, code="invalid_provider_data")
