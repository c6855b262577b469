"""A store as an Infinispan cache, and a chunk as one of its entries: JSON, which the server keeps as Protobuf."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from apps.vector_io.filters import Attributes
from apps.vector_io.protocol import Chunk, Place, Store, Vector
from apps.vector_io.providers.remote.infinispan.where import terms
from llamastack.errors import BadRequest

LONGEST_TERM = 32_766  # bytes, Lucene's
LONGEST_ID = 16_000  # bytes, which stand as twice as many digits
MIDDLE = 1 << 63  # makes every position a number without a sign
Entry = Mapping[str, Any]


def cache_prefix(store: Store) -> str:
    told = json.dumps([store.tenant, store.key])
    return f"llamastack-{hashlib.sha256(told.encode()).hexdigest()[:40]}-"


def cache(store: Store) -> str:
    """The dimension is part of the name: it is nowhere to be asked for in a form that is sure."""
    return f"{cache_prefix(store)}{store.dimension}"


def message(dimension: int) -> str:
    return f"llamastack.Chunk{dimension}"


def schema_name(dimension: int) -> str:
    return f"llamastack-chunk-{dimension}.proto"


def schema(dimension: int) -> str:
    """The inner product of vectors of length 1 is their cosine; the engine's own cosine knows no vector of zeros."""
    return f"""syntax = "proto2";
package llamastack;

/**
 * @Indexed
 */
message Chunk{dimension} {{
   /** @Keyword(sortable = true, projectable = true) */
   optional string place = 1;

   /** @Keyword */
   optional string file = 2;

   /** @Keyword */
   repeated string terms = 3;

   /** @Text(analyzer = "standard") */
   optional string content = 4;

   /** @Basic(projectable = true) */
   optional int64 bytes = 5;

   /** @Vector(dimension={dimension}, similarity=MAX_INNER_PRODUCT) */
   repeated float embedding = 6;

   optional string kept = 7;
}}
"""


def configuration(dimension: int) -> dict[str, Any]:
    """The index is made anew of the entries at each start: a server that was killed may have written less of it."""
    return {
        "distributed-cache": {
            "mode": "SYNC",
            "encoding": {"media-type": "application/x-protostream"},
            "indexing": {
                "enabled": True,
                "storage": "filesystem",
                "startup-mode": "REINDEX",
                "indexed-entities": [message(dimension)],
            },
            "persistence": {"file-store": {}},
        }
    }


def key(chunk_id: str) -> str:
    return hashlib.sha256(chunk_id.encode()).hexdigest()


def place(of: Place) -> str:
    """Texts whose order is that of places."""
    position, id = of
    return f"{position + MIDDLE:020d}-{id.encode().hex()}"


def id_at(found: str) -> str:
    return bytes.fromhex(found.partition("-")[2]).decode()


def file(file_id: str) -> str:
    return hashlib.sha256(file_id.encode()).hexdigest()


def check(chunks: Sequence[Chunk]) -> None:
    for number, chunk in enumerate(chunks):
        if len(chunk.id.encode()) > LONGEST_ID:
            raise BadRequest(f"Infinispan keeps ids of at most {LONGEST_ID} bytes.", param=f"chunks[{number}].id")
        check_attributes(chunk.attributes, f"chunks[{number}].attributes")


def check_attributes(given: Attributes, param: str = "attributes") -> None:
    if any(len(term) > LONGEST_TERM for term in terms(given)):
        raise BadRequest(f"Infinispan keeps attributes of at most {LONGEST_ID} bytes.", param=param)


def entry(store: Store, chunk: Chunk, vector: Vector) -> dict[str, Any]:
    kept = {
        "id": chunk.id,
        "file_id": chunk.file_id,
        "filename": chunk.filename,
        "page": chunk.page,
        "position": chunk.position,
        "attributes": dict(chunk.attributes),
        "metadata": chunk.metadata,
    }
    return {
        "_type": message(store.dimension),
        "place": place(chunk.place),
        "file": file(chunk.file_id),
        "terms": terms(chunk.attributes),
        "content": chunk.content,
        "bytes": len(chunk.content.encode()),
        "embedding": vector.tolist(),
        "kept": json.dumps(kept),
    }


def with_attributes(found: Entry, attributes: Attributes) -> dict[str, Any]:
    kept = json.loads(found["kept"]) | {"attributes": dict(attributes)}
    # Protobuf's JSON may have a long number as a text, and what it reads is a number.
    return {**found, "bytes": int(found["bytes"]), "terms": terms(attributes), "kept": json.dumps(kept)}


def chunk(found: Entry, embedding: bool = False) -> Chunk:
    import numpy

    kept = json.loads(found["kept"])
    vector = numpy.asarray(found["embedding"], dtype=numpy.float32) if embedding else None
    return Chunk(content=found.get("content", ""), embedding=vector, **kept)


def cosine(score: float) -> float:
    """Of what Lucene makes of an inner product, so that no score is negative."""
    return min(1.0, score - 1.0 if score >= 1.0 else 1.0 - 1.0 / score)
