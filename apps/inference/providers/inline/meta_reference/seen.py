"""A prompt with images, as the engine takes it."""

from collections.abc import Mapping, Sequence

import torch


class Seen(list[int]):
    """The tokens, those of the images among them; `inputs` are what the model takes beside token ids."""

    def __init__(self, tokens: Sequence[int], inputs: Mapping[str, torch.Tensor]) -> None:
        super().__init__(tokens)
        self.inputs = inputs

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.inputs.values())

    def on(self, device: torch.device) -> dict[str, torch.Tensor]:
        return {name: tensor.to(device) for name, tensor in self.inputs.items()}
