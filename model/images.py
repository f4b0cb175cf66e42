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

    square: as the tower's own processor does: short side to `short_side` and a centre crop (CLIP, DINOv2; LLaVA v1), or
    stretched (SigLIP). pad: mean-colour square first (LLaVA v1.5).
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    aspect: Aspect = "square"
    short_side: int | None = None
    """None: stretched to the square, whatever its sides were."""
    resample: int = Image.Resampling.BICUBIC

    def __call__(self, image: bytes) -> Tensor:
        """[3, size, size], float32."""
        with Image.open(io.BytesIO(image)) as opened:
            return self.of(opened.convert("RGB"))

    def of(self, image: Image.Image) -> Tensor:
        """[3, size, size], float32, of an RGB image."""
        square = self._square(_padded(image, self.mean) if self.aspect == "pad" else image)
        unit = np.asarray(square, dtype=np.float32) * np.float32(1 / 255)
        normal = (unit - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return torch.from_numpy(np.ascontiguousarray(normal.transpose(2, 0, 1)))

    def _square(self, image: Image.Image) -> Image.Image:
        if self.short_side is None:
            return _resized(image, (self.size, self.size), self.resample)
        width, height = image.size
        short = min(width, height)
        scaled = (int(width * self.short_side / short), int(height * self.short_side / short))
        resized = _resized(image, scaled, self.resample)
        if scaled == (self.size, self.size):
            return resized
        left, top = (scaled[0] - self.size) // 2, (scaled[1] - self.size) // 2
        return resized.crop((left, top, left + self.size, top + self.size))

    def dummy(self) -> Tensor:
        """An image for rows that have none."""
        return torch.zeros(3, self.size, self.size)


def transform_of(processor: Any, aspect: Aspect) -> ImageTransform:
    """The transform that equals an image processor of CLIP, SigLIP, DINOv2 (BiT) or LLaVA."""
    crop = processor.crop_size if getattr(processor, "do_center_crop", False) else None
    short = processor.size.get("shortest_edge")
    size = crop["height"] if crop else short or processor.size["height"]
    return ImageTransform(
        int(size), tuple(processor.image_mean), tuple(processor.image_std), aspect,
        None if short is None else int(short), int(processor.resample),
    )


def _padded(image: Image.Image, mean: tuple[float, float, float]) -> Image.Image:
    side = max(image.size)
    if image.size == (side, side):
        return image
    canvas = Image.new("RGB", (side, side), tuple(int(255 * part) for part in mean))
    canvas.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return canvas


def _resized(image: Image.Image, size: tuple[int, int], resample: int) -> Image.Image:
    return image if image.size == size else image.resize(size, Image.Resampling(resample))
