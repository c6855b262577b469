"""What is asked of Qdrant as JSON, in the words of its engine. Imported only where that engine runs."""

from collections.abc import Mapping
from typing import Any

import qdrant_edge as edge

from apps.vector_io.providers.qdrant.fields import EMBEDDING, INDEXES, WORDS, Condition, Point

# Of filters alone: places and sizes are read here of one store's points, and each index costs a dozen files.
INDEXED = [field for field, schema in INDEXES.items() if schema["type"] == "keyword"]


def shape(dimension: int) -> edge.EdgeConfig:
    """Without a graph: the engine would build it while nothing else is answered, and comparing all is exact.

    One thread a store: they are searched one after the other.
    """
    return edge.EdgeConfig(
        vectors={EMBEDDING: edge.EdgeVectorParams(size=dimension, distance=edge.Distance.Dot)},
        sparse_vectors={WORDS: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
        optimizers=edge.EdgeOptimizersConfig(indexing_threshold=0),
        max_search_threads=1,
    )


def indexes() -> list[edge.UpdateOperation]:
    return [edge.UpdateOperation.create_field_index(field, edge.KeywordIndexParams()) for field in INDEXED]


def point(given: Point) -> edge.Point:
    vectors = {name: vector(value) for name, value in given["vector"].items()}
    return edge.Point(given["id"], vectors, given["payload"])


def vector(given: Any) -> Any:
    return edge.SparseVector(given["indices"], given["values"]) if isinstance(given, Mapping) else given


def filter(given: Condition) -> edge.Filter:
    return _filter(given if _is_filter(given) else {"must": [given]})


def _filter(given: Condition) -> edge.Filter:
    parts = {junction: [_condition(part) for part in conditions] for junction, conditions in given.items()}
    return edge.Filter(must=parts.get("must"), should=parts.get("should"), must_not=parts.get("must_not"))


def _is_filter(given: Condition) -> bool:
    return not given.keys() & {"has_id", "key"}


def _condition(given: Condition) -> Any:
    if _is_filter(given):
        return _filter(given)
    if "has_id" in given:
        return edge.HasIdCondition(set(given["has_id"]))
    return edge.FieldCondition(given["key"], match=_match(given.get("match")), range=_range(given.get("range")))


def _match(given: Mapping[str, Any] | None) -> Any:
    if given is None:
        return None
    return edge.MatchAny(given["any"]) if "any" in given else edge.MatchValue(given["value"])


def _range(given: Mapping[str, float] | None) -> edge.RangeFloat | None:
    return None if given is None else edge.RangeFloat(**given)
