"""The stores of a folder, each a shard of Qdrant's engine in a folder of its own. Used in a process apart."""

import json
import os
import shutil
from collections import Counter, OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import qdrant_edge as edge

from apps.vector_io.providers.inline.qdrant import spoken
from apps.vector_io.providers.inline.qdrant.framed import Missing, OtherDimension
from apps.vector_io.providers.qdrant.fields import EMBEDDING, FIELDS, Condition, Point

MOST_OPEN = 200
MANY = 1000  # points; in fewer a filter is looked for payload by payload, and an index takes a dozen files
PAGE = 10_000  # points read at once
KNOWN = "store.json"  # of a shard's folder: written last, so that what has none was never made
DROPPED = ".dropped"


class Shards:
    """What the methods take and return is JSON. `unsaved` are the open ones that have changed since the last flush."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.unsaved: set[str] = set()
        self._open: OrderedDict[str, edge.EdgeShard] = OrderedDict()
        for left in folder.glob(f"*{DROPPED}"):
            shutil.rmtree(left)

    def create(self, name: str, dimension: int, known: dict[str, Any]) -> None:
        path = self.folder / name
        if (path / KNOWN).exists():
            self.check(name, dimension)
            return
        shutil.rmtree(path, ignore_errors=True)  # of a creation that never ended
        path.mkdir(mode=0o700)
        shard = edge.EdgeShard.create(str(path), spoken.shape(dimension))
        _write(path / KNOWN, json.dumps({**known, "dimension": dimension}))
        self._keep(name, shard)

    def drop(self, name: str) -> None:
        """Another name first: what is half gone is no store."""
        self._close(name)
        path = self.folder / name
        gone = path.with_name(name + DROPPED)
        if path.exists():
            path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def upsert(self, name: str, dimension: int, points: Sequence[Point]) -> None:
        self._update(name, dimension, edge.UpdateOperation.upsert_points([spoken.point(point) for point in points]))
        info = self._shard(name, dimension).info()
        if info.points_count >= MANY and len(info.payload_schema) < len(spoken.INDEXED):
            for operation in spoken.indexes():
                self._update(name, dimension, operation)

    def delete(self, name: str, dimension: int, condition: Condition) -> None:
        self._update(name, dimension, edge.UpdateOperation.delete_points_by_filter(spoken.filter(condition)))

    def describe(self, name: str, dimension: int, condition: Condition, payload: dict[str, Any]) -> None:
        self._update(name, dimension, edge.UpdateOperation.set_payload_by_filter(spoken.filter(condition), payload))

    def search(
        self, name: str, dimension: int, using: str, vector: Any, limit: int, condition: Condition | None
    ) -> list[tuple[Any, float]]:
        request = edge.QueryRequest(
            limit=limit,
            query=edge.Query.Nearest(spoken.vector(vector), using=using),
            filter=None if condition is None else spoken.filter(condition),
            with_payload=FIELDS,
        )
        return [(point.payload, point.score) for point in self._shard(name, dimension).query(request)]

    def read(
        self, name: str, dimension: int, condition: Condition, fields: list[str], vectors: bool
    ) -> list[dict[str, Any]]:
        shard, offset, found = self._shard(name, dimension), None, []
        while True:
            page, offset = shard.scroll(
                edge.ScrollRequest(
                    offset=offset,
                    limit=PAGE,
                    filter=spoken.filter(condition),
                    with_payload=fields,
                    with_vector=[EMBEDDING] if vectors else False,
                )
            )
            found += [{"payload": record.payload, "vector": record.vector} for record in page]
            if offset is None:
                return found

    def count(self, name: str, dimension: int, condition: Condition) -> int:
        return self._shard(name, dimension).count(edge.CountRequest(exact=True, filter=spoken.filter(condition)))

    def sizes(self, name: str, dimension: int) -> list[tuple[int, int]]:
        """There are few lengths of texts that are not alike, and many points: but to count them needs an index."""
        found = self.read(name, dimension, {}, ["bytes"], vectors=False)
        return list(Counter(point["payload"]["bytes"] for point in found).items())

    def flush(self) -> None:
        for name in self.unsaved:
            self._open[name].flush()
        self.unsaved.clear()

    def close(self) -> None:
        for name in list(self._open):
            self._close(name)

    def _update(self, name: str, dimension: int, operation: edge.UpdateOperation) -> None:
        shard = self._shard(name, dimension)
        self.unsaved.add(name)
        shard.update(operation)

    def _shard(self, name: str, dimension: int) -> edge.EdgeShard:
        self.check(name, dimension)
        shard = self._open.get(name)
        if shard is None:
            shard = edge.EdgeShard.load(str(self.folder / name))
            shard.optimize()  # whose removed points take a fifth of the room is written anew
            self._keep(name, shard)
        self._open.move_to_end(name)
        return shard

    def check(self, name: str, dimension: int) -> None:
        try:
            known = json.loads((self.folder / name / KNOWN).read_bytes())
        except FileNotFoundError:
            raise Missing from None
        if known["dimension"] != dimension:
            raise OtherDimension(known["dimension"])

    def _keep(self, name: str, shard: edge.EdgeShard) -> None:
        self._open[name] = shard
        while len(self._open) > MOST_OPEN:
            self._close(next(iter(self._open)))

    def _close(self, name: str) -> None:
        """What it has changed is flushed by that."""
        shard = self._open.pop(name, None)
        self.unsaved.discard(name)
        if shard is not None:
            shard.close()


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    half = path.with_suffix(".half")
    with half.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    half.rename(path)
