"""Vectors and words in Infinispan, a cache a store. https://infinispan.org/docs/stable/titles/rest/rest.html"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Literal

import orjson
from pydantic import Field, SecretStr, field_validator

from apps.vector_io import checks, ranking
from apps.vector_io.filters import Attributes, Filter
from apps.vector_io.protocol import Chunk, Hit, Place, Query, Size, Store, Vector
from apps.vector_io.providers.remote.infinispan import entries
from apps.vector_io.providers.remote.infinispan.asking import IS_JSON, IS_TEXT, SHOWN, Asking, each
from apps.vector_io.providers.remote.infinispan.where import condition
from apps.vector_io.providers.remote.over_http import told
from apps.vector_io.providers.words import distinct
from llamastack.call import Call
from llamastack.egress.network import NetworkConfig, RemoteConfig, TLSConfig
from llamastack.errors import Conflict, Unavailable, UpstreamRejected

MOST_HITS = 10_000
PAGE = 500  # chunks that are asked for at once where all are
ROWS = 5000  # of two short fields


class InfinispanConfig(RemoteConfig):
    url: str = Field("http://localhost:11222/", description="Where Infinispan 15 or later is")
    username: str | None = None
    password: SecretStr | None = None
    use_https: bool = Field(False, description="Reach it by https, whatever the address says")
    auth_mechanism: Literal["digest", "basic"] = Field("digest", description="How the password is proven")
    verify_tls: bool = Field(True, description="OGX's name of network.tls.verify, where that says nothing")
    persistence: dict[str, Any] | None = Field(
        None, description="Where OGX keeps what it knows of a store. Here that is the store's cache."
    )

    @field_validator("url")
    @classmethod
    def an_address(cls, value: str) -> str:
        """The text is not repeated: it may hold a password."""
        if not value.startswith(("http://", "https://")):
            raise ValueError("this is no address of a server: write https://host:11222")
        return value.rstrip("/")

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        return {"url": "http://localhost:11222/", "username": "admin", "password": "secret"}


class Infinispan(Asking):
    config_class = InfinispanConfig

    def address(self) -> str:
        url: str = self.config.url.rstrip("/")
        return url.replace("http://", "https://", 1) if self.config.use_https else url

    def section(self) -> NetworkConfig | None:
        network = super().section()
        tls = (network and network.tls) or TLSConfig()
        if self.config.verify_tls or "verify" in tls.model_fields_set:
            return network
        return (network or NetworkConfig()).model_copy(update={"tls": tls.model_copy(update={"verify": False})})

    async def create_store(self, call: Call, store: Store) -> None:
        with told():
            await self._apart(store)
            await self._described(store.dimension)
            body = orjson.dumps(entries.configuration(store.dimension))
            try:
                await self.send("POST", f"rest/v2/caches/{entries.cache(store)}", body, IS_JSON)
            except UpstreamRejected:  # as another was first, or for a reason that is told
                if entries.cache(store) not in await self._caches():
                    raise

    async def _described(self, dimension: int) -> None:
        """The entries' schema is there. One that is there is left as it is: who has used it would begin anew."""
        path, schema = f"rest/v2/schemas/{entries.schema_name(dimension)}", entries.schema(dimension).encode()
        try:
            if await self.send("GET", path, None, {"Accept": "text/plain"}) == schema:
                return
        except UpstreamRejected as error:
            if error.status != 404:
                raise
        answer = orjson.loads(await self.send("PUT", path, schema, IS_TEXT))
        if answer["error"]:
            raise Unavailable(f"Provider '{self.provider_id}' did not take its schema: {str(answer['error'])[:SHOWN]}")

    async def _caches(self) -> list[str]:
        names: list[str] = await self.json("GET", "rest/v2/caches")
        return names

    async def _apart(self, store: Store) -> None:
        """Raises Conflict for a store that is there with another dimension."""
        for name in await self._caches():
            dimension = name.removeprefix(entries.cache_prefix(store))
            if dimension != name and dimension != str(store.dimension):
                raise Conflict(f"The vector store '{store.key}' has vectors of {dimension} numbers.")

    async def drop_store(self, call: Call, store: Store) -> None:
        try:
            with told():
                await self.send("DELETE", f"rest/v2/caches/{entries.cache(store)}", None, {})
        except UpstreamRejected as error:
            if error.status != 404:
                raise

    async def insert(self, call: Call, store: Store, chunks: Sequence[Chunk]) -> None:
        """Each is an entry, and of several with one id the last is kept."""
        vectors = checks.vectors(store, chunks)
        entries.check(chunks)
        last = {chunk.id: place for place, chunk in enumerate(chunks)}
        if not last:
            await self.count(store)  # which tells whether there is a store
        await each(last.values(), lambda place: self._put(store, entries.entry(store, chunks[place], vectors[place])))

    async def _put(self, store: Store, entry: Mapping[str, Any]) -> None:
        key = entries.key(entries.id_at(entry["place"]))
        await self.of_cache(store, lambda cache: self.send("PUT", f"{cache}/{key}", orjson.dumps(entry), IS_JSON))

    async def delete(
        self, call: Call, store: Store, *, chunk_ids: Sequence[str] = (), file_id: str | None = None
    ) -> int:
        await self.count(store)  # for what is not there is told alike of a cache and of an entry
        gone = await each(dict.fromkeys(chunk_ids), lambda id: self._remove(store, id))
        if file_id is not None:
            query = f"select i.place from {_message(store)} where i.file = '{entries.file(file_id)}'"
            while found := await self.search(store, query, ROWS):
                removed = await each(found, lambda hit: self._remove(store, entries.id_at(hit["place"])))
                gone += removed
                if not any(removed):
                    break
        return sum(gone)

    async def _remove(self, store: Store, id: str) -> bool:
        """Whether it was there."""
        try:
            with told():
                await self.send("DELETE", f"rest/v2/caches/{entries.cache(store)}/{entries.key(id)}", None, {})
        except UpstreamRejected as error:
            if error.status != 404:
                raise
            return False
        return True

    async def query(self, call: Call, store: Store, query: Query) -> list[Hit]:
        vector = checks.query(store, query)
        several = min(MOST_HITS, query.candidates)
        near, worded = await asyncio.gather(
            self._nearest(store, vector, several, query.filter), self._worded(store, query, several)
        )
        near_scores = {id: entries.cosine(hit["score()"]) for id, hit in near.items()}
        word_scores = {id: ranking.squashed(hit["score()"]) for id, hit in worded.items()}
        hits = {**near, **worded}
        return [
            Hit(entries.chunk(hits[id]["*"], query.embeddings), score)
            for id, score in query.best(near_scores, word_scores)
        ]

    async def _nearest(self, store: Store, vector: Vector | None, limit: int, filter: Filter | None) -> dict[str, Any]:
        if vector is None:
            return {}
        numbers = ",".join(f"{number:.9f}" for number in vector.tolist())
        kept = f" filtering {condition(filter)}" if filter else ""
        return await self._found(store, f"i.embedding <-> [{numbers}]~{limit}{kept}", limit)

    async def _worded(self, store: Store, query: Query, limit: int) -> dict[str, Any]:
        if query.mode == "vector" or query.text is None:
            return {}
        words = distinct(query.text)
        if not words:
            await self.count(store)  # which tells whether there is a store
            return {}
        any_of = " or ".join(f"i.content : '{word}'" for word in words)
        kept = f" and {condition(query.filter)}" if query.filter else ""
        return await self._found(store, f"({any_of}){kept}", limit)

    async def _found(self, store: Store, where: str, limit: int) -> dict[str, Any]:
        """The hits by the ids of their chunks."""
        hits = await self.search(store, f"select score(i), i from {_message(store)} where {where}", limit)
        return {entries.id_at(hit["*"]["place"]): hit for hit in hits}

    async def chunks(
        self,
        call: Call,
        store: Store,
        file_id: str,
        *,
        after: Place | None = None,
        limit: int = 100,
        embeddings: bool = False,
    ) -> list[Chunk]:
        begin = entries.place(after) if after else ""
        return [entries.chunk(found, embeddings) async for found in self._of_file(store, file_id, begin, limit)]

    async def set_attributes(self, call: Call, store: Store, file_id: str, attributes: Attributes) -> None:
        checks.attributes(attributes)
        entries.check_attributes(attributes)
        found = [one async for one in self._of_file(store, file_id)]
        await each(found, lambda one: self._put(store, entries.with_attributes(one, attributes)))

    async def _of_file(
        self, store: Store, file_id: str, begin: str = "", limit: int | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """A file's entries by their places, from the one behind `begin`."""
        count = 0
        while limit is None or count < limit:
            most = PAGE if limit is None else min(PAGE, limit - count)
            behind = f" and i.place > '{begin}'" if begin else ""
            where = f"where i.file = '{entries.file(file_id)}'{behind} order by i.place"
            found = await self.search(store, f"from {_message(store)} {where}", most)
            for one in found:
                yield one
            count += len(found)
            if len(found) < most:
                return
            begin = found[-1]["place"]

    async def size(self, call: Call, store: Store) -> Size:
        count = bytes = 0
        begin = ""
        while True:
            behind = f" where i.place > '{begin}'" if begin else ""
            query = f"select i.place, i.bytes from {_message(store)}{behind} order by i.place"
            found = await self.search(store, query, ROWS)
            count += len(found)
            bytes += sum(int(hit["bytes"]) for hit in found)
            if len(found) < ROWS:
                return Size(count, bytes + count * store.dimension * 4)
            begin = found[-1]["place"]


def _message(store: Store) -> str:
    """What queries are about, as `i`."""
    return f"{entries.message(store.dimension)} i"
