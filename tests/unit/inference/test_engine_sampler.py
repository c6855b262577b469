"""The distribution that sampling draws from."""

import asyncio
from collections import Counter
from random import Random

import pytest
import torch

from apps.inference.providers.inline.meta_reference.generation import Generation
from apps.inference.providers.inline.meta_reference.sampler import choose
from llamastack.sampling import Greedy, SamplingParams, Strategy, TopK, TopP

PROBABILITIES = [0.05, 0.4, 0.1, 0.3, 0.15]
DRAWS = 20_000


async def shares(strategy: Strategy) -> dict[int, float]:
    logits = torch.tensor(PROBABILITIES).log().expand(DRAWS, -1)
    generations = [Generation([1], SamplingParams(strategy), 1, Random(str(draw))) for draw in range(DRAWS)]
    counts = Counter((await asyncio.to_thread(choose, logits, generations)).tolist())
    return {token: count / DRAWS for token, count in counts.items()}


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (TopP(1.0, 1.0), dict(enumerate(PROBABILITIES))),
        (TopP(1.0, 0.6), {1: 4 / 7, 3: 3 / 7}),
        (TopP(1.0, 0.75), {1: 0.4 / 0.85, 3: 0.3 / 0.85, 4: 0.15 / 0.85}),
        (TopK(2, 1.0), {1: 4 / 7, 3: 3 / 7}),
        (TopK(4, 1.0, 0.7), {1: 4 / 7, 3: 3 / 7}),
        (TopK(2**64, 1.0), dict(enumerate(PROBABILITIES))),
        (TopP(0.5, 1.0), {token: p**2 / sum(q**2 for q in PROBABILITIES) for token, p in enumerate(PROBABILITIES)}),
        (Greedy(), {1: 1.0}),
        (TopP(1.0, 1.0, min_p=0.5), {1: 4 / 7, 3: 3 / 7}),
        (TopP(0.5, 1.0, min_p=0.5), {1: 16 / 25, 3: 9 / 25}),
        (TopK(2, 1.0, min_p=0.9), {1: 1.0}),
    ],
)
async def test_tokens_come_as_often_as_they_should(strategy: Strategy, expected: dict[int, float]) -> None:
    assert await shares(strategy) == pytest.approx(expected, abs=0.015)


async def test_each_row_follows_its_own_strategy() -> None:
    logits = torch.tensor(PROBABILITIES).log().expand(3, -1)
    strategies: list[Strategy] = [Greedy(), TopK(1, 2.0), TopP(1.0, 1e-6)]
    generations = [Generation([1], SamplingParams(strategy), 1, Random(1)) for strategy in strategies]
    assert choose(logits, generations).tolist() == [1, 1, 1]
