"""Keys and values of answers under way, in tensors that are written in place.

Every row ends at the same column, `cursor`, and starts at its own: rows are aligned to the right, so that a decoding
step writes one column, and a new row is let in by copying its prompt to the columns in front of the cursor. Rotary
positions are in the keys before they come here, so the column at which a token lies means nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers.cache_utils import Cache

SPARE = 64
"""Columns beyond the longest prompt to begin with."""
GROWTH = 1.5


class Prefilled(Cache):
    """Keeps what one pass over prompts yields, a pair of [rows, heads, tokens, size] a layer."""

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.pairs: dict[int, tuple[Tensor, Tensor]] = {}

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Keep a layer's keys and values; the pass sees nothing but its own."""
        self.pairs[layer_idx] = (key_states, value_states)
        return key_states, value_states


class Continued(Cache):
    """Lets a pass see what another has left: row i of this pass goes on from row `owners[i]` of the other."""

    def __init__(self, before: Prefilled, owners: Tensor) -> None:
        super().__init__(layers=[])
        self._before, self._owners = before, owners

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """The earlier keys and values of each row, and the new ones behind them."""
        keys, values = (part.index_select(0, self._owners) for part in self._before.pairs[layer_idx])
        return torch.cat([keys, key_states], dim=2), torch.cat([values, value_states], dim=2)


class Slots(Cache):
    """A fixed number of rows under way. See the module."""

    def __init__(self, rows: int, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__(layers=[])
        self.cursor = 0
        self.low = 0
        """First column that a row under way begins at: what lies in front of it is dead."""
        self.starts = torch.zeros(rows, dtype=torch.long)
        self._mask = torch.empty(rows, 0, device=device, dtype=dtype)
        self._keys: dict[int, Tensor] = {}
        self._values: dict[int, Tensor] = {}

    @property
    def rows(self) -> int:
        """How many rows there is room for."""
        return len(self.starts)

    @property
    def positions(self) -> Tensor:
        """Position of the next token of each row, [rows, 1]."""
        return (self.cursor - self.starts).unsqueeze(1).to(self._mask.device)

    def mask(self) -> Tensor:
        """What the next token may look at, itself included: 0 or the lowest number, [rows, 1, 1, columns]."""
        return self._mask[:, None, None, self.low : self.cursor + 1]

    def admit(self, places: Sequence[int], prompts: Prefilled, lengths: Sequence[int]) -> None:
        """Put prompts (aligned to the right in `prompts`) into the rows `places`, which must be free.

        A prompt that is longer than the longest row under way moves all rows: cheapest are the longest prompts first.
        """
        width = max(lengths)
        self._make_room((self.cursor or width) + SPARE)
        self.cursor = self.cursor or width
        self._reach(width)
        rows = torch.tensor(places)
        for layer, (keys, values) in prompts.pairs.items():
            self._of(self._keys, layer, keys)[rows, :, self.cursor - width : self.cursor] = keys[:, :, -width:]
            self._of(self._values, layer, values)[rows, :, self.cursor - width : self.cursor] = values[:, :, -width:]
        self.starts[rows] = self.cursor - torch.tensor(lengths)
        columns = torch.arange(self._mask.shape[1])
        dead = (columns < self.starts[rows].unsqueeze(1)).to(self._mask.device)
        self._mask[rows] = (dead * torch.finfo(self._mask.dtype).min).to(self._mask.dtype)

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write one token's keys and values and show all that is alive."""
        keys, values = self._keys[layer_idx], self._values[layer_idx]
        keys[:, :, self.cursor : self.cursor + 1] = key_states
        values[:, :, self.cursor : self.cursor + 1] = value_states
        return keys[:, :, self.low : self.cursor + 1], values[:, :, self.low : self.cursor + 1]

    def advance(self) -> None:
        """The column at the cursor is written."""
        self.cursor += 1
        if self.cursor >= self._mask.shape[1]:
            self._make_room(int(self.cursor * GROWTH) + SPARE)

    def alive(self, places: Sequence[int]) -> None:
        """Say which rows are under way."""
        if places:
            self.low = int(self.starts[list(places)].min())
        else:
            self.cursor = self.low = 0

    def keep(self, places: Sequence[int]) -> None:
        """Drop all rows but these, which become the first ones."""
        rows = torch.tensor(places)
        self.starts, self._mask = self.starts[rows], self._mask[rows]
        for held in (self._keys, self._values):
            for layer, tensor in held.items():
                held[layer] = tensor[rows]

    def widen(self, rows: int) -> None:
        """Have room for `rows` rows, the new ones behind those there are."""
        more = rows - self.rows
        self.starts = torch.cat([self.starts, torch.full((more,), self.cursor)])
        self._mask = torch.cat([self._mask, self._mask.new_zeros(more, self._mask.shape[1])])
        for held in (self._keys, self._values):
            for layer, tensor in held.items():
                held[layer] = torch.cat([tensor, tensor.new_zeros(more, *tensor.shape[1:])])

    def _reach(self, columns: int) -> None:
        """Have at least so many columns in front of the cursor, so that a prompt of that length can be let in."""
        if columns <= self.cursor:
            return
        more = columns - self.cursor
        self._mask = torch.cat([self._mask.new_zeros(self.rows, more), self._mask], dim=1)
        self._mask[:, :more] = torch.finfo(self._mask.dtype).min
        for held in (self._keys, self._values):
            for layer, tensor in held.items():
                held[layer] = torch.cat([tensor.new_zeros(*tensor.shape[:2], more, tensor.shape[3]), tensor], dim=2)
        self.starts += more
        self.low += more
        self.cursor += more

    def _of(self, held: dict[int, Tensor], layer: int, like: Tensor) -> Tensor:
        """The tensor of a layer. It starts as zeros: what is masked is multiplied by 0 and so has to be a number."""
        if layer not in held:
            held[layer] = like.new_zeros(self.rows, like.shape[1], self._mask.shape[1], like.shape[3])
        return held[layer]

    def _make_room(self, columns: int) -> None:
        """Have at least so many columns behind the first live one, moving what is alive to the front."""
        if columns <= self._mask.shape[1]:
            return
        old, live = slice(self.low, self.cursor), self.cursor - self.low
        room = max(columns - self.low, live + SPARE)
        mask = self._mask.new_zeros(self.rows, room)
        mask[:, :live] = self._mask[:, old]
        self._mask = mask
        for held in (self._keys, self._values):
            for layer, tensor in held.items():
                held[layer] = tensor.new_zeros(*tensor.shape[:2], room, tensor.shape[3])
                held[layer][:, :, :live] = tensor[:, :, old]
        self.starts -= self.low
        self.cursor, self.low = live, 0
