"""The engine against a tiny random model: what it computes, and who joins, leaves, waits and fails."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from apps.inference.providers.inline.meta_reference.engine import WAITING_PIXELS, Engine
from apps.inference.providers.inline.meta_reference.seen import Seen
from llamastack.errors import BadRequest, RateLimited, StackError, Unavailable
from llamastack.sampling import Greedy, SamplingParams, TopK, TopP

PROMPTS = [list(range(3, 3 + length)) for length in (5, 17, 2, 9, 30, 1, 12, 7)]


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=131,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        initializer_range=0.5,
        bos_token_id=None,
        eos_token_id=None,
    )
    return LlamaForCausalLM(config).eval()


Start = Callable[..., Engine]


@pytest.fixture
def start(model: LlamaForCausalLM) -> Iterator[Start]:
    """Engines that are stopped when the test has ended."""
    engines: list[Engine] = []

    def started(runs: Any = model, **options: Any) -> Engine:
        engine = Engine(runs, **({"context": 512, "ends": frozenset()} | options))
        engine.start()
        engines.append(engine)
        return engine

    yield started
    for engine in engines:
        engine.stop()


class Stepwise:
    """A model that takes a step only when the test says so, and fails on demand."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        self.device = model.device
        self.allowed = threading.Semaphore(0)
        self.batches: list[int] = []
        self.failure: Exception | None = None
        self._model = model

    def __call__(self, **inputs: Any) -> Any:
        self.allowed.acquire()
        self.batches.append(inputs["input_ids"].shape[0])
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        return self._model(**inputs)


@pytest.fixture
def stepwise(model: LlamaForCausalLM) -> Iterator[Stepwise]:
    steps = Stepwise(model)
    yield steps
    steps.allowed.release(10_000)


def reference(model: LlamaForCausalLM, prompt: list[int], count: int) -> list[int]:
    ids = torch.tensor([prompt])
    output = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=count)
    found: list[int] = output[0, len(prompt) :].tolist()
    return found


async def tokens(engine: Engine, prompt: list[int], **sampling: Any) -> list[int]:
    return [token async for token in await engine.submit(prompt, SamplingParams(**sampling))]


async def test_alone_it_says_what_generate_says(model: LlamaForCausalLM, start: Start) -> None:
    engine = start()
    for prompt in PROMPTS:
        assert await tokens(engine, prompt, max_tokens=40) == reference(model, prompt, 40)


async def test_a_batch_of_mixed_lengths_says_what_generate_says(model: LlamaForCausalLM, start: Start) -> None:
    engine = start(max_batch_size=8)
    counts = [40, 3, 25, 40, 1, 17, 300, 8]
    together = [tokens(engine, prompt, max_tokens=count) for prompt, count in zip(PROMPTS, counts, strict=True)]
    for prompt, count, found in zip(PROMPTS, counts, await asyncio.gather(*together), strict=True):
        assert found == reference(model, prompt, count)


async def test_rows_that_join_later_and_leave_earlier_disturb_nobody(model: LlamaForCausalLM, start: Start) -> None:
    engine = start(max_batch_size=3)
    first = await engine.submit(PROMPTS[1], SamplingParams(max_tokens=60))
    found = [await anext(first) for _ in range(10)]
    others = asyncio.gather(*(tokens(engine, prompt, max_tokens=15) for prompt in PROMPTS))
    found += [token async for token in first]
    assert found == reference(model, PROMPTS[1], 60)
    assert await others == [reference(model, prompt, 15) for prompt in PROMPTS]


async def test_requests_that_meet_share_a_step(stepwise: Stepwise, start: Start) -> None:
    engine = start(stepwise)
    runs = [asyncio.create_task(tokens(engine, prompt, max_tokens=5)) for prompt in PROMPTS[:4]]
    await asyncio.sleep(0)
    stepwise.allowed.release(10_000)
    await asyncio.gather(*runs)
    assert max(stepwise.batches) == 4
    assert len(stepwise.batches) < 4 * 5


async def test_the_batch_never_exceeds_its_size(stepwise: Stepwise, start: Start) -> None:
    engine = start(stepwise, max_batch_size=2)
    stepwise.allowed.release(10_000)
    await asyncio.gather(*(tokens(engine, prompt, max_tokens=5) for prompt in PROMPTS))
    assert max(stepwise.batches) == 2


async def test_an_end_of_sequence_token_is_the_last_one(model: LlamaForCausalLM, start: Start) -> None:
    plain = reference(model, PROMPTS[0], 20)
    engine = start(ends=frozenset({plain[6]}))
    generation = await engine.submit(PROMPTS[0], SamplingParams(max_tokens=20))
    assert [token async for token in generation] == plain[: plain.index(plain[6]) + 1]
    assert generation.finish_reason == "stop"


