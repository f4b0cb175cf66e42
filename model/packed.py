"""The training forward pass: packed rows, attention inside each sample, logits at supervised positions only.

Attention is causal and samples are padded on the right, so a plain causal kernel over [samples, longest] needs no mask:
a real token never sees the padding behind it. Samples of like length share a kernel call. On CPU this beats a dense
block-diagonal mask by far (a mask over a 2048-token row costs more than the attention itself).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlavaForConditionalGeneration
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from model.attention import blockwise
from model.errors import ModelError
from model.loss import take_targets
from model.pieces import take_pieces
from model.tokenize import IGNORE, Encoded

PACKED_ATTENTION = "llavaflow_packed"
LIKE_LENGTH = 0.7
"""Samples at least this share of a group's longest join its kernel call."""


@dataclass(frozen=True)
class SegmentGroup:
    """Samples of like length: `gather` [samples, longest] are row positions (0 where padded)."""

    gather: Tensor


@dataclass(frozen=True)
class Segments:
    """Where the samples of a row lie. `restore` [tokens] finds each row token in the groups' flattened outputs."""

    groups: tuple[SegmentGroup, ...]
    restore: Tensor

    def to(self, device: torch.device) -> Segments:
        """The same on another device."""
        groups = tuple(SegmentGroup(group.gather.to(device)) for group in self.groups)
        return Segments(groups, self.restore.to(device))


def segments_of(lengths: Sequence[int]) -> Segments:
    """The segments of a row whose samples of these lengths stand one behind the other."""
    starts = [0]
    for length in lengths:
        starts.append(starts[-1] + length)
    by_length = sorted(range(len(lengths)), key=lambda at: -lengths[at])
    grouped: list[list[int]] = []
    for at in by_length:
        if grouped and lengths[at] >= LIKE_LENGTH * lengths[grouped[-1][0]]:
            grouped[-1].append(at)
        else:
            grouped.append([at])
    restore = torch.empty(starts[-1], dtype=torch.long)
    groups, offset = [], 0
    for members in grouped:
        longest = lengths[members[0]]
        gather = torch.zeros(len(members), longest, dtype=torch.long)
        for row, at in enumerate(members):
            positions = torch.arange(starts[at], starts[at] + lengths[at])
            gather[row, : lengths[at]] = positions
            restore[positions] = offset + row * longest + torch.arange(lengths[at])
        groups.append(SegmentGroup(gather))
        offset += gather.numel()
    return Segments(tuple(groups), restore)


