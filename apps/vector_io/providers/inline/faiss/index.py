"""A store's vectors in memory, at half their precision, in a faiss index that compares all of them.

What it finds are candidates: their exact scores come from the vectors in the store's file.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import faiss
import numpy

from apps.vector_io.filters import Attributes, Filter, matches
from apps.vector_io.protocol import Vector

LEAST_DEAD = 1000  # rows of removed chunks, before the others are moved together


class Gate:
    """Searches pass together, and a change alone. Those who come later let it pass."""

    def __init__(self) -> None:
        self._inside = 0
        self._waiting = False
        self._turn = threading.Condition()

    @contextmanager
    def together(self) -> Iterator[None]:
        with self._turn:
            self._turn.wait_for(lambda: not self._waiting)
            self._inside += 1
        try:
            yield
        finally:
            with self._turn:
                self._inside -= 1
                self._turn.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """For one thread at a time."""
        with self._turn:
            self._waiting = True
            self._turn.wait_for(lambda: not self._inside)
            try:
                yield
            finally:
                self._waiting = False
                self._turn.notify_all()


class Index:
    """Rows of faiss are never changed: a removed chunk's is left out of every search until the rows are moved together.

    `numbers` are the chunks' and only grow; `sets` tell which attributes each has; `alive` are those not removed.
    """

    def __init__(self, dimension: int) -> None:
        halves = faiss.ScalarQuantizer.QT_fp16  # half of the memory is read in less than half of the time
        self.vectors = faiss.IndexScalarQuantizer(dimension, halves, faiss.METRIC_INNER_PRODUCT)
        self.numbers = numpy.empty(0, dtype=numpy.int64)
        self.sets = numpy.empty(0, dtype=numpy.int64)
        self.alive = numpy.empty(0, dtype=bool)
        self.attributes: dict[int, Attributes] = {}
        self.gate = Gate()

    def add(self, numbers: Sequence[int], sets: Sequence[int], vectors: Vector) -> None:
        self.vectors.add(vectors)
        self.numbers = numpy.append(self.numbers, numpy.asarray(numbers, dtype=numpy.int64))
        self.sets = numpy.append(self.sets, numpy.asarray(sets, dtype=numpy.int64))
        self.alive = numpy.append(self.alive, numpy.ones(len(numbers), dtype=bool))

    def changed(self, numbers: Sequence[int], sets: Mapping[int, int]) -> None:
        """What has become of these chunks: those not in `sets` are gone."""
        known = numpy.asarray(sorted(numbers), dtype=numpy.int64)
        rows = numpy.searchsorted(self.numbers, known)
        found = rows < len(self.numbers)
        rows, known = rows[found], known[found]
        for row in rows[self.numbers[rows] == known].tolist():
            number = int(self.numbers[row])
            self.alive[row] = number in sets
            self.sets[row] = sets.get(number, 0)
        self._move_together()

    def _move_together(self) -> None:
        dead = len(self.alive) - int(self.alive.sum())
        if dead < max(LEAST_DEAD, len(self.alive) // 2):
            return
        kept = self.vectors.reconstruct_n(0, self.vectors.ntotal)[self.alive]
        self.vectors.reset()
        self.vectors.add(kept)
        self.numbers, self.sets = self.numbers[self.alive], self.sets[self.alive]
        self.alive = numpy.ones(len(self.numbers), dtype=bool)

    def nearest(self, vector: Vector, limit: int, filter: Filter | None) -> list[tuple[int, float]]:
        # Several threads for one search wait for each other, and where searches come together there are enough.
        faiss.omp_set_num_threads(1)  # of this thread
        with self.gate.together():
            parameters = self._selecting(filter)
            scores, rows = self.vectors.search(vector.reshape(1, -1), limit, params=parameters)
            return [
                (int(self.numbers[row]), float(score))
                for row, score in zip(rows[0], scores[0], strict=True)
                if row >= 0  # faiss fills up with -1
            ]

    def _selecting(self, filter: Filter | None) -> Any:
        """Which rows are searched; None where all are."""
        kept = self.alive
        if filter is not None:
            wanted = [number for number, attributes in self.attributes.items() if matches(filter, attributes)]
            kept = kept & numpy.isin(self.sets, wanted)
        if kept.all():
            return None
        python: Any = faiss  # its stubs know C++'s arguments alone
        bits = numpy.packbits(kept, bitorder="little")
        return python.SearchParameters(sel=python.IDSelectorBitmap(bits))
