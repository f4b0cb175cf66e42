"""vLLM as the engine, where it is installed: it schedules and batches by itself."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from tasks.errors import EnvironmentProblem
from tasks.evaluate.answers import Prompt


class VllmAnswerer:
    """A checkpoint that answers through `vllm.LLM`. Raises EnvironmentProblem where vLLM is not installed."""

    def __init__(self, folder: Path, template: str | None) -> None:
        try:
            self._vllm: Any = importlib.import_module("vllm")
        except ImportError as error:
            raise EnvironmentProblem(
                "evaluate.engine=vllm, but vLLM is not installed; install it beside this project, or set "
                "evaluate.engine=transformers"
            ) from error
        from model.build import load
        from model.decode.prompts import prompts_of

        shape = load(folder, weights=False)
        self._prompts, self._image = prompts_of(shape, folder, template), shape.llava.config.image_token_id
        self._llm: Any = self._vllm.LLM(model=str(folder), limit_mm_per_prompt={"image": 1})

    def answer(self, prompts: Sequence[Prompt], batch: int) -> Iterator[tuple[int, str]]:
        """See `Answerer`. vLLM hands answers over `batch` at a time, so that those can be kept."""
        for start in range(0, len(prompts), batch):
            part = prompts[start : start + batch]
            outputs = self._llm.generate([self._input(prompt) for prompt in part], [self._how(one) for one in part])
            for number, output in enumerate(outputs):
                yield start + number, self._prompts.words(list(output.outputs[0].token_ids))

    def _input(self, prompt: Prompt) -> dict[str, object]:
        """vLLM makes room for the features itself: it wants one image token."""
        ids = self._prompts.ids(prompt.text, prompt.begun)
        if prompt.image is None:
            return {"prompt_token_ids": ids}
        first = ids.index(self._image)
        ids = [token for at, token in enumerate(ids) if at <= first or token != self._image]
        with Image.open(prompt.image) as opened:
            return {"prompt_token_ids": ids, "multi_modal_data": {"image": opened.convert("RGB")}}

    def _how(self, prompt: Prompt) -> object:
        sampling = prompt.sampling
        return self._vllm.SamplingParams(
            temperature=sampling.temperature, top_p=sampling.top_p, seed=sampling.seed,
            max_tokens=prompt.max_new_tokens, stop=self._prompts.stop, skip_special_tokens=False,
        )
