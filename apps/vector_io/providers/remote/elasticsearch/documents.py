"""A store as an Elasticsearch index, and a chunk as one of its documents."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from apps.vector_io.filters import Attributes
from apps.vector_io.protocol import Chunk, Store, Vector
from apps.vector_io.providers.remote.elasticsearch.where import FIELD, terms
from llamastack.errors import BadRequest

MOST_NUMBERS = 4096
LONGEST_TERM = 32_766  # bytes, Lucene's
BULK_BYTES = 8 << 20
Document = Mapping[str, Any]
WITHOUT_VECTORS = {"excludes": ["embedding"]}
VECTORS = ["embedding"]  # which newer servers leave out of a document's source


def index(store: Store) -> str:
    """The index, whose name may hold little of a tenant's."""
    told = json.dumps([store.tenant, store.key])
    return f"llamastack-{hashlib.sha256(told.encode()).hexdigest()[:40]}"


def alias(store: Store) -> str:
    """What all but its making and its end goes by: an insertion can demand an alias, and then makes no index."""
    return f"{index(store)}-chunks"


def definition(store: Store) -> dict[str, Any]:
    """Nothing is mapped by what comes (`strict`), and what is only read back is not parsed (`enabled`).

    Whole vectors, as quantized ones have other scores. The inner product of vectors of length 1 is their cosine; the
    engine's own cosine refuses a vector of zeros. An insertion waits for a refresh, which therefore comes often.
    """
    return {
        "settings": {
            "index": {"refresh_interval": "200ms"},
            "analysis": {
                "analyzer": {
                    "words": {
                        "type": "custom",
                        "tokenizer": "standard",
                        "filter": ["lowercase", "asciifolding", "porter_stem"],
                    }
                }
            },
        },
        "mappings": {
            "dynamic": "strict",
            "_meta": {"schema": 1, "tenant": store.tenant, "store": store.key, "dimension": store.dimension},
            "properties": {
                "id": {"type": "keyword"},
                "file_id": {"type": "keyword", "doc_values": False},
                "position": {"type": "long"},
                "bytes": {"type": "long", "index": False},
                "content": {"type": "text", "analyzer": "words"},
                FIELD: {"type": "keyword", "doc_values": False},
                "kept": {"type": "object", "enabled": False},
                "embedding": {
                    "type": "dense_vector",
                    "dims": store.dimension,
                    "index": True,
                    "similarity": "max_inner_product",
                    "index_options": {"type": "hnsw", "m": 16, "ef_construction": 100},
                },
            },
        },
        "aliases": {alias(store): {}},
    }


def bulks(chunks: Sequence[Chunk], vectors: Vector) -> Iterable[bytes]:
    """Bodies of `_bulk`, none much larger than it should be. Of several chunks with one id the last is kept."""
    last = {chunk.id: place for place, chunk in enumerate(chunks)}
    body = bytearray()
    for id, place in last.items():
        body += orjson.dumps({"index": {"_id": document_id(id)}}) + b"\n"
        body += orjson.dumps(_document(chunks[place], vectors[place]), option=orjson.OPT_SERIALIZE_NUMPY) + b"\n"
        if len(body) >= BULK_BYTES:
            yield bytes(body)
            body.clear()
    if body:
        yield bytes(body)


def document_id(chunk_id: str) -> str:
    """A chunk's id may be longer than a document's."""
    return hashlib.sha256(chunk_id.encode()).hexdigest()


def attributes(given: Attributes, param: str = "attributes") -> dict[str, Any]:
    """The two forms of them: terms for filters, and JSON to be read back. Raises BadRequest."""
    found = terms(given)
    for term in found:
        if len(term.encode()) > LONGEST_TERM:
            raise BadRequest(f"Elasticsearch keeps attributes of at most {LONGEST_TERM} bytes.", param=param)
    return {"terms": found, "json": json.dumps(dict(given))}


def check(chunks: Sequence[Chunk]) -> None:
    """Raises BadRequest for what would be refused within an insertion, of which the rest were kept."""
    for place, chunk in enumerate(chunks):
        for name, text in (("id", chunk.id), ("file_id", chunk.file_id)):
            if len(text.encode()) > LONGEST_TERM:
                raise BadRequest(
                    f"Elasticsearch keeps ids of at most {LONGEST_TERM} bytes.", param=f"chunks[{place}].{name}"
                )
        attributes(chunk.attributes, f"chunks[{place}].attributes")


def _document(chunk: Chunk, vector: Vector) -> dict[str, Any]:
    both = attributes(chunk.attributes)
    return {
        "id": chunk.id,
        "file_id": chunk.file_id,
        "position": chunk.position,
        "bytes": len(chunk.content.encode()),
        "content": chunk.content,
        FIELD: both["terms"],
        "kept": {
            "filename": chunk.filename,
            "page": chunk.page,
            "attributes": both["json"],
            "metadata": json.dumps(chunk.metadata),
        },
        "embedding": vector,
    }


def chunk(hit: Document) -> Chunk:
    """A chunk of a search's hit, with its vector where the hit has one."""
    source, kept = hit["_source"], hit["_source"]["kept"]
    return Chunk(
        source["id"],
        source["content"],
        source["file_id"],
        kept["filename"],
        kept["page"],
        source["position"],
        json.loads(kept["attributes"]),
        json.loads(kept["metadata"]),
        _vector(hit),
    )


def _vector(hit: Document) -> Vector | None:
    import numpy

    found = hit.get("fields", {}).get("embedding")
    return None if found is None else numpy.asarray(found, dtype=numpy.float32)


def cosine(score: float) -> float:
    """Of what Elasticsearch makes of an inner product, so that no score is negative."""
    return min(1.0, score - 1.0 if score >= 1.0 else 1.0 - 1.0 / score)
