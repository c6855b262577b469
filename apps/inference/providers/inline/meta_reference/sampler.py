"""The next token of every row, from one tensor of logits."""

from collections.abc import Sequence
from typing import cast

import torch

from apps.inference.providers.inline.meta_reference.constraint import restrict
from apps.inference.providers.inline.meta_reference.generation import Generation
from llamastack.sampling import Greedy, TopK, TopP

COLDEST = 1e-5  # below this a temperature divides to infinity, and the choice is greedy to any precision


def choose(logits: torch.Tensor, generations: Sequence[Generation]) -> torch.Tensor:
    """One token id a row. A row's draw depends on its own logits and its own random numbers alone."""
    rows = [row for row, one in enumerate(generations) if not _is_plain(one)]
    if len(rows) == len(generations):
        return _choose(logits[rows].float(), generations)
    chosen = logits.float().argmax(dim=-1)  # in bf16, argmax takes several times as long on a CPU
    if rows:
        chosen[rows] = _choose(logits[rows].float(), [generations[row] for row in rows])
    return chosen


def _is_plain(generation: Generation) -> bool:
    """Whether the likeliest token is chosen, as the model says it."""
    return isinstance(generation.sampling.strategy, Greedy) and not generation.adjustment and not generation.matcher


def _choose(logits: torch.Tensor, generations: Sequence[Generation]) -> torch.Tensor:
    """As `choose`, of rows that are not plain. `logits` is a copy, to be changed."""
    for row, generation in zip(logits, generations, strict=True):
        if generation.adjustment:
            generation.adjustment.apply(row)
    restrict(logits, [generation.matcher for generation in generations])
    warm = [row for row, generation in enumerate(generations) if not isinstance(generation.sampling.strategy, Greedy)]
    if len(warm) == len(generations):
        return _sample(logits, generations)
    chosen = logits.argmax(dim=-1)
    if warm:
        chosen[warm] = _sample(logits[warm], [generations[row] for row in warm])
    return chosen


def _sample(logits: torch.Tensor, generations: Sequence[Generation]) -> torch.Tensor:
    strategies = [cast(TopP | TopK, generation.sampling.strategy) for generation in generations]
    heat = logits.new_tensor([max(strategy.temperature, COLDEST) for strategy in strategies])
    probabilities = torch.softmax(logits / heat[:, None], dim=-1)
    draws = logits.new_tensor([generation.random.random() for generation in generations])
    if all(isinstance(strategy, TopP) and strategy.top_p == 1 and strategy.min_p == 0 for strategy in strategies):
        return _draw(probabilities, draws)
    ranked, tokens = probabilities.sort(dim=-1, descending=True)
    places = _draw(_truncated(ranked, strategies), draws)
    return tokens.gather(-1, places[:, None])[:, 0]


def _truncated(ranked: torch.Tensor, strategies: Sequence[TopP | TopK]) -> torch.Tensor:
    """Descending probabilities, 0 where below min_p or outside the top k or the nucleus; the first always stays."""
    size = ranked.shape[-1]
    ranks = torch.arange(size, device=ranked.device)
    most = torch.tensor([min(s.top_k, size) if isinstance(s, TopK) else size for s in strategies], device=ranked.device)
    least = ranked.new_tensor([strategy.min_p for strategy in strategies])[:, None] * ranked[:, :1]
    kept = ranked.masked_fill((ranks >= most[:, None]) | (ranked < least), 0)
    mass = ranked.new_tensor([strategy.top_p for strategy in strategies])[:, None] * kept.sum(-1, keepdim=True)
    before = kept.cumsum(-1) - kept
    return kept.masked_fill((before >= mass) & (ranks > 0), 0)


def _draw(weights: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Inverse of the distribution: the first place whose cumulated weight exceeds the draw."""
    cumulated = weights.cumsum(-1)
    total = cumulated[:, -1:]
    goals = torch.minimum(draws[:, None] * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulated, goals, right=True)[:, 0].clamp_(max=weights.shape[-1] - 1)
