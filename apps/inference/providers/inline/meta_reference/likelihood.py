"""How likely the model itself held tokens: its own distribution, before temperature, penalties, biases and constraints.

vLLM says the same unless it is told otherwise (`--logprobs-mode raw_logprobs`), and OpenAI's figures do not follow the
temperature either. So a token that only a bias brought about shows how unlikely the model found it.
"""

from collections.abc import Sequence
from typing import Any

import torch

from apps.inference.providers.inline.meta_reference.generation import Generation, Logprob

LEAST = -9999.0  # OpenAI's word for "very unlikely"; JSON has no infinity
POSITIONS = 256  # of a prompt, whose logits are held at once: with 128k tokens in fp32, 131 MB


def of_step(logits: torch.Tensor, tokens: Sequence[int], generations: Sequence[Generation]) -> list[Logprob | None]:
    """Of the token of each row, where its request asks; `logits` are the model's. Costs nothing where none asks."""
    found: list[Logprob | None] = [None] * len(generations)
    rows = [row for row, generation in enumerate(generations) if generation.sampling.logprobs is not None]
    if rows:
        counts = [generations[row].sampling.logprobs or 0 for row in rows]
        for row, one in zip(rows, _measured(logits[rows], [tokens[row] for row in rows], counts), strict=True):
            found[row] = one
    return found


def prefill(model: Any, inputs: dict[str, torch.Tensor], cache: Any, generations: Sequence[Generation]) -> torch.Tensor:
    """Fill the cache in slices of columns, and keep each prompt's logprobs. Returns the last column's logits.

    Prompts end at the last column: a shorter one starts further to the right.
    """
    width = inputs["input_ids"].shape[1]
    size = max(1, POSITIONS // len(generations))
    for begin in range(0, width, size):
        end = min(begin + size, width)
        part = {name: values[:, (0 if name == "attention_mask" else begin) : end] for name, values in inputs.items()}
        logits = model(**part, past_key_values=cache, use_cache=True, logits_to_keep=0).logits
        for row, generation in enumerate(generations):
            _keep(generation, logits[row], begin, width)
    return logits[:, -1]


def _keep(generation: Generation, logits: torch.Tensor, begin: int, width: int) -> None:
    """Columns from `begin` on: each says how likely the token of the next column was."""
    start = width - len(generation.tokens)
    first, last = max(begin, start), min(begin + len(logits), width - 1)
    if first < last:
        tokens = generation.tokens[first + 1 - start : last + 1 - start]
        counts = [generation.sampling.logprobs or 0] * len(tokens)
        generation.prompt_logprobs += _measured(logits[first - begin : last - begin], tokens, counts)


def _measured(logits: torch.Tensor, tokens: Sequence[int], counts: Sequence[int]) -> list[Logprob]:
    """Of one token a row, and of the `counts` likeliest of each."""
    values = logits.float()
    total = values.logsumexp(dim=-1, keepdim=True)
    chosen = values.gather(-1, torch.tensor(tokens, device=values.device)[:, None]) - total
    best, ids = values.topk(min(max(counts), values.shape[-1]), dim=-1)
    rows = zip(_listed(chosen), _listed(best - total), ids.tolist(), counts, strict=True)
    return [
        Logprob(own[0], tuple(zip(names[:count], likeliest[:count], strict=True)))
        for own, likeliest, names, count in rows
    ]


def _listed(logprobs: torch.Tensor) -> list[list[float]]:
    found: list[list[float]] = logprobs.clamp(min=LEAST).tolist()
    return found
