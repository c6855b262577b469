"""Its HTTP API, as far as indices are made, written and searched."""

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.elasticsearch.answers import Refused, illegal, no_index, only
from tests.elasticsearch.index import Index
from tests.elasticsearch.mapping import Definition
from tests.elasticsearch.queries import scored
from tests.elasticsearch.searching import searched
from tests.upstream import on_a_thread, on_loopback

KEY = "aWQ6a2V5"
PARAMETERS = {
    "_bulk": {"refresh", "require_alias", "timeout", "wait_for_active_shards"},
    "_search": {"allow_partial_search_results", "preference", "request_cache", "ignore_unavailable"},
    "_delete_by_query": {"conflicts", "refresh", "scroll_size", "wait_for_completion"},
    "_update_by_query": {"conflicts", "refresh", "scroll_size", "wait_for_completion"},
    "_mapping": {"ignore_unavailable"},
    "_refresh": {"ignore_unavailable"},
    "": {"timeout", "wait_for_active_shards", "master_timeout", "ignore_unavailable"},
}
LONGEST_ID = 512
MOST_BYTES = 100 << 20


@dataclass
class Failure:
    """What comes in place of the next answer to a request whose address holds these words."""

    words: str
    status: int
    body: Any


@dataclass
class ScriptedElasticsearch:
    """`meanwhile` runs between what a change by query has found and what it writes: as another who writes then."""

    url: str = ""
    key: str | None = KEY
    number: str = "8.17.0"
    distribution: str | None = None
    indices: dict[str, Index] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    refused_items: list[tuple[int, str]] = field(default_factory=list)  # of the next insertions
    meanwhile: list[Callable[[Index], None]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        data = await request.read()
        self.asked.append(f"{request.method} {request.path_qs}")
        try:
            if failure := next((one for one in self.failures if one.words in request.path_qs), None):
                self.failures.remove(failure)
                return _json(failure.body, failure.status)
            self._known(request)
            return _json(*self._answered(request, data))
        except Refused as error:
            return _json(error.body, error.status)

    def _known(self, request: web.Request) -> None:
        given = request.headers.get("Authorization")
        if self.key is not None and given != f"ApiKey {self.key}":
            reason = "missing" if given is None else "unable to authenticate with provided"
            raise Refused("security_exception", f"{reason} authentication credentials for REST request", 401)

    def _answered(self, request: web.Request, data: bytes) -> tuple[Any, int]:
        target, _, action = request.path.strip("/").partition("/")
        if action not in PARAMETERS:
            raise Refused("illegal_argument_exception", f"no handler found for uri [{request.path_qs}]")
        if unknown := set(request.query) - PARAMETERS[action]:
            raise illegal(f"request [{request.path}] contains unrecognized parameter: [{unknown.pop()}]")
        if not target:
            return self._about(), 200
        if not action:
            return self._of_index(request.method, target, _read(request, data))
        if action == "_bulk":
            return self._bulk(request, target, data), 200
        index = self._index(target)
        if action == "_mapping":
            return {index.name: {"mappings": index.definition.given}}, 200
        if action == "_refresh":
            if data:
                raise illegal(f"request [{request.method} {request.path}] does not support having a body")
            index.refresh()
            return {"_shards": {"total": 2, "successful": 1, "failed": 0}}, 200
        if action == "_search":
            return searched(index, _read(request, data) or {}), 200
        return self._by_query(request, action, index, _read(request, data)), 200

    def _about(self) -> dict[str, Any]:
        version = {"number": self.number, "build_flavor": "default", "lucene_version": "9.12.0"}
        more = {"distribution": self.distribution} if self.distribution else {}
        return {"name": "node", "cluster_name": "tests", "version": version | more, "tagline": "You Know, for Search"}

    def _index(self, name: str) -> Index:
        found = [one for one in self.indices.values() if name == one.name or name in one.aliases]
        if not found:
            raise no_index(name)
        return found[0]

    def _of_index(self, method: str, name: str, body: Any) -> tuple[Any, int]:
        if method == "DELETE":
            if name not in self.indices and any(name in one.aliases for one in self.indices.values()):
                raise illegal(
                    f"The provided expression [{name}] matches an alias, specify the concrete indices instead."
                )
            if name not in self.indices:
                raise no_index(name)
            del self.indices[name]
            return {"acknowledged": True}, 200
        if method != "PUT":
            raise Refused("illegal_argument_exception", f"Incorrect HTTP method [{method}]", 405)
        if name in self.indices:
            raise Refused("resource_already_exists_exception", f"index [{name}] already exists")
        self._make(name, body or {})
        return {"acknowledged": True, "shards_acknowledged": True, "index": name}, 200

    def _make(self, name: str, body: Any) -> Index:
        only(body, ("settings", "mappings", "aliases"), "create_index")
        if name != name.lower() or re.search(r'[\\/*?"<>| ,#:]', name) or name[0] in "-_+" or len(name.encode()) > 255:
            raise Refused("invalid_index_name_exception", f"Invalid index name [{name}]")
        aliases = list(body.get("aliases", {}))
        if taken := set(aliases) & set(self.indices):
            raise Refused("invalid_alias_name_exception", f"Invalid alias name [{taken.pop()}]: an index has it")
        index = Index(name, Definition(body.get("mappings", {}), body.get("settings", {})), aliases)
        self.indices[name] = index
        return index

    def _bulk(self, request: web.Request, target: str, data: bytes) -> Any:
        if request.content_type not in ("application/x-ndjson", "application/json"):
            raise Refused("media_type_header_exception", f"Content-Type [{request.content_type}] is not supported", 406)
        if not data.endswith(b"\n"):
            raise illegal("The bulk request must be terminated by a newline [\\n]")
        lines = [json.loads(line) for line in data.split(b"\n")[:-1]]
        if not lines:
            raise Refused("action_request_validation_exception", "Validation Failed: 1: no requests added;")
        alias_alone = request.query.get("require_alias") == "true"
        items, rest = [], iter(lines)
        for action in rest:
            only(action, ("index",), "action")
            only(action["index"], ("_id", "_index", "routing", "require_alias"), "index")
            items.append(self._item(target, alias_alone, action["index"]["_id"], next(rest)))
        if request.query.get("refresh", "false") in ("true", "wait_for", "") and target in self._names():
            self._index(target).refresh()
        return {"took": 1, "errors": any("error" in item["index"] for item in items), "items": items}

    def _names(self) -> set[str]:
        return {name for one in self.indices.values() for name in (one.name, *one.aliases)}

    def _item(self, target: str, alias_alone: bool, id: str, source: Any) -> Any:
        if len(id.encode()) > LONGEST_ID:
            raise Refused("action_request_validation_exception", f"id [{id}] is too long")
        said = {"_index": target, "_id": id}
        try:
            if self.refused_items:
                status, reason = self.refused_items.pop(0)
                raise Refused("es_rejected_execution_exception", reason, status)
            if alias_alone and target not in self._names() - set(self.indices):
                raise Refused(
                    "index_not_found_exception", f"no such index [{target}] and [require_alias] is [true]", 404
                )
            index = self._index(target) if target in self._names() else self._make(target, {})
            new = index.write(id, source)
        except Refused as error:
            return {"index": {**said, "status": error.status, "error": error.error}}
        return {"index": {**said, "result": "created" if new else "updated", "status": 201 if new else 200}}

    def _by_query(self, request: web.Request, action: str, index: Index, body: Any) -> Any:
        only(body, ("query", "max_docs", *(("script",) if action == "_update_by_query" else ())), action)
        if request.query.get("refresh", "false") not in ("true", "false", ""):
            raise illegal("Failed to parse value as only [true] or [false] are allowed.")
        if action == "_delete_by_query" and "query" not in body:
            raise Refused("action_request_validation_exception", "Validation Failed: 1: query is missing;")
        change = _script(body["script"]) if "script" in body else None
        found = [index.visible[id] for id in scored(index, body.get("query", {"match_all": {}}))]
        if self.meanwhile:
            self.meanwhile.pop(0)(index)
        current = [one for one in found if index.live.get(one.id) is one]
        conflicts = len(found) - len(current)
        if conflicts and request.query.get("conflicts") != "proceed":
            raise Refused("version_conflict_engine_exception", "version conflict, current version is different", 409)
        for one in current:
            if change is None:
                index.forget(one.id)
            else:
                index.write(one.id, change(one.source))
        if current and request.query.get("refresh") == "true":
            index.refresh()
        done = {"deleted": len(current)} if change is None else {"updated": len(current)}
        counts = {"total": len(found), "batches": 1, "noops": 0, "version_conflicts": conflicts, "failures": []}
        return {"took": 1, "timed_out": False, **done, **counts}


def _script(given: Any) -> Callable[[Any], Any]:
    """Painless, of which this one knows assignments of a parameter to a part of the document."""
    only(given, ("lang", "source", "params"), "script")
    steps = [re.fullmatch(r"ctx\._source\.([\w.]+) = params\.(\w+)", one.strip()) for one in given["source"].split(";")]
    if given.get("lang", "painless") != "painless" or not all(steps):
        raise Refused("script_exception", "compile error")

    def change(source: Any) -> Any:
        changed = json.loads(json.dumps(source))
        for step in steps:
            assert step is not None
            *way, last = step[1].split(".")
            place = changed
            for name in way:
                place = place[name]
            place[last] = given["params"][step[2]]
        return changed

    return change


def _read(request: web.Request, data: bytes) -> Any:
    if not data:
        return None
    if request.content_type != "application/json":
        raise Refused("media_type_header_exception", f"Content-Type [{request.content_type}] is not supported", 406)
    try:
        return json.loads(data)
    except ValueError as error:
        raise Refused("x_content_parse_exception", str(error)) from error


def _json(body: Any, status: int) -> web.Response:
    return web.json_response(body, status=status, headers={"X-elastic-product": "Elasticsearch"})


@asynccontextmanager
async def serving() -> AsyncIterator[ScriptedElasticsearch]:
    server = ScriptedElasticsearch()
    app = web.Application(client_max_size=MOST_BYTES)
    app.router.add_route("*", "/{path:.*}", server.answer)
    async with on_loopback(app) as server.url:
        yield server


@contextmanager
def in_thread() -> Iterator[ScriptedElasticsearch]:
    with on_a_thread(serving()) as server:
        yield server
