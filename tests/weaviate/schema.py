"""Collections: what may be declared, and what an object's properties become in the index.

https://docs.weaviate.io/weaviate/config-refs/collections
"""

import re
from dataclasses import dataclass, field
from typing import Any

CLASS = re.compile(r"[A-Z][_0-9A-Za-z]*")
PROPERTY = re.compile(r"[_A-Za-z][_0-9A-Za-z]{0,230}")
TENANT = re.compile(r"[A-Za-z0-9\-_]{1,64}")
TEXTS = ("text", "text[]")
TYPES = (*TEXTS, "int", "number", "boolean")
TOKENIZATIONS = ("word", "lowercase", "whitespace", "field")
DISTANCES = ("cosine", "dot", "l2-squared", "hamming", "manhattan")
KNOWN = {
    *("class", "description", "vectorizer", "vectorIndexType", "vectorIndexConfig", "multiTenancyConfig"),
    *("invertedIndexConfig", "properties", "replicationConfig", "shardingConfig", "moduleConfig"),
}
PROPERTY_KEYS = {"name", "dataType", "description", "tokenization", "indexFilterable", "indexSearchable"}


class Refused(Exception):
    """A sentence of Weaviate's."""


@dataclass(frozen=True)
class Property:
    name: str
    type: str
    tokenization: str | None
    filterable: bool
    searchable: bool

    def checked(self, value: Any) -> Any:
        """Raises Refused for a value of another type."""
        right = {
            "text": isinstance(value, str),
            "text[]": isinstance(value, list) and all(isinstance(each, str) for each in value),
            "int": isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63,
            "number": isinstance(value, int | float) and not isinstance(value, bool),
            "boolean": isinstance(value, bool),
        }
        if not right[self.type]:
            raise Refused(f"invalid {self.type} property '{self.name}' on class: not a {self.type}")
        return value

    def terms(self, value: Any) -> list[Any]:
        """What the inverted index has of a value: of an array, of each element."""
        if self.type not in TEXTS:
            return [value]
        return [term for text in (value if isinstance(value, list) else [value]) for term in self.tokens(text)]

    def tokens(self, text: str) -> list[str]:
        if self.tokenization == "field":
            return [text.strip()] if text.strip() else []
        if self.tokenization == "whitespace":
            return text.split()
        if self.tokenization == "lowercase":
            return text.lower().split()
        return [word for word in re.split(r"[\W_]+", text.lower()) if word]


@dataclass
class Object:
    id: str
    properties: dict[str, Any]
    vector: list[float]
    terms: dict[str, list[Any]] = field(default_factory=dict)


@dataclass
class Collection:
    given: dict[str, Any]
    properties: dict[str, Property]
    tenants: dict[str, dict[str, Object]] = field(default_factory=dict)
    dimensions: dict[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.given["class"])

    @property
    def distance(self) -> str:
        return str(self.given.get("vectorIndexConfig", {}).get("distance", "cosine"))

    def tenant(self, name: str | None) -> dict[str, Object]:
        if not name:
            raise Refused(f"class {self.name} has multi-tenancy enabled, but request was without tenant")
        if name not in self.tenants:
            raise Refused(f'tenant not found: "{name}"')
        return self.tenants[name]

    def indexed(self, object: Object) -> Object:
        known = {name: self.properties[name] for name in object.properties}
        object.terms = {name: known[name].terms(value) for name, value in object.properties.items()}
        return object


def declared(given: Any) -> Collection:
    if not isinstance(given, dict) or not CLASS.fullmatch(str(given.get("class"))):
        raise Refused(f"'{given}' is not a valid class name")
    if unknown := set(given) - KNOWN:
        raise Refused(f"unknown keys {unknown}")
    if given.get("vectorizer") != "none" or given.get("vectorIndexType", "hnsw") != "hnsw":
        raise Refused("this server has no vectorizer, and no other index than hnsw")
    if given.get("vectorIndexConfig", {}).get("distance", "cosine") not in DISTANCES:
        raise Refused("unrecognized distance metric")
    properties = [_property(each) for each in given.get("properties", [])]
    if len({each.name.lower() for each in properties}) < len(properties):
        raise Refused("conflict for property: already in use or provided multiple times")
    return Collection(given, {each.name: each for each in properties})


def _property(given: dict[str, Any]) -> Property:
    name, [type] = given["name"], given["dataType"]
    if unknown := set(given) - PROPERTY_KEYS:
        raise Refused(f"unknown keys {unknown}")
    if not PROPERTY.fullmatch(name) or name in ("_id", "id", "_additional") or type not in TYPES:
        raise Refused(f"property '{name}': invalid dataType or name: {type}")
    is_text = type in TEXTS
    if not is_text and (given.get("tokenization") or given.get("indexSearchable")):
        raise Refused(f"Tokenization and indexSearchable are not allowed for data type '{type}'")
    tokenization = given.get("tokenization", "word") if is_text else None
    if is_text and tokenization not in TOKENIZATIONS:
        raise Refused(f"Tokenization '{tokenization}' is not allowed for data type '{type}'")
    return Property(name, type, tokenization, given.get("indexFilterable", True), given.get("indexSearchable", is_text))
