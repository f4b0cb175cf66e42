"""Images of questions, decoded in threads before they are wanted, and their features, kept while they are of use."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from PIL import Image
from torch import Tensor

from model.images import ImageTransform

THREADS = 2
FEATURE_BYTES = 256_000_000
"""What the features of images that may be asked about again take at most."""


class ImagesAhead:
    """Features of images in the order in which they will be asked for. Use it as a context manager: it owns threads.

    `see` is the vision tower with its projector: [images, 3, size, size] to a tensor [tokens, hidden] each.
    """

    def __init__(
        self,
        order: Iterable[Path],
        transform: ImageTransform,
        see: Callable[[Tensor], Sequence[Tensor]],
        ahead: int,
    ) -> None:
        self._coming = deque(dict.fromkeys(order))
        self._transform, self._see, self._ahead = transform, see, ahead
        self._decoding: dict[Path, Future[Tensor]] = {}
        self._features: OrderedDict[Path, Tensor] = OrderedDict()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="images")

    def __enter__(self) -> Self:
        self._top_up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)

    def features(self, paths: Sequence[Path]) -> list[Tensor]:
        """The features of each image, [tokens, hidden]; an image that comes several times is looked at once."""
        new = [path for path in dict.fromkeys(paths) if path not in self._features]
        if new:
            pixels = torch.stack([self._pixels(path) for path in new])
            self._features.update(zip(new, self._see(pixels), strict=True))
        found = [self._features[path] for path in paths]
        for path in paths:
            self._features.move_to_end(path)
        self._forget()
        return found

    def _pixels(self, path: Path) -> Tensor:
        future = self._decoding.pop(path, None) or self._threads.submit(self._decode, path)
        pixels = future.result()
        self._top_up()
        return pixels

    def _top_up(self) -> None:
        while self._coming and len(self._decoding) < self._ahead:
            path = self._coming.popleft()
            if path not in self._features:
                self._decoding[path] = self._threads.submit(self._decode, path)

    def _decode(self, path: Path) -> Tensor:
        with Image.open(path) as opened:
            return self._transform.of(opened.convert("RGB"))

    def _forget(self) -> None:
        held = sum(feature.nbytes for feature in self._features.values())
        while held > FEATURE_BYTES and self._features:
            held -= self._features.popitem(last=False)[1].nbytes
