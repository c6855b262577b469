"""Protobuf messages with the annotations of its index, and entries that are checked by them."""

import re
from dataclasses import dataclass, field
from typing import Any

import numpy

LONGEST_TERM = 32_766
MESSAGE = re.compile(r"(?:/\*\*(.*?)\*/\s*)?message\s+(\w+)\s*\{(.*?)\n\}", re.DOTALL)
FIELD = re.compile(r"(?:/\*\*(.*?)\*/\s*)?(optional|repeated)\s+(\w+)\s+(\w+)\s*=\s*\d+\s*;", re.DOTALL)
ANNOTATION = re.compile(r"@(\w+)(?:\((.*?)\))?")
KNOWN = {
    "Keyword": {"sortable", "projectable", "aggregable", "searchable", "normalizer", "norms", "indexNullAs"},
    "Basic": {"sortable", "projectable", "aggregable", "searchable", "indexNullAs"},
    "Text": {"projectable", "analyzer", "searchAnalyzer", "searchable", "norms"},
    "Vector": {"dimension", "similarity", "beamWidth", "maxConnections", "projectable", "searchable"},
}
ANALYZERS = {"standard", "simple", "whitespace", "keyword", "stemmer", "ngram", "filename"}
SIMILARITIES = {"L2", "INNER_PRODUCT", "MAX_INNER_PRODUCT", "COSINE"}
KINDS: dict[str, type | tuple[type, ...]] = {"string": str, "int64": int, "int32": int, "float": (int, float)}


class Wrong(Exception):
    """What a request is refused for."""


@dataclass
class Field:
    name: str
    repeated: bool
    type: str
    index: str | None = None  # Keyword, Basic, Text or Vector
    options: dict[str, str] = field(default_factory=dict)

    def says(self, option: str) -> bool:
        return self.options.get(option) == "true"


@dataclass
class Message:
    name: str
    indexed: bool
    fields: dict[str, Field]

    def read(self, given: dict[str, Any]) -> dict[str, Any]:
        """An entry as it is kept: floats have 32 bits. Raises Wrong."""
        kept: dict[str, Any] = {"_type": self.name}
        for name, value in given.items():
            if name == "_type":
                continue
            if name not in self.fields:
                raise Wrong(f"The field '{name}' was not found in '{self.name}'")
            kept[name] = self._value(self.fields[name], value)
        return {name: value for name, value in kept.items() if value != []}

    def _value(self, known: Field, value: Any) -> Any:
        if isinstance(value, list) != known.repeated:
            raise Wrong(f"The field '{known.name}' is {'' if known.repeated else 'not '}repeated")
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, bool) or not isinstance(one, KINDS[known.type]):
                raise Wrong(f"'{known.name}' is no {known.type}")
            if known.index == "Keyword" and len(one.encode()) > LONGEST_TERM:
                raise Wrong(f"immense term in '{known.name}'")
        if known.index == "Vector":
            if len(value) != int(known.options["dimension"]):
                raise Wrong(f"'{known.name}' has {len(value)} numbers, not {known.options['dimension']}")
            return numpy.asarray(value, numpy.float32).tolist()
        return value


def read(text: str) -> list[Message]:
    """The messages of a schema. Raises Wrong, whose text the server tells as the schema's error."""
    if not re.match(r'\s*syntax\s*=\s*"proto[23]";', text):
        raise Wrong("no syntax")
    package = re.search(r"^package\s+([\w.]+);", text, re.MULTILINE)
    prefix = f"{package[1]}." if package else ""
    found = [_message(prefix, *groups) for groups in MESSAGE.findall(text)]
    if not found:
        raise Wrong("Syntax error: there is no message")
    return found


def _message(prefix: str, comment: str, name: str, body: str) -> Message:
    left = re.sub(r"\s+", "", FIELD.sub("", body))
    if left:
        raise Wrong(f"Syntax error at {left[:20]}")
    fields = [_field(*groups) for groups in FIELD.findall(body)]
    return Message(prefix + name, "@Indexed" in comment, {one.name: one for one in fields})


def _field(comment: str, label: str, type: str, name: str) -> Field:
    if type not in KINDS:
        raise Wrong(f"Failed to resolve type of field '{name}'. Type not found: {type}")
    made = Field(name, label == "repeated", type)
    for annotation, given in ANNOTATION.findall(comment):
        options = dict(re.findall(r'(\w+)\s*=\s*"?(\w+)"?', given))
        if annotation not in KNOWN or set(options) - KNOWN[annotation]:
            raise Wrong(f"Unexpected attribute of '@{annotation}' on {name}")
        made.index, made.options = annotation, options
    _check(made)
    return made


def _check(made: Field) -> None:
    if made.index == "Text" and made.options.get("analyzer", "standard") not in ANALYZERS:
        raise Wrong(f"there is no analyzer {made.options['analyzer']}")
    if made.index == "Vector":
        if not made.repeated or made.type != "float" or not made.options.get("dimension", "").isdigit():
            raise Wrong(f"{made.name} is no vector: it is repeated float and says its dimension")
        if made.options.get("similarity", "L2") not in SIMILARITIES:
            raise Wrong(f"there is no similarity {made.options['similarity']}")