async def test_max_tokens_and_the_context_end_a_generation(start: Start) -> None:
    engine = start(context=40)
    generation = await engine.submit(PROMPTS[4], SamplingParams())
    assert len([token async for token in generation]) == 10
    assert generation.finish_reason == "length"
    assert len(await tokens(engine, PROMPTS[0], max_tokens=3)) == 3


@pytest.mark.parametrize("length", [0, 40, 41])
async def test_a_prompt_that_does_not_fit_is_refused_with_both_numbers(start: Start, length: int) -> None:
    with pytest.raises(BadRequest, match=rf"has {length} tokens.*context is 40 tokens"):
        await start(context=40).submit([1] * length, SamplingParams())


async def test_a_full_queue_is_a_429_that_says_when_to_return(stepwise: Stepwise, start: Start) -> None:
    engine = start(stepwise, max_batch_size=1, max_waiting=2)
    accepted = [await engine.submit([1, 2], SamplingParams(max_tokens=1)) for _ in range(3)]
    with pytest.raises(RateLimited) as refused:
        await engine.submit([1, 2], SamplingParams(max_tokens=1))
    assert refused.value.retry_after
    stepwise.allowed.release(3)
    assert [len([token async for token in generation]) for generation in accepted] == [1, 1, 1]


async def test_images_that_wait_are_bounded_by_their_bytes(stepwise: Stepwise, start: Start) -> None:
    engine = start(stepwise)
    running = await engine.submit([1, 2], SamplingParams(max_tokens=1))
    large, other = (Seen([1, 2], {"pixel_values": torch.empty(WAITING_PIXELS + 1, dtype=torch.int8)}) for _ in range(2))
    waiting = [await engine.submit(large, SamplingParams()) for _ in range(2)]
    with pytest.raises(RateLimited, match="images") as refused:
        await engine.submit(other, SamplingParams())
    assert refused.value.retry_after
    for generation in waiting:
        await generation.aclose()
    stepwise.allowed.release(1)
    assert len([token async for token in running]) == 1


async def test_a_closed_generation_stops_within_one_token(stepwise: Stepwise, start: Start) -> None:
    engine = start(stepwise)
    stepwise.allowed.release(2)
    cancelled = await engine.submit(PROMPTS[0], SamplingParams(max_tokens=400))
    assert [await anext(cancelled) for _ in range(2)]
    await cancelled.aclose()
    assert [token async for token in cancelled] == []
    stepwise.allowed.release(10_000)
    assert len(await tokens(engine, PROMPTS[1], max_tokens=5)) == 5
    assert sum(stepwise.batches) <= 2 + 1 + 5  # the step under way when it was closed, and no more


async def test_a_generation_closed_in_the_queue_never_runs(stepwise: Stepwise, start: Start) -> None:
    engine = start(stepwise, max_batch_size=1)
    first = await engine.submit(PROMPTS[0], SamplingParams(max_tokens=2))
    queued = await engine.submit(PROMPTS[1], SamplingParams(max_tokens=50))
    await queued.aclose()
    stepwise.allowed.release(10_000)
    assert len([token async for token in first]) == 2
    assert len(await tokens(engine, PROMPTS[2], max_tokens=2)) == 2
    assert stepwise.batches == [1, 1, 1, 1]


async def test_a_failing_step_fails_its_generations_and_the_engine_goes_on(
    model: LlamaForCausalLM, stepwise: Stepwise, start: Start
) -> None:
    engine = start(stepwise)
    stepwise.allowed.release(1)
    generation = await engine.submit(PROMPTS[0], SamplingParams(max_tokens=9))
    assert await anext(generation) == reference(model, PROMPTS[0], 1)[0]
    stepwise.failure = RuntimeError("out of memory")
    stepwise.allowed.release(1)
    with pytest.raises(StackError, match="RuntimeError"):
        await anext(generation)
    stepwise.allowed.release(10_000)
    assert await tokens(engine, PROMPTS[0], max_tokens=9) == reference(model, PROMPTS[0], 9)


async def test_a_failing_prefill_leaves_the_running_ones_alone(
    model: LlamaForCausalLM, stepwise: Stepwise, start: Start
) -> None:
    engine = start(stepwise)
    stepwise.allowed.release(1)
    running = await engine.submit(PROMPTS[0], SamplingParams(max_tokens=20))
    found = [await anext(running)]
    joining = await engine.submit(PROMPTS[1], SamplingParams(max_tokens=20))
    while stepwise.batches != [1, 1]:  # the decode step that was waiting already
        stepwise.allowed.release(1)
        found.append(await anext(running))
    stepwise.failure = ValueError("no")
    stepwise.allowed.release(10_000)
    with pytest.raises(StackError, match="ValueError"):
        await anext(joining)
    assert found + [token async for token in running] == reference(model, PROMPTS[0], 20)


