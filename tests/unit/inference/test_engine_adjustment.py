"""Biases and penalties: their arithmetic, and what they do to the rows beside."""

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
import torch

from apps.inference.providers.inline.meta_reference.adjustment import adjustment
from apps.inference.providers.inline.meta_reference.engine import Engine
from apps.inference.providers.inline.meta_reference.generation import Generation
from apps.inference.providers.inline.meta_reference.sampler import choose
from llamastack.sampling import Greedy, SamplingParams, Strategy, TopP

LOGITS = [1.0, 4.0, 2.0, 3.0]


class Constant:
    """A model that always says the same logits."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        from transformers import LlamaConfig, LlamaForCausalLM

        torch.manual_seed(1)
        self._model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=4, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
                bos_token_id=None, eos_token_id=None,
            )
        ).eval()  # fmt: skip

    def __call__(self, **inputs: Any) -> Any:
        output = self._model(**inputs)
        output.logits[:] = torch.tensor(LOGITS)
        return output


def adjusted(
    *tokens: int, prompt: Sequence[int] = (), logits: Sequence[float] = LOGITS, **sampling: Any
) -> list[float]:
    """The logits of the token after these."""
    one = adjustment(SamplingParams(**sampling), prompt)
    assert one is not None
    one.apply(torch.tensor(logits))
    for token in tokens:
        one.count(token)
    row = torch.tensor(logits)
    one.apply(row)
    return row.tolist()


def added(*tokens: int, **sampling: Any) -> list[float]:
    return adjusted(*tokens, logits=[0.0] * 4, **sampling)


def test_the_frequency_penalty_counts_and_the_presence_penalty_does_not() -> None:
    assert added(1, 1, 3, frequency_penalty=0.5) == [0, -1, 0, -0.5]
    assert added(1, 1, 3, presence_penalty=0.5) == [0, -0.5, 0, -0.5]
    assert added(1, 1, 3, presence_penalty=-1, frequency_penalty=0.25) == [0, 0.5, 0, 0.75]


def test_biases_hold_from_the_first_token_and_penalties_add_to_them() -> None:
    assert added(logit_bias=((0, 5.0), (2, -100.0))) == [5, 0, -100, 0]
    assert added(0, logit_bias=((0, 5.0),), frequency_penalty=2) == [3, 0, 0, 0]


def test_the_repetition_penalty_counts_the_prompt_and_makes_any_logit_smaller() -> None:
    logits = [1.0, 4.0, -2.0, -3.0]
    assert adjusted(prompt=[1, 2], logits=logits, repetition_penalty=2) == [1, 2, -4, -3]
    assert adjusted(0, 0, prompt=[1, 2], logits=logits, repetition_penalty=2) == [0.5, 2, -4, -3]
    assert adjusted(1, logits=logits, repetition_penalty=2, presence_penalty=1, logit_bias=((1, 5.0),))[1] == 6


@pytest.mark.parametrize("penalty", [0.5, 1.3])
def test_the_repetition_penalty_is_that_of_transformers(penalty: float) -> None:
    from transformers import RepetitionPenaltyLogitsProcessor

    logits = torch.randn(1, 50, generator=torch.Generator().manual_seed(3))
    expected = RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([[3, 9, 9, 40]]), logits.clone())
    found = adjusted(9, 40, prompt=[3, 9], logits=logits[0].tolist(), repetition_penalty=penalty)
    torch.testing.assert_close(torch.tensor(found), expected[0])


def test_a_request_without_them_has_no_adjustment() -> None:
    assert adjustment(SamplingParams(), [1]) is None


async def test_each_row_has_its_own_and_the_models_logits_are_kept() -> None:
    logits = torch.tensor([LOGITS] * 4, dtype=torch.bfloat16)
    strategies: list[Strategy] = [Greedy(), Greedy(), TopP(0.01), TopP(0.01)]
    biases = [(), ((0, 100.0),), (), ((1, -100.0),)]
    generations = [
        Generation([1], sampling, 9, Random(1), adjustment(sampling, [1]))
        for strategy, bias in zip(strategies, biases, strict=True)
        for sampling in [SamplingParams(strategy=strategy, logit_bias=bias)]
    ]
    assert choose(logits, generations).tolist() == [1, 0, 1, 3]
    assert logits.tolist() == [LOGITS] * 4


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        ({}, [1, 1, 1, 1, 1, 1]),
        ({"presence_penalty": 1.5}, [1, 3, 1, 1, 1, 1]),
        ({"frequency_penalty": 0.8}, [1, 1, 3, 1, 3, 2]),
        ({"logit_bias": ((1, -100.0),)}, [3, 3, 3, 3, 3, 3]),
        ({"repetition_penalty": 1.9}, [3, 1, 1, 1, 1, 1]),
    ],
)
async def test_the_engine_penalises_what_it_has_generated(sampling: dict[str, Any], expected: list[int]) -> None:
    engine = Engine(Constant(), context=64, ends=frozenset())
    engine.start()

    async def said(**given: Any) -> list[int]:
        return [token async for token in await engine.submit([1, 2], SamplingParams(max_tokens=6, **given))]

    beside, found = await asyncio.gather(said(), said(**sampling))
    await asyncio.to_thread(engine.stop)
    assert found == expected
    assert beside == [1] * 6
