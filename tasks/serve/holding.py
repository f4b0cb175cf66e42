"""A model folder, loaded to answer conversations with our running batch: the one file here that needs torch."""

from __future__ import annotations

import torch
from PIL import Image
from torch import nn

from model.build import Assembled, load
from model.chat_prompt import ChatPrompt, Message
from model.decode.forward import Forward
from model.decode.live import LiveBatch, LiveJob, keep_ends
from model.decode.live import Picture as Pixels
from model.decode.words_out import WordsOut
from tasks.serve.asked import Asked, Picture, PromptRefused, Said
from tasks.serve.worker import Model

WARM_UP = "Hello"


def hold(model: Model) -> HeldModel:
    """Load a folder, and answer once, so that the first question does not pay for what is done once."""
    torch.set_num_threads(model.threads)
    assembled = load(model.folder)
    where = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    llava: nn.Module = assembled.llava
    llava.to(where, torch.bfloat16 if model.precision == "bf16" else torch.float32).eval()
    held = HeldModel(assembled, ChatPrompt(assembled, model.folder), model.batch)
    held.warm_up()
    return held


class HeldModel:
    """See `tasks.serve.worker.Held`."""

    def __init__(self, assembled: Assembled, prompt: ChatPrompt, batch: int) -> None:
        self._prompt, self._transform = prompt, assembled.transform()
        self._tokenizer = assembled.tokenizer
        named = getattr(assembled.llava.generation_config, "eos_token_id", None)
        ends = keep_ends(named, assembled.tokenizer.eos_token_id)
        self.batch = LiveBatch(Forward(assembled.llava), ends, batch)
        mark = prompt.end_mark()
        self._stop = () if mark is None else (mark,)

    def job(self, name: str, asked: Asked) -> LiveJob:
        """The question in ids and pixels. Raises PromptRefused, ModelError."""
        ids = self._prompt.ids([Message(said.role, said.words, len(said.pictures)) for said in asked.said])
        room = self.batch.longest - len(ids)
        if room < 1:
            raise PromptRefused(
                "context_length_exceeded",
                f"the conversation takes {len(ids)} tokens, and the model has {self.batch.longest} positions;"
                " shorten it, or begin a new one",
            )
        pictures = tuple(self._pixels(picture) for said in asked.said for picture in said.pictures)
        return LiveJob(name, tuple(ids), pictures, min(asked.limit, room), asked.sampling)

    def words(self, asked: Asked) -> WordsOut:
        """The words of its answer."""
        return WordsOut(self._tokenizer.backend_tokenizer, (*asked.stop, *self._stop))

    def warm_up(self) -> None:
        """One short answer."""
        self.batch.add(self.job("", Asked((Said("user", WARM_UP),), limit=2)))
        while not self.batch.idle:
            self.batch.step()

    def _pixels(self, picture: Picture) -> Pixels:
        image = Image.frombytes("RGB", (picture.width, picture.height), picture.octets)
        return Pixels(picture.digest, self._transform.of(image))
