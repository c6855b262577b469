"""Logprobs of the engine against transformers' own log_softmax on a tiny random model."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from apps.inference.providers.inline.meta_reference import likelihood
from apps.inference.providers.inline.meta_reference.engine import Engine
from apps.inference.providers.inline.meta_reference.generation import Generation, Logprob
from llamastack.errors import BadRequest
from llamastack.sampling import SamplingParams, TopP

PROMPTS = [[5, 9, 3, 100, 42], list(range(1, 31)), [7]]
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(11)
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    config = LlamaConfig(
        vocab_size=131, num_attention_heads=4, initializer_range=0.3, bos_token_id=None, eos_token_id=None, **sizes
    )
    return LlamaForCausalLM(config).eval()


class Counting:
    """A model that notes how many positions it computed logits for."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        self.device = model.device
        self.positions: list[int] = []
        self._model = model

    def __call__(self, **inputs: Any) -> Any:
        output = self._model(**inputs)
        self.positions.append(output.logits.shape[0] * output.logits.shape[1])
        return output


@pytest.fixture
def counting(model: LlamaForCausalLM) -> Counting:
    return Counting(model)


@pytest.fixture
def engine(counting: Counting) -> Iterator[Engine]:
    running = Engine(counting, context=600, ends=frozenset())
    running.start()
    yield running
    running.stop()


def expected(model: LlamaForCausalLM, tokens: list[int]) -> torch.Tensor:
    """The logprobs of every token at every place: a row says what comes after it."""
    with torch.inference_mode():
        return torch.log_softmax(model(input_ids=torch.tensor([tokens])).logits[0].float(), dim=-1)


def assert_alike(found: list[Logprob], rows: torch.Tensor, tokens: list[int], count: int) -> None:
    assert len(found) == len(tokens) == len(rows)
    for one, row, token in zip(found, rows, tokens, strict=True):
        best = row.topk(count)
        assert one.value == pytest.approx(row[token].item(), abs=TOLERANCE)
        assert [other for other, _ in one.top] == best.indices.tolist()
        assert [value for _, value in one.top] == pytest.approx(best.values.tolist(), abs=TOLERANCE)


async def run(engine: Engine, prompt: list[int], **sampling: Any) -> tuple[list[int], list[Logprob], Generation]:
    generation = await engine.submit(prompt, SamplingParams(**sampling))
    tokens, logprobs = [], []
    async for token in generation:
        tokens.append(token)
        if generation.logprob:
            logprobs.append(generation.logprob)
    return tokens, logprobs, generation


async def test_tokens_are_as_likely_as_log_softmax_says(model: LlamaForCausalLM, engine: Engine) -> None:
    for prompt in PROMPTS:
        tokens, logprobs, _ = await run(engine, prompt, max_tokens=12, logprobs=3)
        rows = expected(model, prompt + tokens)[len(prompt) - 1 : -1]
        assert_alike(logprobs, rows, tokens, 3)


async def test_each_row_of_a_batch_has_its_own_or_none(model: LlamaForCausalLM, engine: Engine) -> None:
    counts = [5, None, 0]
    runs = [run(engine, prompt, max_tokens=9, logprobs=n) for prompt, n in zip(PROMPTS, counts, strict=True)]
    for prompt, count, (tokens, logprobs, _) in zip(PROMPTS, counts, await asyncio.gather(*runs), strict=True):
        if count is None:
            assert logprobs == []
        else:
            assert_alike(logprobs, expected(model, prompt + tokens)[len(prompt) - 1 : -1], tokens, count)


async def test_they_are_the_models_own_whatever_is_sampled(model: LlamaForCausalLM, engine: Engine) -> None:
    bias = ((17, 100.0),)
    tokens, logprobs, _ = await run(
        engine, PROMPTS[0], max_tokens=4, strategy=TopP(1.7, 0.9), logit_bias=bias, presence_penalty=1.0, logprobs=2
    )
    assert tokens == [17] * 4
    assert_alike(logprobs, expected(model, PROMPTS[0] + tokens)[len(PROMPTS[0]) - 1 : -1], tokens, 2)


@pytest.mark.parametrize("length", [1, 2, 255, 256, 257, 511, 512, 599])
async def test_a_prompts_are_those_of_one_forward_call(model: LlamaForCausalLM, engine: Engine, length: int) -> None:
    prompt = [(7 * place) % 131 for place in range(length)]
    tokens, _, generation = await run(engine, prompt, max_tokens=1, logprobs=2, prompt_logprobs=True)
    rows = expected(model, prompt)
    assert_alike(generation.prompt_logprobs, rows[:-1], prompt[1:], 2)
    assert tokens == [int(rows[-1].argmax())]


async def test_prompts_of_unlike_lengths_go_together(model: LlamaForCausalLM, engine: Engine) -> None:
    prompts = [[(3 * place) % 131 for place in range(length)] for length in (60, 100, 3, 80)]
    runs = [run(engine, prompt, max_tokens=3, logprobs=1, prompt_logprobs=True) for prompt in prompts]
    for prompt, (tokens, _, generation) in zip(prompts, await asyncio.gather(*runs), strict=True):
        rows = expected(model, prompt + tokens)
        assert_alike(generation.prompt_logprobs, rows[: len(prompt) - 1], prompt[1:], 1)
        assert tokens == [int(row.argmax()) for row in rows[len(prompt) - 1 : -1]]


async def test_no_more_logits_are_held_at_once_than_a_slice_has(engine: Engine, counting: Counting) -> None:
    await run(engine, [1] * 599, max_tokens=0, logprobs=0, prompt_logprobs=True)
    assert counting.positions == [likelihood.POSITIONS, likelihood.POSITIONS, 599 - 2 * likelihood.POSITIONS]


async def test_without_them_a_prompt_gives_one_row_of_logits(engine: Engine, counting: Counting) -> None:
    await run(engine, [1] * 599, max_tokens=1)
    assert counting.positions == [1]


async def test_a_prompt_alone_makes_no_token(engine: Engine) -> None:
    beside, (tokens, _, generation) = await asyncio.gather(
        run(engine, PROMPTS[1], max_tokens=20),
        run(engine, PROMPTS[0], max_tokens=0, logprobs=1, prompt_logprobs=True),
    )
    assert (tokens, generation.count, generation.finish_reason) == ([], 0, "length")
    assert len(generation.prompt_logprobs) == len(PROMPTS[0]) - 1
    assert len(beside[0]) == 20


async def test_a_prompt_alone_may_fill_the_context(model: LlamaForCausalLM, engine: Engine) -> None:
    prompt = [(7 * place) % 131 for place in range(600)]
    asked: dict[str, Any] = {"max_tokens": 0, "logprobs": 1, "prompt_logprobs": True}
    _, _, generation = await run(engine, prompt, **asked)
    assert_alike(generation.prompt_logprobs, expected(model, prompt)[:-1], prompt[1:], 1)
    with pytest.raises(BadRequest, match="has 601 tokens; this model takes 1 to 600"):
        await run(engine, [*prompt, 1], **asked)


async def test_an_impossible_token_has_a_number_that_json_can_write() -> None:
    generation = Generation([1], SamplingParams(logprobs=2), 1, None)  # type: ignore[arg-type]
    [found] = likelihood.of_step(torch.tensor([[0.0, -torch.inf]]), [1], [generation])
    assert found == Logprob(likelihood.LEAST, ((0, 0.0), (1, likelihood.LEAST)))
