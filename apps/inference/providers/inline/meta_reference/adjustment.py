"""What a request does to the logits of its answer: biases of tokens, and penalties on those that came before."""

from collections.abc import Sequence

import torch

from llamastack.sampling import SamplingParams


class Adjustment:
    """How the logits of one row change before a token is chosen.

    A token's logit loses `frequency_penalty` for each time it was generated, and `presence_penalty` once
    (https://platform.openai.com/docs/api-reference/chat/create). Before that, `repetition_penalty` divides it where it
    is above 0, and multiplies it where not, if the token stands in the prompt or was generated
    (https://arxiv.org/abs/1909.05858, as transformers and vLLM have it).
    """

    def __init__(self, sampling: SamplingParams, prompt: Sequence[int]) -> None:
        self._sampling = sampling
        self._prompt = prompt
        self._seen: set[int] = set()
        self._added: torch.Tensor | None = None
        self._repeated: torch.Tensor | None = None

    def apply(self, logits: torch.Tensor) -> None:
        """Change one row in place."""
        if self._added is None:
            self._begin(logits)
        if self._repeated is not None:
            penalty = self._sampling.repetition_penalty
            penalised = torch.where(logits > 0, logits / penalty, logits * penalty)
            logits.copy_(torch.where(self._repeated, penalised, logits))
        logits += self._added

    def count(self, token: int) -> None:
        """A token was generated."""
        if self._added is None:
            return
        penalty = self._sampling.frequency_penalty
        if token not in self._seen:
            self._seen.add(token)
            penalty += self._sampling.presence_penalty
            if self._repeated is not None:
                self._repeated[token] = True
        if penalty:
            self._added[token] -= penalty

    def _begin(self, logits: torch.Tensor) -> None:
        self._added = torch.zeros_like(logits)
        if biases := self._sampling.logit_bias:
            self._added[[token for token, _ in biases]] = self._added.new_tensor([bias for _, bias in biases])
        if self._sampling.repetition_penalty != 1:
            self._repeated = torch.zeros_like(logits, dtype=torch.bool)
            self._repeated[list(self._prompt)] = True


def adjustment(sampling: SamplingParams, prompt: Sequence[int]) -> Adjustment | None:
    """None where the request adjusts nothing: such rows cost nothing."""
    penalises = sampling.frequency_penalty or sampling.presence_penalty or sampling.repetition_penalty != 1
    return Adjustment(sampling, prompt) if penalises or sampling.logit_bias else None
