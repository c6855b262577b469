"""Which values of a provider's config are secrets, wherever they stand in it, and how they are kept and shown.

Their type tells: SecretStr, at any depth of the config class. Where no class says it, the name does. An address with a
password in it is kept like a secret and shown without the password.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr

from llamastack.config.source import Place
from llamastack.encryption import PREFIX, UndecryptableSecret, decrypt, encrypt, without_password
from llamastack.errors import BadRequest
from llamastack.providers import ProviderConfig

MASK = "********"
LONGEST_PLACE = 200  # characters, of what is repeated in an error
SECRET_NAME = re.compile(r"(api_?key|token|password|secret|credential)s?$", re.IGNORECASE)
ADDRESS_NAME = re.compile(r"(url|uri|host|endpoint|endpoint_name|api_base)$", re.IGNORECASE)
PROXIES = ("url", "http", "https")


@dataclass(frozen=True)
class Leaf:
    """A single value of a config. `kinds` are the types that its class allows; none where no class describes it."""

    place: Place
    value: Any
    kinds: tuple[Any, ...]

    @property
    def secret(self) -> bool:
        if self.kinds:
            return any(_holds_secret(kind) for kind in self.kinds)
        names = [part for part in self.place if isinstance(part, str)]
        return bool(names and SECRET_NAME.search(names[-1]))

    @property
    def kept_secret(self) -> bool:
        text = self.value if isinstance(self.value, str) else ""
        return self.secret or text.startswith(PREFIX) or without_password(text) != text

    @property
    def text(self) -> bool:
        """Whether it is text and no number or switch."""
        return bool(self.kinds) and set(self.kinds) <= {str, SecretStr}

    @property
    def file(self) -> bool:
        """Whether it names a file of the server."""
        paths = (kind for kind in self.kinds if isinstance(kind, type) and issubclass(kind, PurePath))
        return isinstance(self.value, str) and any(paths)

    @property
    def shown(self) -> Any:
        if self.value and self.secret:
            return MASK
        if not isinstance(self.value, str):
            return self.value
        return MASK if self.value.startswith(PREFIX) else without_password(self.value)


def leaves(kind: type[ProviderConfig] | None, values: Any) -> Iterator[Leaf]:
    """Every value of a config, each with what its class says of it."""
    return _leaves(values, (kind,) if kind else (), ())


def _leaves(value: Any, kinds: tuple[Any, ...], place: Place) -> Iterator[Leaf]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, _below(kinds, key), (*place, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, _below(kinds, index), (*place, index))
    else:
        yield Leaf(place, value, kinds)


def _below(kinds: tuple[Any, ...], key: str | int) -> tuple[Any, ...]:
    """The types of what stands under a key. All that is below a secret is one, also where no such thing may stand."""
    found: list[Any] = []
    for kind in kinds:
        if kind is SecretStr or (is_model(kind) and isinstance(key, int)):
            found.append(kind)
        elif is_model(kind):
            names = kind.other_names if issubclass(kind, ProviderConfig) else {}
            info = kind.model_fields.get(names.get(key, key))
            found += members(info.annotation) if info else ()
        elif arguments := get_args(kind):
            found += members(arguments[-1])
    return tuple(found)


def members(annotation: Any) -> tuple[Any, ...]:
    """The types that an annotation allows, but for None, and for Any, which says nothing."""
    if get_origin(annotation) is Annotated:
        return members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return tuple(member for part in get_args(annotation) for member in members(part))
    return () if annotation in (NoneType, Any) else (annotation,)


def is_model(kind: Any, base: type = BaseModel) -> bool:
    return isinstance(kind, type) and issubclass(kind, base)


def _holds_secret(kind: Any, seen: tuple[Any, ...] = ()) -> bool:
    if kind is SecretStr or kind in seen:
        return kind is SecretStr
    below = [field.annotation for field in kind.model_fields.values()] if is_model(kind) else get_args(kind)
    return any(_holds_secret(member, (*seen, kind)) for part in below for member in members(part))


def is_secret(annotation: Any) -> bool:
    return SecretStr in members(annotation)


# --- kept and shown ---


def masked(kind: type[ProviderConfig] | None, values: Mapping[str, Any]) -> dict[str, Any]:
    """A config as it is shown: a row of asterisks for each secret that is set, and addresses without passwords."""
    masks: dict[str, Any] = replaced(values, {leaf.place: leaf.shown for leaf in leaves(kind, values)})
    return masks


def shown(annotation: Any, value: Any) -> Any:
    """The same of the value of one field."""
    return replaced(value, {leaf.place: leaf.shown for leaf in _leaves(value, members(annotation), ())})


def unmasked(value: Any, shown: Any, actual: Any, place: str) -> Any:
    """`value` with what is behind the masks that were shown, and stand where they stood."""
    if value == shown and actual is not None:
        return actual
    if value == MASK:
        place = place[:LONGEST_PLACE]
        raise BadRequest(f"'{place}': this is a mask. Send the secret, or leave the field out.", param=place)
    if isinstance(value, dict):
        return {
            key: unmasked(item, at(shown, (key,)), at(actual, (key,)), f"{place}.{key}") for key, item in value.items()
        }
    if isinstance(value, list):
        same = isinstance(shown, list) and len(shown) == len(value)
        return [
            unmasked(item, shown[i] if same else None, at(actual, (i,)) if same else None, f"{place}.{i}")
            for i, item in enumerate(value)
        ]
    return value


def sealed(kind: type[ProviderConfig] | None, values: Mapping[str, Any], before: Any) -> dict[str, Any]:
    """A config as it is stored: literal secrets encrypted; one that did not change keeps its cipher text."""
    secrets = (leaf for leaf in leaves(kind, values) if leaf.kept_secret)
    tokens = {leaf.place: _seal(leaf.value, at(before, leaf.place)) for leaf in secrets}
    stored: dict[str, Any] = replaced(values, tokens)
    return stored


def _seal(value: Any, before: Any) -> Any:
    if not isinstance(value, str) or not value or "${env." in value or value.startswith(PREFIX):
        return value
    with suppress(UndecryptableSecret):  # one whose key is lost is replaced
        if isinstance(before, str) and before.startswith(PREFIX) and decrypt(before) == value:
            return before
    return encrypt(value)


def unsealed(value: Any) -> Any:
    """What was stored, decrypted. Raises UndecryptableSecret."""
    return replaced(value, {leaf.place: _unsealed(leaf.value) for leaf in leaves(None, value)})


def _unsealed(value: Any) -> Any:
    return decrypt(value) if isinstance(value, str) and value.startswith(PREFIX) else value


def replaced(value: Any, new: Mapping[Place, Any], place: Place = ()) -> Any:
    """The value with other leaves at the places in `new`."""
    if isinstance(value, Mapping):
        return {key: replaced(item, new, (*place, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [replaced(item, new, (*place, index)) for index, item in enumerate(value)]
    return new.get(place, value)


def at(value: Any, place: Place) -> Any:
    """What stands at a place, or None."""
    for part in place:
        known = range(len(value)) if isinstance(value, list) else value if isinstance(value, Mapping) else ()
        if part not in known:
            return None
        value = value[part]
    return value


# --- where secrets go ---


def addresses(config: Mapping[str, Any]) -> dict[str, str]:
    """The servers that a provider's config names, by setting: of a URL, what stands before its path."""
    return {name: _server(value) for name, value in config.items() if ADDRESS_NAME.search(name) and value}


def detours(config: Mapping[str, Any]) -> set[tuple[str, str]]:
    """What of a config lets others than its server read along: proxies, and trust in other certificates than usual."""
    network = config.get("network") or {}
    tls, proxy = at(network, ("tls",)), at(network, ("proxy",))
    found = {(f"proxy.{name}", without_password(_server(url))) for name in PROXIES if (url := at(proxy, (name,)))}
    if found:
        found |= {(name, str(at(proxy, (name,)))) for name in ("no_proxy", "cacert")}
    trust = {"tls_verify": config.get("tls_verify")} | {name: at(tls, (name,)) for name in ("verify", "ciphers")}
    whole = {str(part): part for part in (network, tls, proxy) if isinstance(part, str)}  # a reference to all of it
    return found | {(name, str(value)) for name, value in (trust | whole).items() if value not in (None, True)}


def _server(address: Any) -> str:
    with suppress(UndecryptableSecret):
        address = decrypt(str(address))
    found = re.match(r"[a-z]+://[^/?#]*", str(address))
    return found[0] if found else str(address)
