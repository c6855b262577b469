"""An index's definition, and documents that are checked by it."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.elasticsearch.answers import Refused, illegal, only

LONGEST_TERM = 32_766
MOST_DIMENSIONS = 4096
PARAMETERS = {
    "keyword": {"index", "doc_values", "ignore_above", "normalizer", "null_value", "store"},
    "long": {"index", "doc_values", "coerce", "null_value", "store", "ignore_malformed"},
    "text": {"index", "analyzer", "search_analyzer", "norms", "store", "fields"},
    "object": {"enabled", "dynamic", "properties"},
    "dense_vector": {"dims", "index", "similarity", "index_options", "element_type"},
}
SIMILARITIES = {"cosine", "dot_product", "l2_norm", "max_inner_product"}
OPTIONS = {
    **{kind: {"type", "m", "ef_construction", "confidence_interval"} for kind in ("hnsw", "int8_hnsw", "int4_hnsw")},
    **{kind: {"type", "confidence_interval"} for kind in ("flat", "int8_flat", "int4_flat")},
}
SETTINGS = {"refresh_interval", "number_of_shards", "number_of_replicas", "max_result_window"}
TOKENIZERS = {"standard", "whitespace", "keyword", "letter"}
TOKEN_FILTERS = {"lowercase", "asciifolding", "porter_stem", "stop", "trim"}
ANALYZERS = {"standard", "simple", "english", "whitespace"}
Document = Mapping[str, Any]


class Definition:
    """`fields` by their dotted paths. One that was made by writing to no index takes whatever comes."""

    def __init__(self, mappings: Document, settings: Document) -> None:
        self.given = dict(mappings)
        self.analyzers = _analyzers(settings)
        only(mappings, ("dynamic", "_meta", "properties"), "_doc", "mapper_parsing_exception")
        self.strict = mappings.get("dynamic") == "strict"
        self.fields = dict(self._read("", mappings.get("properties", {})))

    def _read(self, under: str, properties: Document) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, given in properties.items():
            kind = given.get("type", "object")
            if kind not in PARAMETERS:
                raise _wrong(f"No handler for type [{kind}] declared on field [{name}]")
            for parameter in given:
                if parameter not in PARAMETERS[kind] | {"type"}:
                    raise _wrong(f"unknown parameter [{parameter}] on mapper [{name}] of type [{kind}]")
            if kind == "dense_vector":
                _vectors(name, given)
            if kind == "text" and given.get("analyzer", "standard") not in self.analyzers | ANALYZERS:
                raise _wrong(f"analyzer [{given['analyzer']}] has not been configured in mappings")
            yield f"{under}{name}", {"type": kind, **given}
            yield from self._read(f"{under}{name}.", given.get("properties", {}))

    def field(self, name: str) -> dict[str, Any]:
        return self.fields.get(name, {})

    def has_terms(self, name: str) -> bool:
        return bool(self.field(name).get("index", True))

    def has_values(self, name: str) -> bool:
        found = self.field(name)
        return found.get("type") in ("keyword", "long") and bool(found.get("doc_values", True))

    def check(self, document: Document, under: str = "") -> None:
        """Raises Refused for a document that this index would not take."""
        for name, value in document.items():
            path = f"{under}{name}"
            if path not in self.fields:
                if self.strict:
                    raise Refused(
                        "strict_dynamic_mapping_exception",
                        f"mapping set to strict, dynamic introduction of [{name}] within [_doc] is not allowed",
                    )
                continue
            self._check(path, value)

    def _check(self, path: str, value: Any) -> None:
        found = self.fields[path]
        if found["type"] == "object":
            if found.get("enabled", True):
                self.check(value, f"{path}.")
        elif found["type"] == "dense_vector":
            _vector(path, found, value)
        else:
            for one in value if isinstance(value, list) else [value]:
                self._check_one(path, found, one)

    def _check_one(self, path: str, found: Document, value: Any) -> None:
        kind = found["type"]
        if isinstance(value, Mapping) or (kind == "long" and not isinstance(value, int)):
            raise _unread(f"failed to parse field [{path}] of type [{kind}]")
        kept = self.has_terms(path) or self.has_values(path)
        if kind == "keyword" and kept and len(str(value).encode()) > LONGEST_TERM:
            raise illegal(f'Document contains at least one immense term in field="{path}"')


def _wrong(reason: str) -> Refused:
    return Refused("mapper_parsing_exception", reason)


def _unread(reason: str) -> Refused:
    return Refused("document_parsing_exception", reason)


def _vectors(name: str, given: Document) -> None:
    if not 1 <= given.get("dims", 1) <= MOST_DIMENSIONS:
        raise _wrong(f"The number of dimensions should be in [1, {MOST_DIMENSIONS}] but was [{given['dims']}]")
    if given.get("similarity", "cosine") not in SIMILARITIES:
        raise _wrong(f"Unknown value [{given['similarity']}] for field [similarity]")
    options = given.get("index_options", {"type": "int8_hnsw"})
    if options.get("type") not in OPTIONS:
        raise _wrong(f"Unknown vector index options type [{options.get('type')}] for field [{name}]")
    if set(options) - OPTIONS[options["type"]]:
        raise _wrong(f"Mapping definition for [{name}] has unsupported parameters")


def _vector(path: str, field: Document, value: Any) -> None:
    if not isinstance(value, list) or not all(isinstance(one, int | float) for one in value):
        raise _unread(f"Failed to parse object: expecting token of type [VALUE_NUMBER] for [{path}]")
    if len(value) != field["dims"]:
        raise _unread(f"The [dense_vector] field [{path}] has {len(value)} dimensions and should have {field['dims']}")
    magnitude(field["similarity"], value)


def magnitude(similarity: str, vector: list[float]) -> None:
    """What stands in `checkVectorMagnitude` of its DenseVectorFieldMapper."""
    squared = math.fsum(number * number for number in vector)
    if similarity == "dot_product" and abs(squared - 1.0) > 1e-3:
        raise illegal("The [dot_product] similarity can only be used with unit-length vectors.")
    if similarity == "cosine" and squared == 0:
        raise illegal("The [cosine] similarity does not support vectors with zero magnitude.")


def _analyzers(settings: Document) -> set[str]:
    only(settings, ("index", "analysis", *SETTINGS), "settings", "illegal_argument_exception")
    only(settings.get("index", {}), SETTINGS, "settings", "illegal_argument_exception")
    interval = settings.get("index", {}).get("refresh_interval", "1s")
    if not re.fullmatch(r"\d+(ms|s|m)|-1", str(interval)):
        raise illegal(f"failed to parse setting [index.refresh_interval] with value [{interval}]")
    analysis = settings.get("analysis", {})
    only(analysis, ("analyzer",), "analysis", "illegal_argument_exception")
    for name, given in analysis.get("analyzer", {}).items():
        known = given.get("tokenizer") in TOKENIZERS and set(given.get("filter", ())) <= TOKEN_FILTERS
        if given.get("type") != "custom" or not known:
            raise illegal(f"Custom Analyzer [{name}] failed to find its tokenizer or a filter")
    return set(analysis.get("analyzer", {}))