class Uncopyable(torch.Tensor):
    """Rows that nothing can be copied from, as where memory is full."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.index_select:
            raise torch.OutOfMemoryError
        return super().__torch_function__(func, types, args, kwargs or {})


class Crowded:
    """A model whose first prompts fill the memory."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        self.device = model.device
        self.full = True
        self._model = model

    def __call__(self, **inputs: Any) -> Any:
        output = self._model(**inputs)
        if self.full:
            for layer in inputs["past_key_values"].layers:
                layer.keys = layer.keys.as_subclass(Uncopyable)
        return output


async def test_rows_that_cannot_be_dropped_for_want_of_memory_end_all_and_the_engine_goes_on(
    model: LlamaForCausalLM, start: Start
) -> None:
    crowded = Crowded(model)
    engine = start(crowded)
    leaver, stayer = [await engine.submit(PROMPTS[0], SamplingParams(max_tokens=500)) for _ in range(2)]
    await asyncio.gather(leaver.begun(), stayer.begun())
    crowded.full = False
    await leaver.aclose()
    async with asyncio.timeout(60):
        with pytest.raises(StackError, match="OutOfMemoryError"):
            _ = [token async for token in stayer]
        assert await tokens(engine, PROMPTS[2], max_tokens=9) == reference(model, PROMPTS[2], 9)


async def test_a_prefill_that_fails_where_rows_cannot_be_dropped_ends_all_and_the_engine_goes_on(
    model: LlamaForCausalLM, start: Start
) -> None:
    crowded = Crowded(model)
    engine = start(crowded)
    running = await engine.submit(PROMPTS[0], SamplingParams(max_tokens=500))
    await running.begun()
    single = await engine.submit(PROMPTS[1], SamplingParams(max_tokens=1))  # leaves within its prefill's step
    async with asyncio.timeout(60):
        for generation in (running, single):
            with pytest.raises(StackError, match="OutOfMemoryError"):
                _ = [token async for token in generation]
        crowded.full = False
        assert await tokens(engine, PROMPTS[2], max_tokens=9) == reference(model, PROMPTS[2], 9)


async def test_stopping_fails_what_runs_and_refuses_what_comes(stepwise: Stepwise, model: LlamaForCausalLM) -> None:
    engine = Engine(stepwise, context=512, ends=frozenset())
    engine.start()
    generation = await engine.submit(PROMPTS[0], SamplingParams(max_tokens=400))
    stepwise.allowed.release(1)
    await anext(generation)
    stopping = asyncio.create_task(asyncio.to_thread(engine.stop))
    await asyncio.sleep(0)
    stepwise.allowed.release(10_000)
    await stopping
    with pytest.raises(Unavailable):
        [token async for token in generation]
    with pytest.raises(Unavailable):
        await engine.submit(PROMPTS[0], SamplingParams())


def test_a_generation_whose_loop_has_ended_is_dropped(start: Start) -> None:
    engine = start(max_batch_size=1)

    async def abandon() -> None:
        await anext(await engine.submit(PROMPTS[0], SamplingParams(max_tokens=400)))

    asyncio.run(abandon())
    assert len(asyncio.run(tokens(engine, PROMPTS[1], max_tokens=5))) == 5


# --- sampling ---

HOT = TopP(temperature=1.5, top_p=0.95)


async def test_a_seed_repeats_itself_whoever_else_is_in_the_batch(start: Start) -> None:
    engine = start()
    alone = await tokens(engine, PROMPTS[3], strategy=HOT, seed=11, max_tokens=30)
    strategies = [HOT, Greedy(), TopK(5, 2.0), HOT]
    others = [tokens(engine, PROMPTS[i], strategy=kind, seed=i, max_tokens=40) for i, kind in enumerate(strategies)]
    crowded, *_ = await asyncio.gather(tokens(engine, PROMPTS[3], strategy=HOT, seed=11, max_tokens=30), *others)
    assert crowded == alone
    assert await tokens(engine, PROMPTS[3], strategy=HOT, seed=12, max_tokens=30) != alone


async def test_without_a_seed_answers_differ(start: Start) -> None:
    engine = start()
    answers = [tuple(await tokens(engine, PROMPTS[0], strategy=HOT, max_tokens=20)) for _ in range(3)]
    assert len(set(answers)) == 3


async def test_torch_seed_makes_a_run_repeatable(start: Start) -> None:
    first, second = start(seed=5), start(seed=5)
    for _ in range(2):
        assert await tokens(first, PROMPTS[0], strategy=HOT) == await tokens(second, PROMPTS[0], strategy=HOT)


@pytest.mark.parametrize("strategy", [TopK(1, 2.0), TopP(1.0, 1e-9), TopP(1e-9, 1.0), TopK(50, 1.0, 1e-9)])
async def test_sampling_that_leaves_one_token_is_greedy(
    model: LlamaForCausalLM, start: Start, strategy: TopK | TopP
) -> None:
    assert await tokens(start(), PROMPTS[1], strategy=strategy, max_tokens=20) == reference(model, PROMPTS[1], 20)
