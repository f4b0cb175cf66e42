"""Images as the vision tower wants them: one fast path, equal to the processor that the checkpoint carries."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

Aspect = Literal["square", "pad"]


@dataclass(frozen=True)
class ImageTransform:
    """Decode, bring to a square of `size` pixels, normalise.

    square: short side to `size`, centre crop (CLIP; LLaVA v1). pad: mean-colour square first (LLaVA v1.5).
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    aspect: Aspect = "square"

    def __call__(self, image: bytes) -> Tensor:
        """[3, size, size], float32."""
        with Image.open(io.BytesIO(image)) as opened:
            return self.of(opened.convert("RGB"))

    def of(self, image: Image.Image) -> Tensor:
        """[3, size, size], float32, of an RGB image."""
        square = _padded(image, self.mean) if self.aspect == "pad" else image
        if square.size != (self.size, self.size):
            square = _short_side(square, self.size)
        unit = np.asarray(square, dtype=np.float32) * np.float32(1 / 255)
        normal = (unit - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return torch.from_numpy(np.ascontiguousarray(normal.transpose(2, 0, 1)))

    def dummy(self) -> Tensor:
        """An image for rows that have none."""
        return torch.zeros(3, self.size, self.size)


def transform_of(processor: Any, aspect: Aspect) -> ImageTransform:
    """The transform of a CLIP-type image processor."""
    size = processor.crop_size["height"] if processor.crop_size else processor.size["shortest_edge"]
    return ImageTransform(int(size), tuple(processor.image_mean), tuple(processor.image_std), aspect)


def _padded(image: Image.Image, mean: tuple[float, float, float]) -> Image.Image:
    side = max(image.size)
    if image.size == (side, side):
        return image
    canvas = Image.new("RGB", (side, side), tuple(int(255 * part) for part in mean))
    canvas.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return canvas


def _short_side(image: Image.Image, size: int) -> Image.Image:
    width, height = image.size
    short = min(width, height)
    scaled = (int(width * size / short), int(height * size / short))
    resized = image.resize(scaled, Image.Resampling.BICUBIC)
    left, top = (scaled[0] - size) // 2, (scaled[1] - size) // 2
    return resized.crop((left, top, left + size, top + size))
