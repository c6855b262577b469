"""How high searches rank what is right: sections of networkx' documentation, asked for by their summaries.

`make bench-rag` tells the figures of a larger corpus; these are the lowest that 240 sections may have.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from apps.inference.providers.inline.sentence_transformers.encoder import Encoder
from apps.vector_io.protocol import Store, VectorIO
from benchmarks._embedded import vectors_of
from benchmarks._ranking import MODES, SLACK, Pairs, paired
from benchmarks._sections import sections
from tests.conformance.vector_providers import CONFIGS
from tests.conformance.vector_stores import CALL, Kept, new_store

SECTIONS = 240
EVERY = 2  # of them is asked for
READ = 400  # characters of a section
LEAST = {"vector": 0.77, "keyword": 0.70, "hybrid, rrf": 0.80, "hybrid, weighted": 0.80, "hybrid, normalized": 0.80}
PROVIDERS = [name for name in ("inline::faiss", "inline::sqlite-vec", "remote::pgvector") if name in CONFIGS]

pytestmark = pytest.mark.local_model


@pytest.fixture(scope="module")
def known(local_models: dict[str, Path]) -> Pairs:
    encoder = Encoder(local_models["sentence-transformers/all-MiniLM-L6-v2"], device="cpu", dtype="auto")
    chosen = [replace(section, text=section.text[:READ]) for section in sections("networkx")[:SECTIONS]]
    summaries, texts = [section.summary for section in chosen], [section.text for section in chosen]
    return paired(summaries, texts, vectors_of(encoder, summaries), vectors_of(encoder, texts))


@pytest.fixture(params=PROVIDERS)
async def provider(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[VectorIO]:
    async with Kept(request.param, CONFIGS[request.param](tmp_path / "vectors")).started() as started:
        yield started


@pytest.fixture
async def store(provider: VectorIO, known: Pairs) -> AsyncIterator[Store]:
    made = new_store(dimension=known.wanted.shape[1])
    await known.insert(provider, made)
    yield made
    await provider.drop_store(CALL, made)


async def test_two_lists_rank_as_well_as_the_better_of_them(provider: VectorIO, store: Store, known: Pairs) -> None:
    found = {name: await known.ndcg(provider, store, mode, range(0, SECTIONS, EVERY)) for name, mode in MODES.items()}
    better = max(found["vector"], found["keyword"])
    assert min(value for name, value in found.items() if name.startswith("hybrid")) >= better - SLACK, found
    assert {name: value for name, value in found.items() if value < LEAST[name]} == {}
