"""What is asked of Weaviate: its REST API, and what searches. https://docs.weaviate.io/weaviate/api

Weaviate tells of many errors in answers of status 200: of objects of a batch that it has not kept, of searches that
failed. Each is raised here.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson

from apps.vector_io.providers.remote.weaviate.answers import Off, a_list, an_object, failed, first_message, nonsense
from apps.vector_io.providers.remote.weaviate.graphql import GraphQL
from apps.vector_io.providers.remote.weaviate.grpc_web import GRPCWeb
from llamastack.egress import Egress
from llamastack.egress.client import IS_JSON
from llamastack.errors import Unavailable, UpstreamRejected

T = TypeVar("T")
Way = type[GraphQL] | type[GRPCWeb]
WAYS: tuple[Way, ...] = (GraphQL, GRPCWeb)


@dataclass(frozen=True, slots=True)
class Server:
    """One call's way to it: `headers` are its caller's own key. Of the `ways` to search the first is what worked."""

    egress: Egress
    headers: Mapping[str, str]
    ways: list[Way]

    async def collections(self) -> list[str]:
        """The names of those that have tenants."""
        answer = an_object(self.egress, await self.egress.get("v1/schema", self.headers))
        return [each["class"] for each in a_list(self.egress, answer.get("classes")) if has_tenants(each)]

    async def collection(self, name: str) -> dict[str, Any] | None:
        try:
            return an_object(self.egress, await self.egress.get(f"v1/schema/{name}", self.headers))
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
        answer = a_list(self.egress, await self.egress.post("v1/batch/objects", {"objects": objects}, self.headers))
        results = [an_object(self.egress, an_object(self.egress, each).get("result")) for each in answer]
        for result in results:
            if result.get("errors") or result.get("status", "SUCCESS") != "SUCCESS":
                raise failed(self.egress, first_message((result.get("errors") or {}).get("error")))
        if len(results) != len(objects):
            raise nonsense(self.egress)

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
            answer = orjson.loads(await self._sent("DELETE", f"v1/batch/objects?tenant={tenant}", body))
            results = an_object(self.egress, an_object(self.egress, answer).get("results"))
            deleted += int(results.get("successful", 0))
            if results.get("failed"):
                raise failed(self.egress, f"{results['failed']} objects could not be deleted")
            if not results.get("successful") or results.get("matches", 0) < results.get("limit", 0):
                return deleted

    async def get(
        self,
        collection: str,
        tenant: str,
        arguments: Mapping[str, Any],
        properties: Sequence[str],
        additional: Sequence[str],
    ) -> list[dict[str, Any]]:
        """The objects that a search finds, in its order, with the properties asked for."""
        return await self._searched(lambda way: way.get(collection, tenant, arguments, properties, additional))

    async def size(self, collection: str, tenant: str, property: str) -> tuple[int, int]:
        """How many objects there are, and the sum of a property."""
        return await self._searched(lambda way: way.size(collection, tenant, property))

    async def can_be_searched(self, collection: str) -> None:
        """Raises Unavailable where it can not."""
        await self._searched(lambda way: way.check(collection))

    async def _searched(self, work: Callable[[GraphQL | GRPCWeb], Awaitable[T]]) -> T:
        refusals = []
        for way in tuple(self.ways):
            try:
                found = await work(way(self.egress, self.headers))
            except Off as off:
                refusals.append(off.message.rstrip("."))
                continue
            self.ways.sort(key=lambda each: each is not way)
            return found
        raise Unavailable(
            f"Weaviate can be searched neither by GraphQL nor by gRPC-Web: {'; '.join(refusals)}. Leave "
            "DISABLE_GRAPHQL unset there, or use Weaviate 1.38.3 or later."
        )

    async def _sent(self, method: str, path: str, body: Any) -> bytes:
        _, answer = await self.egress.whole(method, path, orjson.dumps(body), {**self.headers, **IS_JSON})
        return answer


def has_tenants(collection: Mapping[str, Any]) -> bool:
    return bool((collection.get("multiTenancyConfig") or {}).get("enabled"))
