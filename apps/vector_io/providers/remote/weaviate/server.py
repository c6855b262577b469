"""What is asked of Weaviate, over its REST and GraphQL APIs. https://docs.weaviate.io/weaviate/api

Weaviate tells of many errors in answers of status 200: of objects of a batch that it has not kept, of searches that
failed. Each is raised here.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from llamastack.egress import Egress
from llamastack.egress.client import IS_JSON
from llamastack.errors import Unavailable, UpstreamError, UpstreamRejected

BARE = ("operator", "order")  # GraphQL's enums: a name, and no text
NO_ROOM = (400, 422)


class Failed(UpstreamError):
    """Weaviate's word, in an answer of status 200, that it has not done what was asked."""


@dataclass(frozen=True, slots=True)
class Server:
    """One call's way to it: `headers` are its caller's own key."""

    egress: Egress
    headers: Mapping[str, str]

    async def collections(self) -> list[str]:
        """The names of those that have tenants."""
        answer = await self.egress.get("v1/schema", self.headers)
        return [each["class"] for each in self._list(self._object(answer).get("classes")) if has_tenants(each)]

    async def collection(self, name: str) -> dict[str, Any] | None:
        try:
            return self._object(await self.egress.get(f"v1/schema/{name}", self.headers))
        except UpstreamRejected as error:
            if error.status != 404:
                raise
            return None

    async def create_collection(self, definition: Mapping[str, Any]) -> None:
        await self.egress.post("v1/schema", definition, self.headers)

    async def has_tenant(self, collection: str, tenant: str) -> bool:
        """Raises UpstreamRejected where there is no such collection."""
        try:
            await self.egress.get(f"v1/schema/{collection}/tenants/{tenant}", self.headers)
        except UpstreamRejected as error:
            if error.status != 404:
                raise
            return False
        return True

    async def create_tenant(self, collection: str, tenant: str) -> None:
        await self.egress.post(f"v1/schema/{collection}/tenants", [{"name": tenant}], self.headers)

    async def delete_tenant(self, collection: str, tenant: str) -> None:
        await self._sent("DELETE", f"v1/schema/{collection}/tenants", [tenant])

    async def put(self, objects: Sequence[Mapping[str, Any]]) -> None:
        """Raises Failed where one of them was not kept."""
        answer = await self.egress.post("v1/batch/objects", {"objects": objects}, self.headers)
        results = [self._object(self._object(each).get("result")) for each in self._list(answer)]
        for result in results:
            if result.get("errors") or result.get("status", "SUCCESS") != "SUCCESS":
                raise self._failed((result.get("errors") or {}).get("error"))
        if len(results) != len(objects):
            raise self._nonsense()

    async def change(self, collection: str, tenant: str, id: str, properties: Mapping[str, Any]) -> None:
        """Of an object, which keeps its other properties and its vector. Nothing where there is none."""
        body = {"class": collection, "id": id, "tenant": tenant, "properties": properties}
        try:
            await self._sent("PATCH", f"v1/objects/{collection}/{id}", body)
        except UpstreamRejected as error:
            if error.status != 404:
                raise

    async def delete(self, collection: str, tenant: str, where: Mapping[str, Any]) -> int:
        """How many there were. One request deletes so many at most, and tells how many it has found."""
        deleted = 0
        while True:
            body = {"match": {"class": collection, "where": where}, "output": "minimal"}
            answer = await self._sent("DELETE", f"v1/batch/objects?tenant={tenant}", body)
            results = self._object(self._object(orjson.loads(answer)).get("results"))
            deleted += int(results.get("successful", 0))
            if results.get("failed"):
                raise self._failed([{"message": f"{results['failed']} objects could not be deleted"}])
            if not results.get("successful") or results.get("matches", 0) < results.get("limit", 0):
                return deleted

    async def get(
        self, collection: str, tenant: str, arguments: Mapping[str, Any], fields: str
    ) -> list[dict[str, Any]]:
        """The objects that a search finds, in its order, with the fields asked for."""
        found = await self._graphql("Get", collection, {"tenant": tenant, **arguments}, fields)
        return [self._object(each) for each in found]

    async def aggregate(self, collection: str, tenant: str, fields: str) -> dict[str, Any]:
        found = await self._graphql("Aggregate", collection, {"tenant": tenant}, fields)
        return self._object(found[0] if found else None)

    async def answers_graphql(self) -> None:
        """Raises Unavailable where it does not. There must be a collection."""
        await self._query("{ __typename }")

    async def _graphql(
        self, function: str, collection: str, arguments: Mapping[str, Any], fields: str
    ) -> list[dict[str, Any]]:
        given = ", ".join(f"{name}: {literal(value, name)}" for name, value in arguments.items())
        data = await self._query(f"{{ {function} {{ {collection}({given}) {{ {fields} }} }} }}")
        return self._list(self._object(data.get(function)).get(collection))

    async def _query(self, query: str) -> dict[str, Any]:
        try:
            answer = self._object(await self.egress.post("v1/graphql", {"query": query}, self.headers))
        except UpstreamRejected as error:
            if error.status not in NO_ROOM:
                raise
            raise Unavailable(
                f"{error.message.rstrip('.')}. Vectors are searched by Weaviate's GraphQL API alone: where it is off, "
                "as in new clusters of Weaviate Cloud, no store can be kept. Leave DISABLE_GRAPHQL unset on a server "
                "of your own."
            ) from error
        if errors := answer.get("errors"):
            raise self._failed(errors)
        return self._object(answer.get("data"))

    async def _sent(self, method: str, path: str, body: Any) -> bytes:
        _, answer = await self.egress.whole(method, path, orjson.dumps(body), {**self.headers, **IS_JSON})
        return answer

    def _failed(self, errors: Any) -> Failed:
        told = errors[0] if isinstance(errors, list) and errors else {}
        message = told.get("message") if isinstance(told, dict) else None
        return Failed(f"{self.egress.upstream} failed: {str(message or 'it does not say why')[:500]}")

    def _nonsense(self) -> UpstreamError:
        return UpstreamError(f"{self.egress.upstream} answered with something that Weaviate does not.")

    def _object(self, given: Any) -> dict[str, Any]:
        if not isinstance(given, dict):
            raise self._nonsense()
        return given

    def _list(self, given: Any) -> list[Any]:
        if not isinstance(given, list):
            raise self._nonsense()
        return given


def has_tenants(collection: Mapping[str, Any]) -> bool:
    return bool((collection.get("multiTenancyConfig") or {}).get("enabled"))


def literal(value: Any, name: str = "") -> str:
    """A value as GraphQL writes it: JSON, but for names, which stand bare."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {literal(each, key)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(literal(each, name) for each in value) + "]"
    return str(value) if name in BARE else json.dumps(value, ensure_ascii=False)
