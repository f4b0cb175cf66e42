"""Passes through a LLaVA: prompts with their images, one more token of each, given answers behind prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration
from transformers.cache_utils import Cache

from model.decode.slots import Prefilled, Slots
from model.errors import ModelError


class Forward:
    """The three kinds of pass. All masks are made here, as attention reads them: 0 or the lowest number, added."""

    def __init__(self, llava: LlavaForConditionalGeneration) -> None:
        self.llava = llava
        self.text = llava.config.get_text_config()
        self._language: Any = llava.model.language_model
        self._embed: Any = llava.get_input_embeddings()
        odd = set(getattr(self.text, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
        if odd:
            raise ModelError(f"layers of type {', '.join(sorted(odd))} cannot be decoded in batches; use vLLM")

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.llava.device

    @property
    def longest(self) -> int:
        """Longest sequence in tokens: what positions reach, or the window of a layer that does not look further."""
        reach = int(getattr(self.text, "max_position_embeddings", 0) or 1 << 30)
        sliding = "sliding_attention" in (getattr(self.text, "layer_types", None) or ())
        return min(reach, int(self.text.sliding_window)) if sliding else reach

    def see(self, pixels: Tensor) -> Sequence[Tensor]:
        """Features of images [n, 3, size, size], as the language model takes them: [tokens, hidden] each."""
        seen: Any = self.llava.model.get_image_features(
            pixel_values=pixels.to(self.device, self.llava.dtype), return_dict=True
        )
        return [feature.to(self.llava.dtype) for feature in seen.pooler_output]

    def prefill(self, prompts: Sequence[Sequence[int]], features: Sequence[Tensor]) -> tuple[Prefilled, Tensor]:
        """A pass over prompts, padded on the left. `features` are those of the images, in the order of the prompts.

        Returns what the layers keep, and the logits of the next token, [prompts, vocabulary] in float32.
        """
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        width = int(lengths.max())
        ids = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt in prompts])
        columns = torch.arange(width)
        starts = (width - lengths).unsqueeze(1)
        embedded = self._embed(ids.to(self.device))
        if features:
            shown = (ids == self.llava.config.image_token_id) & (columns >= starts)
            embedded[shown.to(self.device)] = torch.cat(list(features)).to(embedded.dtype)
        # A pad may look at itself, or its softmax would be over nothing.
        seen = (columns >= starts).unsqueeze(1) & (columns <= columns.unsqueeze(1)) | torch.eye(width, dtype=torch.bool)
        kept = Prefilled()
        hidden = self._pass(embedded, seen, (columns - starts).clamp(min=0), kept)
        return kept, self._logits(hidden[:, -1])

    def step(self, tokens: Sequence[int], slots: Slots) -> Tensor:
        """One more token of every row under way: the logits of the one after it, [rows, vocabulary] in float32."""
        embedded = self._embed(torch.tensor(tokens, device=self.device).unsqueeze(1))
        found: Any = self._language(
            inputs_embeds=embedded, attention_mask=slots.mask(), position_ids=slots.positions, past_key_values=slots,
            use_cache=True,
        )
        slots.advance()
        return self._logits(found.last_hidden_state[:, -1])

    def behind(
        self, tokens: Sequence[Sequence[int]], lengths: Tensor, cache: Cache, width: int
    ) -> Tensor:
        """A pass over answers, padded on the right, behind prompts that lie in `cache`, padded on the left to `width`.

        `lengths` are those of the prompts, [answers]. Returns the logits behind every token, [answers, tokens, vocab].
        """
        longest = max(map(len, tokens))
        ids = torch.tensor([[*answer, *[0] * (longest - len(answer))] for answer in tokens])
        columns, own = torch.arange(width), torch.arange(longest)
        before = (columns >= (width - lengths).unsqueeze(1)).unsqueeze(1).expand(-1, longest, -1)
        within = (own <= own.unsqueeze(1)).expand(len(tokens), -1, -1)
        positions = lengths.unsqueeze(1) + own
        hidden = self._pass(
            self._embed(ids.to(self.device)), torch.cat([before, within], dim=2), positions, cache
        )
        return self._logits(hidden)

    def _pass(self, embedded: Tensor, seen: Tensor, positions: Tensor, cache: Cache) -> Tensor:
        mask = (~seen).to(self.device, embedded.dtype) * torch.finfo(embedded.dtype).min
        found: Any = self._language(
            inputs_embeds=embedded, attention_mask=mask.unsqueeze(1), position_ids=positions.to(self.device),
            past_key_values=cache, use_cache=True,
        )
        hidden: Tensor = found.last_hidden_state
        return hidden

    def _logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.llava.lm_head(hidden)
        return logits.float()