def packed_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, *,
    segments: Segments, scaling: float | None = None, sliding_window: int | None = None, **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention inside each segment. query [1, heads, tokens, size], result [1, tokens, heads, size].

    Dropout is not offered: LLaVA trains without. Raises ModelError for a sample longer than the model's sliding window
    (Mistral 7B v0.1: 4,096 tokens), beyond which attention would not be plainly causal.
    """
    outputs = []
    for group in segments.groups:
        samples, longest = group.gather.shape
        if sliding_window is not None and longest > sliding_window:
            raise ModelError(
                f"a sample of {longest} tokens is longer than the language model's sliding window of {sliding_window}; "
                "lower the stage's max_length"
            )
        flat = group.gather.reshape(-1)

        def split(states: Tensor, flat: Tensor = flat, samples: int = samples, longest: int = longest) -> Tensor:
            picked = states[0].index_select(1, flat)
            return picked.view(states.shape[1], samples, longest, states.shape[3]).transpose(0, 1)

        attended = _causal(split(query), split(key), split(value), scaling)
        outputs.append(attended.transpose(1, 2).reshape(samples * longest, query.shape[1], query.shape[3]))
    joined = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    return joined.index_select(0, segments.restore).unsqueeze(0), None


def _causal(query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
    """Causal attention over [samples, heads, length, size]."""
    if query.device.type == "cpu":
        return blockwise(query, key, value, query.shape[3] ** -0.5 if scaling is None else scaling)
    return functional.scaled_dot_product_attention(
        query, key, value, is_causal=True, scale=scaling, enable_gqa=query.shape[1] != key.shape[1]
    )


@dataclass(frozen=True)
class Row:
    """A packed row.

    input_ids [1, tokens], position_ids [1, tokens]; predict [supervised] are the positions whose next token is
    supervised, targets [supervised] those tokens; pixel_values [images, 3, height, width] in the order of the samples.
    A row without images holds one dummy image, `real_images` False, so that every rank runs the vision tower.
    """

    input_ids: Tensor
    position_ids: Tensor
    segments: Segments
    predict: Tensor
    targets: Tensor
    pixel_values: Tensor
    real_images: bool

    def to(self, device: torch.device) -> Row:
        """The same on another device."""
        return Row(
            self.input_ids.to(device), self.position_ids.to(device), self.segments.to(device), self.predict.to(device),
            self.targets.to(device), self.pixel_values.to(device), self.real_images,
        )

    @property
    def tokens(self) -> int:
        """Tokens in the row."""
        return int(self.input_ids.shape[1])


def collate(samples: Sequence[Encoded], pixels: Sequence[Tensor], dummy: Tensor, pad_id: int) -> Row:
    """The row of some samples. An empty row holds two padding tokens that nothing predicts."""
    ids: list[int] = []
    positions: list[int] = []
    predict: list[int] = []
    targets: list[int] = []
    for sample in samples:
        start = len(ids)
        ids += sample.ids
        positions += range(len(sample.ids))
        for at in range(1, len(sample.ids)):
            if sample.labels[at] != IGNORE:
                predict.append(start + at - 1)
                targets.append(sample.labels[at])
    lengths = [len(sample.ids) for sample in samples]
    if not samples:
        ids, positions, lengths = [pad_id, pad_id], [0, 1], [2]
    return Row(
        input_ids=torch.tensor([ids]),
        position_ids=torch.tensor([positions]),
        segments=segments_of(lengths),
        predict=torch.tensor(predict, dtype=torch.long),
        targets=torch.tensor(targets, dtype=torch.long),
        pixel_values=torch.stack(list(pixels)) if pixels else dummy.unsqueeze(0),
        real_images=bool(pixels),
    )


class PackedLlava(nn.Module):
    """A `LlavaForConditionalGeneration` with the packed forward pass; parameters and their names are the model's."""

    def __init__(self, llava: LlavaForConditionalGeneration, *, vision_frozen: bool = True) -> None:
        super().__init__()
        self.llava = llava
        self.config = llava.config
        self.vision_frozen = vision_frozen
        ALL_ATTENTION_FUNCTIONS.register(PACKED_ATTENTION, packed_attention)
        llava.model.language_model.config._attn_implementation = PACKED_ATTENTION
        take_targets(llava.lm_head)
        take_pieces(llava.model.language_model)

    def forward(self, row: Row) -> Tensor:
        """Sum of the cross-entropy over the row's supervised tokens (a scalar; 0 for a row without any).

        For a row that predicts without targets: the likeliest next token at each of these positions.
        """
        hidden = self.hidden(row)
        if row.predict.numel() > row.targets.numel():
            return cast(Tensor, self.llava.lm_head(hidden.index_select(0, row.predict))).argmax(dim=-1)
        if not row.predict.numel():
            # Nothing is supervised here, yet this rank must take part in every reduction of gradients, with a gradient
            # for every parameter: ranks whose buckets differ exchange one layer's gradient for another's, or hang.
            return cast(Tensor, self.llava.lm_head(hidden[:1])).float().sum() * 0.0
        return cast(Tensor, self.llava.lm_head(hidden.index_select(0, row.predict), row.targets))

    def hidden(self, row: Row) -> Tensor:
        """Hidden states after the last layer, [tokens, hidden]."""
        model = self.llava.model
        embedded = model.get_input_embeddings()(row.input_ids)
        features = self.features(row.pixel_values).to(embedded.dtype)
        if row.real_images:
            places = (row.input_ids == self.config.image_token_id).unsqueeze(-1)
            embedded = embedded.masked_scatter(places, features)
        else:
            embedded = embedded + features.sum() * 0.0
        return model.language_model(  # type: ignore[no-any-return]
            inputs_embeds=embedded, position_ids=row.position_ids, attention_mask=None, use_cache=False,
            segments=row.segments,
        ).last_hidden_state[0]

    def features(self, pixel_values: Tensor) -> Tensor:
        """Projected image features, [images, features, hidden]."""
        model = self.llava.model
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.vision_frozen):
            tower = model.vision_tower
            states = tower(pixel_values.to(tower.dtype), output_hidden_states=True).hidden_states
            picked = states[self.config.vision_feature_layer]
            if self.config.vision_feature_select_strategy == "default":
                picked = picked[:, 1:]
        return model.multi_modal_projector(picked)  # type: ignore[no-any-return]
