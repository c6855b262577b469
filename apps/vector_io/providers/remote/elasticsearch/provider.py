"""Vectors and words in Elasticsearch, an index a store. https://www.elastic.co/docs/api/doc/elasticsearch"""

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
from pydantic import Field, SecretStr, field_validator

from apps.vector_io import checks, ranking
from apps.vector_io.filters import Attributes
from apps.vector_io.protocol import Chunk, Hit, Place, Query, Size, Store, Vector
from apps.vector_io.providers.remote.elasticsearch import documents
from apps.vector_io.providers.remote.elasticsearch.where import FIELD, clause
from apps.vector_io.providers.remote.over_http import RETRY_SECONDS, OverHTTP, told
from apps.vector_io.providers.words import distinct
from llamastack.call import Call
from llamastack.egress.network import RemoteConfig
from llamastack.errors import BadRequest, Conflict, StackError, Unavailable, UpstreamError, UpstreamRejected
from llamastack.providers import ProviderUnavailable

OLDEST = (8, 16)
MOST_HITS = 10_000  # of one search, and candidates of a graph: Elasticsearch's own limits
CANDIDATES = 300  # at least, of a graph
PAGE = 500  # documents that are asked for at once where all are
MOST_IDS = 10_000
ATTEMPTS = 10  # where others write the same documents meanwhile
SHOWN = 300
BULK = {"Content-Type": "application/x-ndjson"}
SETTING = f"ctx._source.{FIELD} = params.terms; ctx._source.kept.attributes = params.json"


class ElasticsearchConfig(RemoteConfig):
    elasticsearch_url: str = Field(
        "localhost:9200", description="Where Elasticsearch 8.16 or later is; http where no scheme is named"
    )
    elasticsearch_api_key: SecretStr | None = Field(
        None, description="The encoded API key. It needs manage, read and write on the indices llamastack-*"
    )
    persistence: dict[str, Any] | None = Field(
        None, description="Where Llama Stack keeps what it knows of a store. Here that is the store's index."
    )

    @field_validator("elasticsearch_url", mode="before")
    @classmethod
    def an_address(cls, value: Any) -> Any:
        """Empty, as a variable that is not set leaves it, is the usual one."""
        if value is None or value == "":
            return "http://localhost:9200"
        if not isinstance(value, str):
            return value
        url = value.strip().rstrip("/")
        return url if url.startswith(("http://", "https://")) else f"http://{url}"

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        return {"elasticsearch_url": "https://localhost:9200", "elasticsearch_api_key": "key"}


