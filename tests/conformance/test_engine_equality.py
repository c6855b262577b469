"""Greedy output of the real model equals transformers' `generate`, token for token."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from apps.inference.providers.inline.meta_reference import loader
from apps.inference.providers.inline.meta_reference.config import MetaReferenceConfig
from apps.inference.providers.inline.meta_reference.loader import LoadedModel
from llamastack.sampling import SamplingParams

pytestmark = [pytest.mark.local_model, pytest.mark.slow, pytest.mark.timeout(900)]

SMOLLM = "HuggingFaceTB/SmolLM2-135M-Instruct"
COUNT = 64
QUESTIONS = [
    "Why is the sky blue?",
    "Name the planets of the solar system in order.",
    "Write a haiku about rain.",
    "What is 17 times 23? Think step by step.",
    "Translate 'good morning' into French, German, Spanish and Italian.",
    "Who wrote Hamlet?",
    "Explain to a child of seven years how an aeroplane stays in the air, and why it does not fall when it turns.",
    "List five uses of a paper clip.",
    "Write a Python function that reverses a list in place without using the built-in reverse method.",
    "Hi",
    "What is the difference between a virus and a bacterium?",
    "Tell me a joke about databases.",
    "Summarise: " + "The quick brown fox jumps over the lazy dog. " * 12,
    "Which is heavier, a kilogram of iron or a kilogram of feathers?",
    "Give me a recipe for pancakes.",
    "¿Cuál es la capital de España?",
    "Zähle die Monate auf.",
    "What happened in 1969?",
    "Continue: once upon a time, in a village by the sea,",
    "Describe the colour blue to someone who cannot see.",
]


def load(dtype: str) -> LoadedModel:
    return loader.load(SMOLLM, MetaReferenceConfig(dtype=dtype, device="cpu"))


@pytest.fixture(scope="module")
def exact(local_models: dict[str, Path]) -> Iterator[LoadedModel]:
    loaded = load("float32")
    yield loaded
    loaded.engine.stop()


def prompts(loaded: LoadedModel) -> list[list[int]]:
    turns = [[{"role": "user", "content": question}] for question in QUESTIONS]
    options: dict[str, Any] = {"add_generation_prompt": True, "return_dict": False}
    return [loaded.tokenizer.apply_chat_template(turn, **options) for turn in turns]


def reference(loaded: LoadedModel, prompt: list[int], count: int = COUNT) -> list[int]:
    ids = torch.tensor([prompt])
    model: Any = loaded.engine.model
    output = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=count)
    found: list[int] = output[0, len(prompt) :].tolist()
    return found


@pytest.fixture(scope="module")
def expected(exact: LoadedModel) -> list[list[int]]:
    return [reference(exact, prompt) for prompt in prompts(exact)]


async def generate(loaded: LoadedModel, prompt: list[int], count: int = COUNT) -> list[int]:
    return [token async for token in await loaded.engine.submit(prompt, SamplingParams(max_tokens=count))]


async def test_twenty_prompts_alone_equal_generate_in_fp32(exact: LoadedModel, expected: list[list[int]]) -> None:
    assert [await generate(exact, prompt) for prompt in prompts(exact)] == expected


async def test_twenty_prompts_in_batches_of_eight_equal_generate_in_fp32(
    exact: LoadedModel, expected: list[list[int]]
) -> None:
    assert exact.engine.max_batch_size == 8
    assert await asyncio.gather(*(generate(exact, prompt) for prompt in prompts(exact))) == expected


async def test_one_prompt_at_a_time_equals_generate_in_bf16(local_models: dict[str, Path]) -> None:
    loaded = load("bfloat16")
    for prompt in prompts(loaded)[:6]:
        assert await generate(loaded, prompt, 32) == reference(loaded, prompt, 32)
    await asyncio.to_thread(loaded.engine.stop)
