"""`where`: which objects a filter keeps. A condition on an array holds where it does for one of its elements, each
condition for itself; NotEqual is what Equal is not. https://docs.weaviate.io/weaviate/api/graphql/filters
"""

from collections.abc import Callable
from typing import Any

from tests.weaviate.schema import TEXTS, Collection, Object, Property, Refused

Kept = Callable[[Object], bool]
OPERATORS = ("Equal", "NotEqual", "GreaterThan", "GreaterThanEqual", "LessThan", "LessThanEqual")
CONTAINS = ("ContainsAny", "ContainsAll")
VALUES = {"text": "valueText", "text[]": "valueText", "int": "valueInt", "number": "valueNumber"}


def kept(collection: Collection, where: Any, *, rest: bool) -> Kept:
    """`rest`: as a batch's deletion has it, where lists have a name of their own."""
    if not isinstance(where, dict):
        raise Refused("invalid 'where' filter: not an object")
    operator = where.get("operator")
    if operator in ("And", "Or"):
        return _junction(collection, where, rest)
    if operator not in (*OPERATORS, *CONTAINS) or len(set(where) - {"operator", "path"}) != 1:
        raise Refused(f"invalid 'where' filter: unrecognized operator, or not one value: {operator}")
    [key] = set(where) - {"operator", "path"}
    if isinstance(where[key], list) != (operator in CONTAINS):
        raise Refused(f"invalid 'where' filter: {operator} takes no such value")
    if not isinstance(where["path"], list) or len(where["path"]) != 1:
        raise Refused("invalid 'where' filter: field 'path': must have at least one element")
    return _leaf(collection, where["path"][0], operator, key, where[key], "Array" if rest else "")


def _leaf(collection: Collection, path: str, operator: str, key: str, value: Any, array: str) -> Kept:
    ending = array if operator in CONTAINS else ""
    if path == "id":
        if key != f"valueText{ending}":
            raise Refused("invalid 'where' filter: using special path [\"id\"], expected valueText")
        return _by_id(operator, value)
    property = collection.properties.get(path)
    if property is None:
        raise Refused(f"invalid 'where' filter: no such prop with name '{path}' found in class")
    if not property.filterable:
        raise Refused(f"Filtering by property '{path}' requires inverted index, indexFilterable is false")
    if key != VALUES[property.type] + ending:
        raise Refused(f"invalid 'where' filter: data type filter cannot use '{key}' on '{property.type}'")
    return _condition(property, operator, value)


def _junction(collection: Collection, where: dict[str, Any], rest: bool) -> Kept:
    operands = where.get("operands")
    if set(where) != {"operator", "operands"} or not isinstance(operands, list) or not operands:
        raise Refused("invalid 'where' filter: operator And or Or requires operands")
    parts = [kept(collection, part, rest=rest) for part in operands]
    several = all if where["operator"] == "And" else any
    return lambda object: several(part(object) for part in parts)


def _by_id(operator: str, value: Any) -> Kept:
    wanted = set(value if isinstance(value, list) else [value])
    if operator not in ("Equal", "ContainsAny"):
        raise Refused(f"this server knows no {operator} of an id")
    return lambda object: object.id in wanted


def _condition(property: Property, operator: str, value: Any) -> Kept:
    if operator in CONTAINS:
        wanted = {term for each in value for term in _terms(property, each)}
        if operator == "ContainsAny":
            return lambda object: not wanted.isdisjoint(object.terms.get(property.name, ()))
        return lambda object: wanted <= set(object.terms.get(property.name, ()))
    terms = _terms(property, value)
    if operator in ("Equal", "NotEqual"):
        return lambda object: (set(terms) <= set(object.terms.get(property.name, ()))) == (operator == "Equal")
    [bound] = terms
    right: dict[str, Callable[[Any], bool]] = {
        "GreaterThan": lambda term: term > bound,
        "GreaterThanEqual": lambda term: term >= bound,
        "LessThan": lambda term: term < bound,
        "LessThanEqual": lambda term: term <= bound,
    }
    return lambda object: any(map(right[operator], object.terms.get(property.name, ())))


def _terms(property: Property, value: Any) -> list[Any]:
    if property.type in TEXTS:
        if not isinstance(value, str):
            raise Refused("invalid 'where' filter: valueText is no text")
        if not (terms := property.tokens(value)):
            raise Refused("invalid search term, only stopwords provided")
        return list(terms)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused("invalid 'where' filter: the value is of another type")
    return [value]
