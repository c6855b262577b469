"""GraphQL's Get and Aggregate, read by graphql-core. https://docs.weaviate.io/weaviate/api/graphql"""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy
from graphql import (
    BooleanValueNode,
    EnumValueNode,
    FieldNode,
    FloatValueNode,
    GraphQLError,
    IntValueNode,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    StringValueNode,
    ValueNode,
    parse,
)

from tests.weaviate.filters import kept
from tests.weaviate.schema import Collection, Object, Refused

ARGUMENTS = {
    "Get": {"tenant", "nearVector", "bm25", "where", "limit", "sort"},
    "Aggregate": {"tenant", "where"},
}
ENUMS = {"operator", "order"}
STATISTICS = {"count", "sum", "minimum", "maximum"}
K1, B = 1.2, 0.75


class Name(str):
    """A GraphQL enum's, which is no text."""


def answer(collections: Mapping[str, Collection], query: str, most: int) -> dict[str, Any]:
    """What Weaviate answers with status 200, errors among it."""
    try:
        document = parse(query)
        [operation] = document.definitions
        assert isinstance(operation, OperationDefinitionNode)
        data = {name: _function(collections, name, field, most) for name, field in _fields(operation).items()}
        return {"data": data}
    except (Refused, GraphQLError) as error:
        return {"data": None, "errors": [{"message": str(error), "locations": [], "path": None}]}


def _function(collections: Mapping[str, Collection], name: str, field: FieldNode, most: int) -> Any:
    if name == "__typename":
        return "WeaviateObj"
    if name not in ARGUMENTS:
        raise Refused(f'Cannot query field "{name}" on type "WeaviateObj".')
    return {each: _searched(collections, name, each, found, most) for each, found in _fields(field).items()}


def _searched(collections: Mapping[str, Collection], function: str, name: str, field: FieldNode, most: int) -> Any:
    if name not in collections:
        raise Refused(f'Cannot query field "{name}" on type "{function}ObjectsObj".')
    collection = collections[name]
    given = {each.name.value: _value(each.value, each.name.value) for each in field.arguments}
    if unknown := set(given) - ARGUMENTS[function]:
        raise Refused(f'Unknown argument "{unknown}" on field "{name}".')
    if function == "Aggregate":
        return [_aggregated(collection, field, _kept(collection, given))]
    return [_shown(collection, field, object, told) for object, told in selected(collection, given, most)]


def selected(collection: Collection, given: dict[str, Any], most: int) -> list[tuple[Object, dict[str, Any]]]:
    """The objects that a search finds, in its order, each with what it tells of it."""
    if "nearVector" in given and "bm25" in given:
        raise Refused("parameters which are conflicting: nearVector and bm25")
    limit = given.get("limit", 100)
    if limit > most:
        raise Refused("query maximum results exceeded")
    return _ordered(collection, given, _kept(collection, given))[:limit]


def _kept(collection: Collection, given: dict[str, Any]) -> list[Object]:
    objects = list(collection.tenant(given.get("tenant")).values())
    if "where" not in given:
        return objects
    keeps = kept(collection, given["where"], rest=False)
    return [object for object in objects if keeps(object)]


def _ordered(
    collection: Collection, given: dict[str, Any], objects: list[Object]
) -> list[tuple[Object, dict[str, Any]]]:
    if "nearVector" in given:
        return _near(collection, given, objects)
    if "bm25" in given:
        return _worded(collection, given, objects)
    for key in reversed(given.get("sort", [])):
        [path] = key["path"]
        if path not in collection.properties or not isinstance(key.get("order", Name("asc")), Name):
            raise Refused(f"invalid 'sort' parameter: {path}")
        # Texts are sorted without regard to case.
        objects = sorted(objects, key=lambda o: o.properties[path].lower(), reverse=key.get("order") == "desc")
    return [(object, {}) for object in objects]