class Elasticsearch(OverHTTP):
    config_class = ElasticsearchConfig

    def address(self) -> str:
        url: str = self.config.elasticsearch_url
        return url if "://" in url else f"http://{url}"

    def credentials(self) -> dict[str, str]:
        key = self.config.elasticsearch_api_key
        return {"Authorization": f"ApiKey {key.get_secret_value()}"} if key and key.get_secret_value() else {}

    async def greet(self) -> None:
        """A key that may use indices need not be one that may ask for the version: that server is taken as it is."""
        try:
            answer = await self.egress.get("")
        except UpstreamRejected as error:
            if error.status == 403:
                return
            raise
        version = answer.get("version") if isinstance(answer, dict) else None
        number = version.get("number") if isinstance(version, dict) else None
        if not isinstance(version, dict) or not isinstance(number, str) or version.get("distribution"):
            raise ProviderUnavailable(f"What answers at {self.egress.address} is no Elasticsearch.")
        if _release(number) < OLDEST:
            raise ProviderUnavailable(f"Elasticsearch 8.16 or later is needed, and this one is {number[:SHOWN]}.")

    async def create_store(self, call: Call, store: Store) -> None:
        if store.dimension > documents.MOST_NUMBERS:
            raise BadRequest(
                f"Elasticsearch keeps vectors of at most {documents.MOST_NUMBERS} numbers.", param="embedding_dimension"
            )
        try:
            await self._send("PUT", documents.index(store), documents.definition(store))
        except UpstreamRejected as error:  # for it is there, or for another reason
            found = await self._dimension(store) if error.status == 400 else None
            if found is None:
                raise
            if found != store.dimension:
                raise Conflict(f"The vector store '{store.key}' has vectors of {found} numbers.") from error

    async def drop_store(self, call: Call, store: Store) -> None:
        try:
            await self._send("DELETE", documents.index(store))
        except UpstreamRejected as error:
            if error.status != 404:
                raise

    async def insert(self, call: Call, store: Store, chunks: Sequence[Chunk]) -> None:
        """All are in one shard, whose refresh shows what was sent before too: the last part waits for it."""
        vectors = checks.vectors(store, chunks)
        documents.check(chunks)
        bodies = await asyncio.to_thread(list, documents.bulks(chunks, vectors))
        if not bodies:
            await self._there(store)
        for place, body in enumerate(bodies, 1):
            await self._bulk(store, body, "wait_for" if place == len(bodies) else "false")

    async def _bulk(self, store: Store, body: bytes, refresh: str) -> None:
        path = f"{documents.alias(store)}/_bulk?require_alias=true&refresh={refresh}"
        with told():
            answer = await self.egress.post(path, body, BULK)
        if not answer["errors"]:
            return
        failed = [item["index"] for item in answer["items"] if "error" in item["index"]]
        raise await self._failed(store, failed[0]["status"], failed[0]["error"].get("reason") or "")

    async def _failed(self, store: Store, status: int, reason: str) -> StackError:
        """What it means that a document was not kept, of which others may have been."""
        if status == 404:
            return checks.missing(store)
        if status == 400 and (other := await self._other(store)):
            return other
        message = f"Provider '{self.provider_id}' did not keep a chunk ({status}): {reason[:SHOWN]}"
        return UpstreamError(message) if status == 400 else Unavailable(message, retry_after=RETRY_SECONDS)

    async def delete(
        self, call: Call, store: Store, *, chunk_ids: Sequence[str] = (), file_id: str | None = None
    ) -> int:
        wanted: list[dict[str, Any]] = [] if file_id is None else [{"term": {"file_id": {"value": file_id}}}]
        ids = [documents.document_id(id) for id in dict.fromkeys(chunk_ids)]
        wanted += [{"ids": {"values": ids[begin : begin + MOST_IDS]}} for begin in range(0, len(ids), MOST_IDS)]
        if not wanted:
            await self._there(store)
        counts = [await self._by_query(store, "_delete_by_query", {"query": query}) for query in wanted]
        return sum(counts)

    async def set_attributes(self, call: Call, store: Store, file_id: str, attributes: Attributes) -> None:
        checks.attributes(attributes)
        script = {"lang": "painless", "source": SETTING, "params": documents.attributes(attributes)}
        query = {"term": {"file_id": {"value": file_id}}}
        await self._by_query(store, "_update_by_query", {"query": query, "script": script})

    async def _by_query(self, store: Store, name: str, body: dict[str, Any]) -> int:
        """How many were deleted. What was written meanwhile is left out, and so sought once more."""
        count = 0
        for _ in range(ATTEMPTS):
            answer = await self._ask(store, f"{name}?conflicts=proceed&refresh=true", body)
            count += int(answer.get("deleted", 0))
            if answer["failures"] or answer["timed_out"]:
                reason = str(answer["failures"] or "it took too long")[:SHOWN]
                raise Unavailable(f"Provider '{self.provider_id}' did not come to an end: {reason}")
            if not answer["version_conflicts"]:
                return count
            await self._send("POST", f"{documents.alias(store)}/_refresh")
        raise Conflict("These chunks are being written by others at once; try again.")

    async def query(self, call: Call, store: Store, query: Query) -> list[Hit]:
        vector = checks.query(store, query)
        several = min(MOST_HITS, query.candidates)
        near, worded = await asyncio.gather(
            self._nearest(store, query, vector, several), self._worded(store, query, several)
        )
        near_scores = {id: documents.cosine(hit["_score"]) for id, hit in near.items()}
        word_scores = {id: ranking.squashed(hit["_score"]) for id, hit in worded.items()}
        hits = {**near, **worded}
        return [Hit(documents.chunk(hits[id]), score) for id, score in query.best(near_scores, word_scores)]

    async def _nearest(self, store: Store, query: Query, vector: Vector | None, limit: int) -> dict[str, Any]:
        if vector is None:
            return {}
        knn = {
            "field": "embedding",
            "query_vector": vector.tolist(),
            "k": limit,
            "num_candidates": min(MOST_HITS, max(10 * limit, CANDIDATES)),
            **({"filter": clause(query.filter)} if query.filter else {}),
        }
        return await self._found(store, query, {"knn": knn, "size": limit})

    async def _worded(self, store: Store, query: Query, limit: int) -> dict[str, Any]:
        if query.mode == "vector" or query.text is None:
            return {}
        words = {"match": {"content": {"query": " ".join(distinct(query.text))}}}
        kept = {"filter": [clause(query.filter)]} if query.filter else {}
        return await self._found(store, query, {"query": {"bool": {"must": [words], **kept}}, "size": limit})

    async def _found(self, store: Store, query: Query, body: dict[str, Any]) -> dict[str, Any]:
        """The hits by their chunks' ids."""
        body |= {"_source": documents.WITHOUT_VECTORS, "track_total_hits": False}
        if query.embeddings:
            body["fields"] = documents.VECTORS
        hits = await self._search(store, body)
        return {hit["_source"]["id"]: hit for hit in hits["hits"]["hits"]}

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
        found: list[Chunk] = []
        while (wanted := min(PAGE, limit - len(found))) > 0:
            begin = found[-1].place if found else after
            body = {
                "query": {"term": {"file_id": {"value": file_id}}},
                "sort": [{"position": "asc"}, {"id": "asc"}],
                "size": wanted,
                "_source": documents.WITHOUT_VECTORS,
                "track_total_hits": False,
                **({"fields": documents.VECTORS} if embeddings else {}),
                **({"search_after": list(begin)} if begin else {}),
            }
            hits = (await self._search(store, body))["hits"]["hits"]
            found += [documents.chunk(hit) for hit in hits]
            if len(hits) < wanted:
                break
        return found

    async def size(self, call: Call, store: Store) -> Size:
        body = {"size": 0, "track_total_hits": True, "aggs": {"bytes": {"sum": {"field": "bytes"}}}}
        answer = await self._search(store, body)
        count = int(answer["hits"]["total"]["value"])
        return Size(count, int(answer["aggregations"]["bytes"]["value"]) + count * store.dimension * 4)

    async def _search(self, store: Store, body: dict[str, Any]) -> Any:
        return await self._ask(store, "_search?allow_partial_search_results=false", body)

    async def _ask(self, store: Store, path: str, body: dict[str, Any]) -> Any:
        """The answer of the store's index. Raises NotFound, and BadRequest where its vectors are of other lengths."""
        try:
            with told():
                return await self.egress.post(f"{documents.alias(store)}/{path}", body)
        except UpstreamRejected as error:
            if error.status == 404:
                raise checks.missing(store) from error
            if error.status == 400 and (other := await self._other(store)):
                raise other from error
            raise

    async def _other(self, store: Store) -> StackError | None:
        """The error of a vector that the index cannot have, as it is of another dimension."""
        found = await self._dimension(store)
        if found in (None, store.dimension):
            return None
        return BadRequest(f"This vector store has vectors of {found} numbers.")

    async def _there(self, store: Store) -> None:
        if await self._dimension(store) is None:
            raise checks.missing(store)

    async def _dimension(self, store: Store) -> int | None:
        """That of the store's index; None where there is none."""
        try:
            with told():
                answer = await self.egress.get(f"{documents.alias(store)}/_mapping")
        except UpstreamRejected as error:
            if error.status == 404:
                return None
            raise
        [found] = answer.values()
        dimension: int = found["mappings"]["properties"]["embedding"]["dims"]
        return dimension

    async def _send(self, method: str, path: str, body: Any = None) -> None:
        sent = {"Content-Type": "application/json"} if body else {}
        with told():
            await self.egress.whole(method, path, orjson.dumps(body) if body else None, sent)


def _release(number: str) -> tuple[int, int]:
    """The first two numbers of a version; what has none is older than any."""
    major, minor, *_ = [*number.split("."), "0", "0"]
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else (0, 0)
