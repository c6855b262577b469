"""The query DSL: each query as the visible documents that it matches, with their scores."""

from collections.abc import Callable
from typing import Any

from tests.elasticsearch.answers import Refused, illegal, only
from tests.elasticsearch.index import Index, Written

MOST_TERMS = 65_536
OCCURRENCES = ("must", "filter", "should", "must_not")
Scores = dict[str, float]


def scored(index: Index, query: Any) -> Scores:
    if not isinstance(query, dict) or len(query) != 1:
        raise Refused("parsing_exception", "[query] malformed query, expected one of them")
    [(name, body)] = query.items()
    if name not in QUERIES:
        raise Refused("parsing_exception", f"unknown query [{name}]")
    return QUERIES[name](index, body)


def _kept(index: Index, test: Callable[[Written], bool]) -> Scores:
    return {id: 1.0 for id, written in index.visible.items() if test(written)}


def _all(index: Index, body: Any) -> Scores:
    only(body, ("boost",), "match_all")
    return _kept(index, lambda written: True)


def _none(index: Index, body: Any) -> Scores:
    only(body, (), "match_none")
    return {}


def _field(body: Any, of: str) -> tuple[str, Any]:
    if not isinstance(body, dict) or len(body) != 1:
        raise Refused("parsing_exception", f"[{of}] query doesn't support multiple fields")
    [found] = body.items()
    return found


def _searchable(index: Index, name: str) -> None:
    field = index.definition.field(name)
    if field.get("enabled") is False or not (index.definition.has_terms(name) or index.definition.has_values(name)):
        raise illegal(f"Cannot search on field [{name}] since it is not indexed.")


def _term(index: Index, body: Any) -> Scores:
    name, given = _field(body, "term")
    if isinstance(given, dict):
        only(given, ("value", "boost", "case_insensitive"), "term")
    value = given["value"] if isinstance(given, dict) else given
    return _of(index, name, [value])


def _terms(index: Index, body: Any) -> Scores:
    name, values = _field({key: value for key, value in body.items() if key != "boost"}, "terms")
    if not isinstance(values, list) or len(values) > MOST_TERMS:
        raise illegal(f"[terms] is a list of at most [{MOST_TERMS}]")
    return _of(index, name, values)


def _of(index: Index, name: str, values: list[Any]) -> Scores:
    _searchable(index, name)
    wanted = set(map(str, values)) if index.definition.field(name).get("type") == "keyword" else set(values)
    return _kept(index, lambda written: not wanted.isdisjoint(written.values(name)))


def _range(index: Index, body: Any) -> Scores:
    name, bounds = _field(body, "range")
    only(bounds, ("gt", "gte", "lt", "lte", "boost", "format", "relation", "time_zone"), "range")
    _searchable(index, name)

    def order(value: Any) -> Any:
        return str(value).encode() if index.definition.field(name)["type"] == "keyword" else value

    tests: dict[str, Callable[[Any, Any], bool]] = {
        "gt": lambda one, other: bool(one > other),
        "gte": lambda one, other: bool(one >= other),
        "lt": lambda one, other: bool(one < other),
        "lte": lambda one, other: bool(one <= other),
    }
    given = [(tests[bound], order(value)) for bound, value in bounds.items() if bound in tests]
    return _kept(
        index,
        lambda written: any(all(test(order(value), bound) for test, bound in given) for value in written.values(name)),
    )


def _exists(index: Index, body: Any) -> Scores:
    only(body, ("field", "boost"), "exists")
    return _kept(index, lambda written: bool(written.values(body["field"])))


def _ids(index: Index, body: Any) -> Scores:
    only(body, ("values", "boost"), "ids")
    return {id: 1.0 for id in body["values"] if id in index.visible}


def _match(index: Index, body: Any) -> Scores:
    name, given = _field(body, "match")
    given = given if isinstance(given, dict) else {"query": given}
    only(given, ("query", "operator", "minimum_should_match", "zero_terms_query", "boost"), "match")
    if index.definition.field(name).get("type") != "text":
        return _of(index, name, [given["query"]])
    return index.worded(given["query"], str(given.get("operator", "or")).lower() == "and")


def _bool(index: Index, body: Any) -> Scores:
    """One without anything matches all; `should` need not match beside `must` or `filter`, unless it is said."""
    only(body, (*OCCURRENCES, "minimum_should_match", "boost"), "bool")
    clauses = {name: body.get(name, []) for name in OCCURRENCES}
    found = {
        name: [scored(index, one) for one in (given if isinstance(given, list) else [given])]
        for name, given in clauses.items()
    }
    least = body.get("minimum_should_match", 0 if found["must"] or found["filter"] or not found["should"] else 1)
    scores: Scores = {}
    for id in index.visible:
        matched = [one[id] for one in found["should"] if id in one]
        needed = all(id in one for one in (*found["must"], *found["filter"]))
        if needed and len(matched) >= int(least) and not any(id in one for one in found["must_not"]):
            scores[id] = sum(one[id] for one in found["must"]) + sum(matched)
    return scores


QUERIES: dict[str, Callable[[Index, Any], Scores]] = {
    "match_all": _all,
    "match_none": _none,
    "term": _term,
    "terms": _terms,
    "range": _range,
    "exists": _exists,
    "ids": _ids,
    "match": _match,
    "bool": _bool,
}