def _near(collection: Collection, given: dict[str, Any], objects: list[Object]) -> list[tuple[Object, dict[str, Any]]]:
    vector = numpy.asarray(given["nearVector"]["vector"], numpy.float32)
    known = collection.dimensions.get(given["tenant"])
    if known is not None and len(vector) != known:
        raise Refused(f"vector search: vector lengths don't match: {known} vs {len(vector)}")
    assert collection.distance == "dot"
    distances = [-float(numpy.asarray(object.vector, numpy.float32) @ vector) for object in objects]
    nearest = sorted(zip(objects, distances, strict=True), key=lambda pair: pair[1])
    return [(object, {"distance": distance}) for object, distance in nearest]


def _worded(
    collection: Collection, given: dict[str, Any], objects: list[Object]
) -> list[tuple[Object, dict[str, Any]]]:
    """BM25 of the tenant's objects, whichever of them the filter keeps."""
    asked = given["bm25"]
    [name] = asked["properties"]
    property = collection.properties.get(name)
    if property is None or not property.searchable:
        raise Refused(f"Searching by property '{name}' requires inverted index, indexSearchable is false")
    texts = {object.id: object.terms.get(name, []) for object in collection.tenant(given["tenant"]).values()}
    mean = sum(map(len, texts.values())) / max(len(texts), 1) or 1.0
    having = Counter(term for terms in texts.values() for term in set(terms))
    words = set(property.tokens(asked["query"]))
    weights = {word: math.log(1 + (len(texts) - having[word] + 0.5) / (having[word] + 0.5)) for word in words}
    found = []
    for object in objects:
        counts, length = Counter(texts[object.id]), len(texts[object.id])
        norm = K1 * (1 - B + B * length / mean)
        score = sum(weights[word] * counts[word] * (K1 + 1) / (counts[word] + norm) for word in words)
        found += [(object, {"score": f"{score:.8f}"})] if score > 0 else []
    return sorted(found, key=lambda pair: -float(pair[1]["score"]))


def _shown(collection: Collection, field: FieldNode, object: Object, told: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name, asked in _fields(field).items():
        if name == "_additional":
            known = {"id": object.id, "vector": object.vector, "distance": None, "score": "0", **told}
            if unknown := set(_fields(asked)) - set(known):
                raise Refused(f"Cannot query field {unknown} on _additional")
            shown[name] = {each: known[each] for each in _fields(asked)}
        elif name in collection.properties:
            shown[name] = object.properties.get(name)
        else:
            raise Refused(f'Cannot query field "{name}" on type "{collection.name}".')
    return shown


def _aggregated(collection: Collection, field: FieldNode, objects: list[Object]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name, asked in _fields(field).items():
        if name == "meta":
            shown[name] = {"count": len(objects)}
            continue
        property = collection.properties.get(name)
        if property is None or property.type not in ("int", "number") or set(_fields(asked)) - STATISTICS:
            raise Refused(f'Cannot query field "{name}" on type "Aggregate{collection.name}".')
        values = [object.properties[name] for object in objects if name in object.properties]
        shown[name] = {"sum": sum(values) if values else None}
    return shown


def _fields(node: OperationDefinitionNode | FieldNode) -> dict[str, FieldNode]:
    found: dict[str, FieldNode] = {}
    for each in node.selection_set.selections if node.selection_set else ():
        if not isinstance(each, FieldNode) or each.alias or each.directives:
            raise Refused("this server knows neither fragments nor aliases")
        found[each.name.value] = each
    return found


def _value(node: ValueNode, name: str) -> Any:
    if isinstance(node, ObjectValueNode):
        return {each.name.value: _value(each.value, each.name.value) for each in node.fields}
    if isinstance(node, ListValueNode):
        return [_value(each, name) for each in node.values]
    if isinstance(node, EnumValueNode) != (name in ENUMS):
        raise Refused(f'Argument "{name}" has an invalid value: expected {"an enum" if name in ENUMS else "no enum"}.')
    if isinstance(node, EnumValueNode):
        return Name(node.value)
    if isinstance(node, IntValueNode):
        if name in ("limit", "valueInt") and not -(2**31) <= int(node.value) < 2**31:
            raise Refused(f'Argument "{name}" has an invalid value: Int is of 32 bits.')
        return int(node.value)
    if isinstance(node, FloatValueNode):
        return float(node.value)
    assert isinstance(node, StringValueNode | BooleanValueNode), node
    return node.value
