"""The running batch's keys and values: rows that end at the same column and start where their prompt started.

    row 0   . . . a a a a a
    row 1   b b b b b b b b        column `length` is where the next token of every row goes
    row 2   . . . . . c c c

Columns before a row's start hold zeros and are masked. Rows join and leave between steps, each time by one copy; a step
itself writes in place, where transformers' own cache copies everything (torch.cat) for each token.
"""

from collections.abc import Sequence

import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

HEADROOM = 256  # columns to grow into before the next copy


class RoomyLayer(DynamicLayer):
    """A layer's keys and values at the front of a larger buffer."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values = keys, values
        self._room_keys, self._room_values = keys, values

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        start = self.keys.shape[-2]
        end = start + key_states.shape[-2]
        if end > self._room_keys.shape[-2]:
            self._room_keys, self._room_values = _widened(self.keys), _widened(self.values)
        self._room_keys[:, :, start:end] = key_states
        self._room_values[:, :, start:end] = value_states
        self.keys, self.values = self._room_keys[:, :, :end], self._room_values[:, :, :end]
        return self.keys, self.values


def _widened(tensor: torch.Tensor) -> torch.Tensor:
    rows, heads, columns, size = tensor.shape
    wider = tensor.new_empty(rows, heads, columns + HEADROOM, size)
    wider[:, :, :columns] = tensor
    return wider


class Rows:
    """The cache of the running batch. `starts` holds the first column of each row."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.cache: Cache | None = None

    @property
    def length(self) -> int:
        return self.cache.get_seq_length() if self.cache is not None else 0

    def join(self, prefilled: DynamicCache, starts: Sequence[int]) -> None:
        """Add rows whose keys and values were computed apart, padded on the left as `starts` says."""
        ours, theirs = self.length, prefilled.get_seq_length()
        width = max(ours, theirs)
        old = list(self.cache.layers) if self.cache is not None else [None] * len(prefilled.layers)
        layers = []
        for mine, new in zip(old, prefilled.layers, strict=True):
            _blank(new.keys, starts)
            _blank(new.values, starts)
            parts = [new] if mine is None else [mine, new]
            layers.append(
                RoomyLayer(_stacked([p.keys for p in parts], width), _stacked([p.values for p in parts], width))
            )
        self.cache = Cache(layers=layers)
        self.starts = [start + width - ours for start in self.starts] + [start + width - theirs for start in starts]

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these, and the columns that only dropped rows used."""
        if len(rows) == len(self.starts):
            return
        if not rows or self.cache is None:
            self.starts, self.cache = [], None
            return
        first = min(self.starts[row] for row in rows)
        index = torch.tensor(rows, device=self.cache.layers[0].keys.device)
        self.cache = Cache(
            layers=[
                RoomyLayer(
                    layer.keys[:, :, first:].index_select(0, index), layer.values[:, :, first:].index_select(0, index)
                )
                for layer in self.cache.layers
            ]
        )
        self.starts = [self.starts[row] - first for row in rows]

    def mask(self, device: torch.device) -> torch.Tensor | None:
        """Which columns each row may look at in the next step; None where all rows may look at all."""
        if not any(self.starts):
            return None
        columns = torch.arange(self.length + 1, device=device)
        return (columns >= torch.tensor(self.starts, device=device)[:, None])[:, None, None, :]

    def positions(self, device: torch.device) -> torch.Tensor:
        """The position of each row's next token."""
        length = self.length
        return torch.tensor([[length - start] for start in self.starts], device=device)


def _blank(tensor: torch.Tensor, starts: Sequence[int]) -> None:
    """Zero what stands in padding: a masked NaN would still spoil the sum."""
    for row, start in enumerate(starts):
        tensor[row, :, :start] = 0


def _stacked(parts: Sequence[torch.Tensor], width: int) -> torch.Tensor:
    """Rows of several tensors in one of `width` columns, aligned right, zeros before them."""
    _, heads, _, size = parts[0].shape
    stacked = parts[0].new_zeros(sum(part.shape[0] for part in parts), heads, width, size)
    row = 0
    for part in parts:
        stacked[row : row + part.shape[0], :, width - part.shape[-2] :] = part
        row += part.shape[0]
    return stacked
