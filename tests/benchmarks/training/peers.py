"""Hugging Face's Trainer and TRL's SFTTrainer over the benchmark's samples, tokenised and decoded beforehand."""

from __future__ import annotations

import importlib
import tempfile
import time
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from model.stages import Stage, freeze_for
from model.tokenize import IGNORE
from tasks.shards import ShardReader
from tests.benchmarks.training.data import MICRO_BATCH, conversations, open_base
from tests.benchmarks.training.gate import Gate, Told

LR = 2e-5
ENDLESS = 10_000


class Prepared(Dataset[dict[str, Any]]):
    """Samples as tensors, read and decoded once: peers do not pay for it."""

    column_names = ("input_ids", "labels", "pixel_values", "length")

    def __init__(self, samples: list[dict[str, Any]]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, str):
            return [sample[at] for sample in self.samples]
        return self.samples[at]


def prepare(told: Told, assembled: Any) -> Prepared:
    """The samples of the shards."""
    tokenizer, transform = conversations(assembled), assembled.transform()
    reader = ShardReader(told.shards, told.stage)
    made = []
    for number in range(len(reader)):
        encoded = tokenizer.encode(reader.sample(number), 4096)
        image = reader.image_bytes(number)
        assert image is not None
        made.append(
            {
                "input_ids": torch.tensor(encoded.ids), "labels": torch.tensor(encoded.labels),
                "pixel_values": transform(image), "length": len(encoded.ids),
            }
        )
    return Prepared(made)


def collate(samples: list[dict[str, Any]], pad: int) -> dict[str, Tensor]:
    """Padded on the right to the longest."""
    longest = max(len(sample["input_ids"]) for sample in samples)

    def padded(name: str, fill: int) -> Tensor:
        held = torch.full((len(samples), longest), fill)
        for row, sample in enumerate(samples):
            held[row, : len(sample[name])] = sample[name]
        return held

    lengths = torch.tensor([len(sample["input_ids"]) for sample in samples])
    return {
        "input_ids": padded("input_ids", pad), "labels": padded("labels", IGNORE),
        "attention_mask": (torch.arange(longest)[None] < lengths[:, None]).long(),
        "pixel_values": torch.stack([sample["pixel_values"] for sample in samples]).to(torch.bfloat16),
    }


class Paced(TrainerCallback):
    """One optimizer step at a time, when the gate says so."""

    def __init__(self, gate: Gate, tokens: int, device: str) -> None:
        self.gate, self.tokens, self.device = gate, tokens, device
        self.started = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Wait for the word."""
        if not self.gate.go():
            raise _OverError
        self.started = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tell how long it took."""
        if self.device != "cpu":
            torch.cuda.synchronize()
        self.gate.done(time.perf_counter() - self.started, self.tokens)


class _OverError(Exception):
    """No more passes are wanted."""


def run(told: Told, gate: Gate) -> None:
    """Train for as many passes as the gate lets through."""
    assembled = open_base(told.base)
    data = prepare(told, assembled)
    model: Any = assembled.llava
    model.to(device=told.device, dtype=torch.bfloat16)
    model.config.use_cache = False
    freeze_for(model, Stage(told.stage))
    pad = int(assembled.tokenizer.pad_token_id or 0)
    tokens = sum(sample["length"] for sample in data.samples)
    trl = told.mode == "trl"
    with tempfile.TemporaryDirectory() as scratch:
        common: dict[str, Any] = {
            "output_dir": scratch, "per_device_train_batch_size": MICRO_BATCH,
            "gradient_accumulation_steps": told.samples // MICRO_BATCH, "max_steps": ENDLESS, "learning_rate": LR,
            "optim": "adamw_torch_fused", "weight_decay": 0.0, "report_to": [], "save_strategy": "no",
            "logging_strategy": "no", "use_cpu": told.device == "cpu", "remove_unused_columns": False,
            "disable_tqdm": True, "bf16": False, "gradient_checkpointing": False,
            "dataloader_pin_memory": told.device != "cpu",
            "train_sampling_strategy": "group_by_length" if told.mode == "grouped" else "random",
        }
        shared: dict[str, Any] = {
            "model": model, "train_dataset": data, "data_collator": lambda samples: collate(samples, pad),
            "callbacks": [Paced(gate, tokens, told.device)],
        }
        trainer = _trl(common, shared, assembled) if trl else Trainer(args=TrainingArguments(**common), **shared)
        warm_up(model, data, pad)
        try:
            trainer.train()
        except _OverError:
            return


def warm_up(model: Any, data: Prepared, pad: int) -> None:
    """Forward and backward of the longest samples: what is loaded, chosen or taken from the system once, is by then."""
    longest = sorted(data.samples, key=lambda sample: -sample["length"])[:MICRO_BATCH]
    batch = {name: tensor.to(model.device) for name, tensor in collate(longest, pad).items()}
    model.train()
    model(**batch).loss.backward()
    model.zero_grad()


def _trl(common: dict[str, Any], shared: dict[str, Any], assembled: Any) -> Any:
    # Untyped.
    tables: Any = importlib.import_module("datasets").Dataset
    library: Any = importlib.import_module("trl")

    config = library.SFTConfig(**common, dataset_kwargs={"skip_prepare_dataset": True}, max_length=None)
    held, collated = shared["train_dataset"].samples, shared["data_collator"]
    # It takes the columns of a table alone: images are looked up by their place in it.
    table = tables.from_list(
        [{"input_ids": sample["input_ids"].tolist(), "labels": sample["labels"].tolist(), "place": place}
         for place, sample in enumerate(held)]
    )
    shared = shared | {
        "train_dataset": table,
        "data_collator": lambda lines: collated([held[line["place"]] for line in lines]),
    }
    return library.SFTTrainer(args=config, processing_class=assembled.tokenizer, **shared)
