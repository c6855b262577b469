"""Searches by GraphQL, which every self-hosted Weaviate answers. https://docs.weaviate.io/weaviate/api/graphql"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apps.vector_io.providers.remote.weaviate.answers import Off, a_list, an_object, failed, first_message
from llamastack.egress import Egress
from llamastack.errors import UpstreamRejected

BARE = ("operator", "order")  # GraphQL's enums: a name, and no text
REFUSED = 400  # as egress tells of 422, too


@dataclass(frozen=True, slots=True)
class GraphQL:
    egress: Egress
    headers: Mapping[str, str]

    async def get(
        self,
        collection: str,
        tenant: str,
        arguments: Mapping[str, Any],
        properties: Sequence[str],
        additional: Sequence[str],
    ) -> list[dict[str, Any]]:
        fields = " ".join([*properties, f"_additional {{ {' '.join(additional)} }}"])
        found = await self._asked("Get", collection, {"tenant": tenant, **arguments}, fields)
        return [an_object(self.egress, each) for each in found]

    async def size(self, collection: str, tenant: str, property: str) -> tuple[int, int]:
        fields = f"meta {{ count }} {property} {{ sum }}"
        [found] = await self._asked("Aggregate", collection, {"tenant": tenant}, fields)
        return int(found["meta"]["count"]), int((found.get(property) or {}).get("sum") or 0)

    async def check(self, collection: str) -> None:
        """Of the collections, GraphQL's schema is made: there must be one."""
        await self._query("{ __typename }")

    async def _asked(
        self, function: str, collection: str, arguments: Mapping[str, Any], fields: str
    ) -> list[dict[str, Any]]:
        given = ", ".join(f"{name}: {literal(value, name)}" for name, value in arguments.items())
        data = await self._query(f"{{ {function} {{ {collection}({given}) {{ {fields} }} }} }}")
        return a_list(self.egress, an_object(self.egress, data.get(function)).get(collection))

    async def _query(self, query: str) -> dict[str, Any]:
        try:
            answer = an_object(self.egress, await self.egress.post("v1/graphql", {"query": query}, self.headers))
        except UpstreamRejected as error:
            if error.status not in (REFUSED, 404):
                raise
            raise Off(error.message) from error
        if errors := answer.get("errors"):
            raise failed(self.egress, first_message(errors))
        return an_object(self.egress, answer.get("data"))


def literal(value: Any, name: str = "") -> str:
    """A value as GraphQL writes it: JSON, but for names, which stand bare."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {literal(each, key)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(literal(each, name) for each in value) + "]"
    return str(value) if name in BARE else json.dumps(value, ensure_ascii=False)
