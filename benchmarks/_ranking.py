"""How high a search ranks what is right: nDCG@10 of sections that are asked for by their summaries (_sections.py).

The defaults of apps/vector_io/ranking.py were chosen by the first half of the pairs; the second half is what is told.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from apps.vector_io.protocol import Chunk, Hit, Query, Store, VectorIO
from apps.vector_io.ranking import Ranking
from benchmarks._embedded import Vectors, embedded
from benchmarks._sections import sections
from llamastack.call import ANONYMOUS_ADMIN, Call

CALL = Call(ANONYMOUS_ADMIN)
PAIRS = 1400
SLACK = 0.005
MODES = {
    "vector": Query(mode="vector"),
    "keyword": Query(mode="keyword"),
    "hybrid, rrf": Query(mode="hybrid"),
    "hybrid, weighted": Query(mode="hybrid", ranking=Ranking("weighted")),
    "hybrid, normalized": Query(mode="hybrid", ranking=Ranking("normalized")),
}


@dataclass
class Pairs:
    """What is asked for, and the chunk that answers it, at the same place of each."""

    asked: Sequence[str]
    wanted: Vectors
    chunks: list[Chunk]

    async def insert(self, provider: VectorIO, store: Store) -> None:
        await provider.create_store(CALL, store)
        await provider.insert(CALL, store, self.chunks)

    async def ndcg(self, provider: VectorIO, store: Store, mode: Query, places: Sequence[int]) -> float:
        """The mean of these places. There is one right chunk, so that the ideal is 1."""
        total = 0.0
        for place in places:
            query = Query(self.asked[place], self.wanted[place], mode.mode, ranking=mode.ranking)
            hits = await provider.query(CALL, store, query)
            total += gained(hits, self.chunks[place].id)
        return total / len(places)


def gained(hits: Sequence[Hit], right: str) -> float:
    ids = [hit.chunk.id for hit in hits]
    return 1 / math.log2(2 + ids.index(right)) if right in ids else 0.0


def pairs() -> Pairs:
    found = sections()[:PAIRS]
    summaries, texts = [section.summary for section in found], [section.text for section in found]
    return paired(summaries, texts, embedded(summaries), embedded(texts))


def paired(summaries: Sequence[str], texts: Sequence[str], wanted: Vectors, vectors: Vectors) -> Pairs:
    chunks = [
        Chunk(f"section-{place:04}", text, file_id=f"file-{place // 20}", position=place, embedding=vectors[place])
        for place, text in enumerate(texts)
    ]
    return Pairs(summaries, wanted, chunks)


async def told(provider_type: str, provider: VectorIO, known: Pairs) -> tuple[str, list[str]]:
    """A row of the table, and what has missed its aim: each way to join two lists is as good as the better of them."""
    store = Store("vs_ranking", "default", known.wanted.shape[1])
    await known.insert(provider, store)
    held_out = range(len(known.asked) // 2, len(known.asked))
    found = {name: await known.ndcg(provider, store, mode, held_out) for name, mode in MODES.items()}
    await provider.drop_store(CALL, store)
    least = max(found["vector"], found["keyword"]) - SLACK
    missed = [
        f"{provider_type}, {name}: nDCG@10 {value:.4f}, the better of its lists has {least + SLACK:.4f}"
        for name, value in found.items()
        if name.startswith("hybrid") and value < least
    ]
    return f"| `{provider_type}` | {' | '.join(f'{value:.4f}' for value in found.values())} |", missed
