"""Our engine against a plain transformers forward loop: the same model, dtype, prompts and process, alternating.

    python -m benchmarks.engine [--dtype auto|bfloat16|float32] [--tokens 64] [--repeats 5]

The plain loop prefills the batch in one call and then calls the model with its own cache and argmax, token by token.
Both sides generate the same number of tokens and are timed from the prompts to the last token. Exits with 1 where the
engine's tokens are wrong: in fp32 they must equal the loop's, in bf16 at batch size 1.
"""

import argparse
import asyncio
import statistics
import sys
import time
from dataclasses import dataclass
from typing import Any

import torch

from apps.inference.local_models import fetch
from apps.inference.providers.inline import runtime
from apps.inference.providers.inline.meta_reference import loader
from apps.inference.providers.inline.meta_reference.config import MetaReferenceConfig
from apps.inference.providers.inline.meta_reference.engine import Engine
from llamastack.sampling import SamplingParams

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
QUESTIONS = [
    "Why is the sky blue?", "Name the planets.", "What is a verb?", "Who wrote Hamlet?",
    "How do bees make honey?", "What is inflation?", "Tell me about Rome.", "Explain a binary search.",
]  # fmt: skip


@dataclass(frozen=True)
class Run:
    seconds: float
    tokens: list[list[int]]


def plain(model: Any, prompts: list[list[int]], count: int) -> Run:
    """transformers as one would write it by hand; prompts of unlike length are padded on the left and masked."""
    started = time.perf_counter()
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    masked = {} if bool(mask.all()) else {"attention_mask": mask, "position_ids": (mask.cumsum(-1) - 1).clamp(min=0)}
    found = []
    with torch.inference_mode():
        output = model(input_ids=ids, use_cache=True, logits_to_keep=1, **masked)
        for _ in range(count - 1):
            ids = output.logits[:, -1].argmax(-1, keepdim=True)
            found.append(ids)
            if masked:
                masked["attention_mask"] = torch.cat([masked["attention_mask"], mask.new_ones(len(prompts), 1)], dim=-1)
                masked["position_ids"] = masked["position_ids"][:, -1:] + 1
            output = model(input_ids=ids, past_key_values=output.past_key_values, use_cache=True, **masked)
        found.append(output.logits[:, -1].argmax(-1, keepdim=True))
    return Run(time.perf_counter() - started, torch.cat(found, dim=-1).tolist())


async def ours(engine: Engine, prompts: list[list[int]], count: int) -> Run:
    async def one(prompt: list[int]) -> list[int]:
        return [token async for token in await engine.submit(prompt, SamplingParams(max_tokens=count))]

    started = time.perf_counter()
    tokens = await asyncio.gather(*map(one, prompts))
    return Run(time.perf_counter() - started, tokens)


async def compare(engine: Engine, model: Any, prompts: list[list[int]], count: int, repeats: int) -> tuple[float, bool]:
    """The engine's speed as a share of the loop's (median of pairs), and whether their tokens are equal."""
    plain(model, prompts, 8), await ours(engine, prompts, 8)
    ratios, speeds, equal = [], [], True
    for repeat in range(repeats):
        if repeat % 2:
            mine, theirs = await ours(engine, prompts, count), plain(model, prompts, count)
        else:
            theirs, mine = plain(model, prompts, count), await ours(engine, prompts, count)
        ratios.append(theirs.seconds / mine.seconds)
        speeds.append((count * len(prompts) / mine.seconds, count * len(prompts) / theirs.seconds))
        equal = equal and mine.tokens == theirs.tokens
    engine_speed, plain_speed = (statistics.median(side) for side in zip(*speeds, strict=True))
    print(
        f"batch {len(prompts)}: engine {engine_speed:.1f} tok/s, plain {plain_speed:.1f} tok/s, tokens equal: {equal}"
    )
    return statistics.median(ratios), equal


async def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dtype", default="auto", choices=["auto", "bfloat16", "float32"])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    fetch(MODEL)
    loaded = loader.load(MODEL, MetaReferenceConfig(model=MODEL, dtype=options.dtype, device="cpu"))
    model: Any = loaded.engine.model
    engine = Engine(model, context=4096, ends=frozenset())  # without ends, both sides make the same number of tokens
    engine.start()
    print(f"{MODEL}, {model.dtype}, {torch.get_num_threads()} threads, CPU flags: {', '.join(runtime.bf16_flags())}")
    prompts = [
        loaded.tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, return_dict=False
        )
        for question in QUESTIONS
    ]
    ratios, correct = {}, True
    for size in (1, 8):
        ratios[size], equal = await compare(engine, model, prompts[:size], options.tokens, options.repeats)
        correct = correct and (equal or (size > 1 and model.dtype == torch.bfloat16))
    engine.stop(), loaded.engine.stop()
    for size, ratio in ratios.items():
        print(f"engine_of_plain_b{size}={ratio:.2f}")
    return 0 if correct else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
