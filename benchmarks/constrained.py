"""Answers that follow a JSON schema against free ones: the same engine, model, prompts and process, alternating.

    python -m benchmarks.constrained [--dtype auto|bfloat16|float32] [--repeats 5]

Eight prompts at once. Every constrained answer ends by itself and must fit the schema; the free answers are then made
as long as those were, prompt by prompt, so that both sides make the same number of tokens in batches of the same sizes.
The first use of the schema, which compiles it, is timed apart. Exits with 1 where an answer does not fit.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from dataclasses import dataclass
from typing import Any

import jsonschema
import torch

from apps.inference.local_models import fetch
from apps.inference.providers.inline import runtime
from apps.inference.providers.inline.meta_reference import loader
from apps.inference.providers.inline.meta_reference.config import MetaReferenceConfig
from apps.inference.providers.inline.meta_reference.engine import Engine
from apps.inference.providers.inline.meta_reference.loader import LoadedModel
from benchmarks.engine import MODEL, QUESTIONS
from llamastack.sampling import Constraint, SamplingParams

SCHEMA = {
    "type": "object",
    "properties": {
        "answer": {"type": "string", "minLength": 60, "maxLength": 120},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        "language": {"enum": ["en", "de", "fr", "es"]},
        "sources": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"$ref": "#/$defs/source"}},
    },
    "required": ["answer", "confidence", "language", "sources"],
    "additionalProperties": False,
    "$defs": {
        "source": {
            "type": "object",
            "properties": {
                "title": {"type": "string", "minLength": 5, "maxLength": 60},
                "year": {"type": "integer", "minimum": 1500, "maximum": 2030},
                "checked": {"type": "boolean"},
            },
            "required": ["title", "year", "checked"],
            "additionalProperties": False,
        }
    },
}
CONSTRAINT = Constraint("json_schema", json.dumps(SCHEMA), "response_format")
LONGEST = 400  # tokens; an answer of this length was cut, and fails


@dataclass(frozen=True)
class Run:
    seconds: float
    processor: float  # seconds of the processor; other work on the machine adds little to these
    answers: list[list[int]]

    @property
    def count(self) -> int:
        return sum(map(len, self.answers))

    @property
    def speed(self) -> float:
        return self.count / self.seconds

    @property
    def thrift(self) -> float:
        return self.count / self.processor


async def run(engine: Engine, prompts: list[list[int]], wanted: list[SamplingParams]) -> Run:
    async def one(prompt: list[int], sampling: SamplingParams) -> list[int]:
        return [token async for token in await engine.submit(prompt, sampling)]

    started, spent = time.perf_counter(), time.process_time()
    answers = await asyncio.gather(*map(one, prompts, wanted))
    return Run(time.perf_counter() - started, time.process_time() - spent, answers)


def fits(loaded: LoadedModel, answers: list[list[int]]) -> bool:
    for tokens in answers:
        text = loaded.tokenizer.decode(tokens, skip_special_tokens=True)
        try:
            jsonschema.validate(json.loads(text), SCHEMA)
        except (ValueError, jsonschema.ValidationError) as error:
            print(f"An answer does not fit the schema: {error}\n{text}")
            return False
    return True


async def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dtype", default="auto", choices=["auto", "bfloat16", "float32"])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    fetch(MODEL)
    loaded = loader.load(MODEL, MetaReferenceConfig(model=MODEL, dtype=options.dtype, device="cpu"))
    model: Any = loaded.engine.model
    endless = Engine(model, context=4096, ends=frozenset())  # its answers are as long as they are told to be
    endless.start()
    print(f"{MODEL}, {model.dtype}, {torch.get_num_threads()} threads, CPU flags: {', '.join(runtime.bf16_flags())}")
    prompts = [
        loaded.tokenizer.apply_chat_template(
            [{"role": "user", "content": f"{question} Answer in JSON."}], add_generation_prompt=True, return_dict=False
        )
        for question in QUESTIONS
    ]
    bound = [SamplingParams(max_tokens=LONGEST, constraint=CONSTRAINT)] * len(prompts)
    started = time.perf_counter()
    await run(loaded.engine, prompts[:1], [SamplingParams(max_tokens=1, constraint=CONSTRAINT)])
    print(f"first use of the schema: {time.perf_counter() - started:.2f} s")
    constrained = await run(loaded.engine, prompts, bound)
    ratios, thrifts, speeds, correct = [], [], [], fits(loaded, constrained.answers)
    for repeat in range(options.repeats):
        if repeat % 2 == 0:
            constrained = await run(loaded.engine, prompts, bound)
        free = await run(endless, prompts, [SamplingParams(max_tokens=len(tokens)) for tokens in constrained.answers])
        if repeat % 2:
            constrained = await run(loaded.engine, prompts, bound)
        correct = correct and fits(loaded, constrained.answers)
        ratios.append(constrained.speed / free.speed)
        thrifts.append(constrained.thrift / free.thrift)
        speeds.append((constrained.speed, free.speed))
    endless.stop(), loaded.engine.stop()
    with_schema, without = (statistics.median(side) for side in zip(*speeds, strict=True))
    speed = f"with schema {with_schema:.1f} tok/s, without {without:.1f} tok/s"
    print(f"batch 8, {constrained.count} tokens: {speed}, all fit: {correct}")
    print(f"constrained_of_free_b8={statistics.median(ratios):.2f}")
    print(f"constrained_of_free_b8_in_processor_time={statistics.median(thrifts):.2f}")
    return 0 if correct else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
