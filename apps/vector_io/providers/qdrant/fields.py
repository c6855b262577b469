"""What a point has: its vectors, its payload's fields and their indexes. Imported by the engine's process: little."""

from collections.abc import Mapping
from typing import Any

EMBEDDING, WORDS = "embedding", "words"  # vectors
FIELDS = ["id", "content", "file_id", "filename", "page", "position", "attributes", "metadata"]
PLACE = ["id", "position"]
INDEXES: dict[str, dict[str, Any]] = {
    "file_id": {"type": "keyword"},
    "position": {"type": "integer", "lookup": False, "range": True},
    "bytes": {"type": "integer", "lookup": True, "range": False},
    "matched": {"type": "keyword"},
}
Point = dict[str, Any]
Payload = Mapping[str, Any]
Condition = dict[str, Any]
