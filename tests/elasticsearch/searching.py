"""The body of a search: a query, nearest neighbours or both, and what of each hit is shown."""

from typing import Any

import numpy

from tests.elasticsearch.answers import Refused, illegal, only
from tests.elasticsearch.index import Index, Written
from tests.elasticsearch.mapping import magnitude
from tests.elasticsearch.queries import Scores, scored

MOST = 10_000
KEYS = (
    *("query", "knn", "size", "from", "sort", "search_after", "_source", "fields", "track_total_hits", "aggs"),
    *("min_score", "timeout", "explain"),
)


def searched(index: Index, body: Any) -> dict[str, Any]:
    only(body, KEYS, "search")
    size = body.get("size", 10)
    if size + body.get("from", 0) > MOST:
        raise illegal(f"Result window is too large, from + size must be less than or equal to: [{MOST}]")
    scores = _scores(index, body)
    ordered = _ordered(index, body, scores)
    total = {"total": {"value": len(scores), "relation": "eq"}} if body.get("track_total_hits", True) else {}
    begin = body.get("from", 0)
    hits = [_hit(index, body, index.visible[id], score, key) for id, score, key in ordered[begin : begin + size]]
    answer = {
        "took": 1,
        "timed_out": False,
        "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0},
        "hits": {**total, "max_score": None, "hits": hits},
    }
    return answer | ({"aggregations": _aggregated(index, body["aggs"], scores)} if "aggs" in body else {})


def _scores(index: Index, body: Any) -> Scores:
    """Where both are asked for, a document's score is the sum of its scores."""
    if "knn" not in body:
        return scored(index, body.get("query", {"match_all": {}}))
    near = nearest(index, body["knn"])
    worded = scored(index, body["query"]) if "query" in body else {}
    return {id: near.get(id, 0.0) + worded.get(id, 0.0) for id in {**near, **worded}}


def nearest(index: Index, knn: Any) -> Scores:
    only(knn, ("field", "query_vector", "k", "num_candidates", "filter", "similarity", "boost"), "knn")
    k, several = knn.get("k", 10), knn.get("num_candidates", 10)
    if k < 1:
        raise illegal("[k] must be greater than 0")
    if several < k:
        raise illegal("[num_candidates] cannot be less than [k]")
    if several > MOST:
        raise illegal(f"[num_candidates] cannot exceed [{MOST}]")
    field = index.definition.field(knn["field"])
    if field.get("type") != "dense_vector":
        raise illegal(f"field [{knn['field']}] does not exist in the mapping")
    if not field.get("index", True):
        raise illegal(f"to perform knn search on field [{knn['field']}], its mapping must have [index] set to [true]")
    vector = knn["query_vector"]
    if len(vector) != field["dims"]:
        raise illegal(f"the query vector has a different dimension [{len(vector)}] than the index [{field['dims']}]")
    magnitude(field["similarity"], vector)
    given = knn.get("filter", [])
    filters = [scored(index, one) for one in (given if isinstance(given, list) else [given])]
    among = [
        id for id, one in index.visible.items() if one.values(knn["field"]) and all(id in kept for kept in filters)
    ]
    found = _near(index, knn["field"], field["similarity"], vector, among)
    return dict(sorted(found.items(), key=lambda item: -item[1])[:k])


def _near(index: Index, name: str, similarity: str, vector: list[float], among: list[str]) -> Scores:
    if not among:
        return {}
    matrix = numpy.asarray([index.visible[id].source[name] for id in among], numpy.float32)
    wanted = numpy.asarray(vector, numpy.float32)
    products = matrix @ wanted
    if similarity == "max_inner_product":
        made = numpy.where(products < 0, 1 / (1 - numpy.minimum(products, 0)), products + 1)
    elif similarity == "l2_norm":
        made = 1 / (1 + ((matrix - wanted) ** 2).sum(axis=1))
    else:
        lengths = numpy.linalg.norm(matrix, axis=1) * numpy.linalg.norm(wanted) if similarity == "cosine" else 1.0
        made = (1 + products / lengths) / 2
    return {id: float(score) for id, score in zip(among, made, strict=True)}


def _ordered(index: Index, body: Any, scores: Scores) -> list[tuple[str, float | None, list[Any] | None]]:
    if "sort" not in body:
        if "search_after" in body:
            raise illegal("Sort must contain at least one field when [search_after] is used.")
        return [(id, score, None) for id, score in sorted(scores.items(), key=lambda item: -item[1])]
    names = [_sorted_by(index, one) for one in body["sort"]]
    keyed = [(id, None, [(index.visible[id].values(name) or [None])[0] for name in names]) for id in scores]
    after = body.get("search_after")
    if after is not None and len(after) != len(names):
        raise illegal(f"search_after has {len(after)} value(s) but sort has {len(names)}.")
    found = sorted(keyed, key=lambda item: _order(item[2]))
    return [item for item in found if after is None or _order(item[2]) > _order(after)]


def _sorted_by(index: Index, given: Any) -> str:
    [(name, order)] = given.items() if isinstance(given, dict) else [(given, "asc")]
    if order != "asc":
        raise AssertionError("this one sorts in one direction alone")
    if name not in index.definition.fields:
        raise Refused("query_shard_exception", f"No mapping found for [{name}] in order to sort on")
    if not index.definition.has_values(name):
        raise illegal(f"Can't load fielddata on [{name}] because fielddata is unsupported. Use doc values instead.")
    return str(name)


def _order(key: list[Any]) -> list[Any]:
    return [value.encode() if isinstance(value, str) else value for value in key]


def _hit(index: Index, body: Any, written: Written, score: float | None, key: list[Any] | None) -> dict[str, Any]:
    asked = body.get("_source", True)
    source = dict(written.source)
    if isinstance(asked, dict):
        only(asked, ("includes", "excludes"), "_source")
        included = asked.get("includes", list(source))
        source = {name: value for name, value in source.items() if name in included and name not in asked["excludes"]}
    hit = {"_index": index.name, "_id": written.id, "_score": score}
    shown = {name: written.values(name) for name in body.get("fields", ()) if written.values(name)}
    return {
        **hit,
        **({"_source": source} if asked is not False else {}),
        **({"fields": shown} if shown else {}),
        **({"sort": key} if key is not None else {}),
    }


def _aggregated(index: Index, aggs: Any, scores: Scores) -> dict[str, Any]:
    found = {}
    for name, given in aggs.items():
        only(given, ("sum",), name)
        only(given["sum"], ("field",), "sum")
        if not index.definition.has_values(given["sum"]["field"]):
            raise illegal(f"Can't load fielddata on [{given['sum']['field']}]")
        found[name] = {"value": float(sum(sum(index.visible[id].values(given["sum"]["field"])) for id in scores))}
    return found
