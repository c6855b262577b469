"""Search by keywords over Chroma, which has no ranking by words where it runs by itself (its sparse vectors are the
hosted service's; https://docs.trychroma.com/cloud/schema/sparse-vector-search).

Each record lists its words, and Chroma's index tells which records have one. Those that have most of the asked words,
and the rare ones, are read and ranked by Okapi's BM25 with the numbers of the whole store.
"""

import asyncio
import math
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from apps.vector_io.providers import words
from apps.vector_io.providers.chroma.engine import Collection, Engine, Found, Where
from apps.vector_io.providers.chroma.records import OFTEN, WORDS, counted
from apps.vector_io.providers.chroma.where import joined
from apps.vector_io.providers.stems import stems
from apps.vector_io.ranking import squashed

FEW = 1000  # chunks, among which every word is searched
RANKED = 200  # chunks that are read and ranked
LEAST = 1e-6  # the weight of a word that half of the chunks have or more: as in SQLite's FTS5
K1, B = 1.2, 0.75  # Robertson and Zaragoza, "The Probabilistic Relevance Framework" (2009)
CHANGED = 0.1  # a share of the chunks, after which the words are counted anew
MOST_KNOWN = 100  # collections whose words are known


@dataclass
class Known:
    """How many chunks have a word, as counted when there were `chunks`. An approximation will do in a large store."""

    chunks: int
    having: dict[str, int] = field(default_factory=dict)

    def fits(self, chunks: int) -> bool:
        return min(chunks, self.chunks) >= FEW and abs(chunks - self.chunks) <= CHANGED * self.chunks


class Keywords:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: OrderedDict[str, Known] = OrderedDict()

    async def search(self, collection: Collection, text: str, limit: int, where: Where | None) -> dict[str, float]:
        """The chunks that have most of a text's words, and its rare ones: their scores by their ids."""
        asked = list(dict.fromkeys(stems(text)))[: words.MOST_WORDS]
        if not asked:
            return {}
        known = self._of(collection, await self._engine.count(collection))
        lists = await self._lists(collection, known, asked, where)
        weights = {word: _rarity(known.having[word], known.chunks) for word in lists}
        most = max(2 * limit, RANKED)
        best = await self._best(collection, lists, weights, most, where)
        return await self._ranked(collection, best, weights)

    def _of(self, collection: Collection, chunks: int) -> Known:
        known = self._known.get(collection.id)
        if known is None or not known.fits(chunks):
            known = self._known[collection.id] = Known(chunks)
        self._known.move_to_end(collection.id)
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return known

    async def _lists(
        self, collection: Collection, known: Known, asked: list[str], where: Where | None
    ) -> dict[str, list[str]]:
        """The chunks that have each word that tells them apart; each word that any has, where none does."""
        most = known.chunks if known.chunks < FEW else int(words.COMMON * known.chunks)
        counting = {word: None for word in asked if word not in known.having}
        first = await self._each(collection, WORDS, counting, None, most + 1)
        known.having |= {word: len(ids) for word, ids in first.items()}
        there = [word for word in asked if known.having[word]]
        telling = [word for word in there if known.having[word] <= most] or there
        if where is None:
            left = [word for word in telling if word not in first]
            return {word: first[word] for word in telling if word in first} | await self._each(
                collection, WORDS, left, None, most + 1
            )
        return await self._each(collection, WORDS, telling, where, most + 1)

    async def _each(
        self, collection: Collection, key: str, asked: Iterable[str], where: Where | None, most: int
    ) -> dict[str, list[str]]:
        asked = list(asked)
        tests: list[Where] = [{key: {"$contains": word}} for word in asked]
        found = await asyncio.gather(
            *(
                self._engine.get(collection, where=test if where is None else joined("$and", test, where), limit=most)
                for test in tests
            )
        )
        return {word: each.ids for word, each in zip(asked, found, strict=True)}

    async def _best(
        self,
        collection: Collection,
        lists: Mapping[str, list[str]],
        weights: Mapping[str, float],
        most: int,
        where: Where | None,
    ) -> list[str]:
        """Those that have the most words by their weights; where many have one, it counts more if it is often."""
        scores: defaultdict[str, float] = defaultdict(float)
        for word, ids in lists.items():
            for id in ids:
                scores[id] += weights[word]
        if len(scores) > most:
            many = [word for word, ids in lists.items() if len(ids) > most]
            often = await self._each(collection, OFTEN, many, where, max(map(len, lists.values())))
            for word, ids in often.items():
                for id in ids:
                    scores[id] += weights[word] / 2
        return sorted(scores, key=lambda id: (-scores[id], id))[:most]

    async def _ranked(self, collection: Collection, ids: list[str], weights: Mapping[str, float]) -> dict[str, float]:
        texts: dict[str, Counter[str]] = {}
        batch = await self._engine.most()
        for start in range(0, len(ids), batch):
            found = await self._engine.get(collection, ids=ids[start : start + batch], include=["documents"])
            texts |= await asyncio.to_thread(_counted, found)
        usual = sum(text.total() for text in texts.values()) / (len(texts) or 1)
        scores = {id: _bm25(text, weights, usual) for id, text in texts.items()}
        return {id: squashed(score) for id, score in scores.items() if score > 0}


def _counted(found: Found) -> dict[str, Counter[str]]:
    return {id: counted(text or "") for id, text in zip(found.ids, found.documents, strict=True)}


def _rarity(having: int, chunks: int) -> float:
    return max(math.log((max(chunks - having, 0) + 0.5) / (having + 0.5)), LEAST)


def _bm25(text: Counter[str], weights: Mapping[str, float], usual: float) -> float:
    """`usual` is how many words a text has."""
    slow = K1 * (1 - B + B * text.total() / (usual or 1))
    return sum(weight * text[word] * (K1 + 1) / (text[word] + slow) for word, weight in weights.items())
