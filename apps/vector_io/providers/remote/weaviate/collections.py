"""Where chunks stand: a collection a dimension, and in it a tenant of Weaviate's a store.

A tenant is a shard with indexes of its own: no search meets another's objects, and none goes without its name. The
collection's definition is the same for all, and no attribute adds to it.
"""

import hashlib
import re
from typing import Any

from apps.vector_io.protocol import Store

PREFIX = "LlamaStackChunks"
NAME = re.compile(rf"{PREFIX}([1-9][0-9]*)")
MOST_NUMBERS = 65_535  # of a vector: https://docs.weaviate.io/weaviate/concepts/vector-index
EF = 200  # how many candidates a search of the graph follows


def collection(dimension: int) -> str:
    return f"{PREFIX}{dimension}"


def dimension_of(name: str) -> int | None:
    """None for a collection that is no store's."""
    found = NAME.fullmatch(name)
    return int(found[1]) if found else None


def tenant(store: Store) -> str:
    """Weaviate allows 64 letters, digits, - and _: the store's id for who looks there, and what tells all apart."""
    shown = re.sub(r"[^0-9A-Za-z_-]", "_", store.key)[:31]
    own = hashlib.sha256(f"{store.tenant}\0{store.key}".encode()).hexdigest()[:32]
    return f"{shown}-{own}"


def names(store: Store) -> tuple[str, str]:
    """Of its collection, and of its tenant there."""
    return collection(store.dimension), tenant(store)


def definition(dimension: int) -> dict[str, Any]:
    """Vectors come at length 1, so that the dot product is the cosine."""
    return {
        "class": collection(dimension),
        "description": "Chunks of Llama Stack's vector stores, each store a tenant.",
        "vectorizer": "none",
        "vectorIndexType": "hnsw",
        "vectorIndexConfig": {"distance": "dot", "ef": EF},
        "multiTenancyConfig": {"enabled": True, "autoTenantCreation": False, "autoTenantActivation": True},
        "invertedIndexConfig": {"stopwords": {"preset": "none"}},
        "properties": [
            _text("content", "word", searchable=True),
            _text("about", None),
            _text("attributes", None),
            _text("file", "field", filterable=True),
            _text("place", "field", filterable=True),
            _text("words", "field", filterable=True, type="text[]"),
            {"name": "bytes", "dataType": ["int"], "indexFilterable": True},
        ],
    }


def _text(
    name: str, tokenization: str | None, *, filterable: bool = False, searchable: bool = False, type: str = "text"
) -> dict[str, Any]:
    indexes = {"indexFilterable": filterable, "indexSearchable": searchable}
    return {"name": name, "dataType": [type], **indexes} | ({"tokenization": tokenization} if tokenization else {})
