"""A model behind an OpenAI-compatible endpoint as one that answers, so that it stands in the same table."""

from __future__ import annotations

import hashlib
import mimetypes
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from configs.schema import OpenAIEndpoint
from model.records import IMAGE_TOKEN
from tasks.chat.records import ImageFile, Message
from tasks.errors import ConfigError, EndpointError
from tasks.evaluate.answers import Prompt
from tasks.ledger.ledger import Asker, Request

Asking = Callable[[OpenAIEndpoint], AbstractContextManager[Asker]]
"""Opens somebody to ask behind the ledger; the endpoint says how long answers may be and how they are drawn."""


class EndpointAnswerer:
    """Asks each prompt as one user message, its image in front. Answers are kept in the ledger as they come.

    The endpoint decodes as it does: temperature 0 is asked for where an answer is to be greedy, and a draw is asked
    for without its seed, as not every server takes one. An answer that did not come is an error after all others came,
    never an empty text.
    """

    def __init__(self, endpoint: OpenAIEndpoint, asking: Asking) -> None:
        self._endpoint, self._asking = endpoint, asking
        self._images: dict[Path, ImageFile] = {}
        self.usd = 0.0
        """What was spent so far."""

    def answer(self, prompts: Sequence[Prompt], batch: int) -> Iterator[tuple[int, str]]:
        """See `Answerer`; how many are asked at once is the endpoint's `concurrency`.

        Raises ConfigError for an answer that is to be begun, EndpointError where some or all cannot be had.
        """
        groups: dict[tuple[int, float], list[int]] = defaultdict(list)
        for position, prompt in enumerate(prompts):
            if prompt.begun:
                raise ConfigError("an endpoint goes on from no begun answer; set evaluate.scienceqa.answering=generate")
            groups[prompt.max_new_tokens, prompt.sampling.temperature].append(position)
        failures: list[str] = []
        for (longest, temperature), positions in groups.items():
            endpoint = self._endpoint.model_copy(update={"max_tokens": longest, "temperature": temperature})
            with self._asking(endpoint) as asker:
                requests = [Request((self._message(prompts[position]),)) for position in positions]
                for number, answer in asker.ask(requests):
                    if answer.reply is None:
                        failures.append(answer.failure or "no reply")
                    else:
                        yield positions[number], answer.reply.text
                self.usd += asker.tally.used.usd
        if failures:
            raise EndpointError(
                f"{len(failures)} of {len(prompts)} answers of {self._endpoint.model} did not come ({failures[0]}); "
                "those that came are kept: run the same command again"
            )

    def _message(self, prompt: Prompt) -> Message:
        words = prompt.text.removeprefix(f"{IMAGE_TOKEN}\n")
        return Message("user", words, None if prompt.image is None else self._image(prompt.image))

    def _image(self, path: Path) -> ImageFile:
        if path not in self._images:
            media = mimetypes.guess_type(path.name)[0] or "image/jpeg"
            self._images[path] = ImageFile(path, media, hashlib.sha256(path.read_bytes()).hexdigest())
        return self._images[path]
