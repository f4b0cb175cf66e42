from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from configs.schema import MicroLanguage, MicroVision
from model.build import assemble
from model.tokenize import IGNORE
from tasks.base.clip import contrastive_loss, train_clip
from tasks.base.corpus import documents, lessons
from tasks.base.history import History
from tasks.base.llama import pack_first, read_corpus, train_llama
from tasks.base.optimizer import cosine_with_warmup

VISION = MicroVision(
    kind="micro_clip", image_size=32, patch_size=16, hidden=16, layers=2, heads=2, text_layers=1, projection=8,
    scenes=16, steps=3, batch=8,
)
LANGUAGE = MicroLanguage(
    kind="micro_llama", vocab=420, hidden=16, layers=2, heads=2, intermediate=32, documents=12, steps=3,
    batch_tokens=600,
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    train_clip(folder / "vision", VISION, 0, History(folder / "history.jsonl"))
    language = read_corpus(LANGUAGE, list(documents(0, 6)), list(lessons(0, 6)))
    train_llama(folder / "language", LANGUAGE, language, 0, History(folder / "history.jsonl"))
    return folder


def test_what_is_trained_loads_as_ordinary_folders_and_goes_together(base: Path) -> None:
    vision = AutoModel.from_pretrained(base / "vision")
    language = AutoModelForCausalLM.from_pretrained(base / "language")
    assert vision.dtype == language.dtype == torch.float32
    assert len(AutoTokenizer.from_pretrained(base / "language")) == language.config.vocab_size
    assembled = assemble(base, "linear", -2, "square", seed=0)
    assert assembled.image_tokens == (VISION.image_size // VISION.patch_size) ** 2
    assert all(bool(part.isfinite().all()) for part in assembled.llava.parameters())


def test_the_last_step_of_each_part_is_in_the_history(base: Path) -> None:
    lines = [json.loads(line) for line in (base / "history.jsonl").read_text().splitlines()]
    assert [(line["part"], line["step"], line["steps"]) for line in lines] == [("vision", 3, 3), ("language", 3, 3)]
    assert all(math.isfinite(line["loss"]) for line in lines)


def test_of_a_lesson_only_the_values_are_supervised() -> None:
    language = read_corpus(LANGUAGE, list(documents(0, 6)), list(lessons(0, 2)))
    for lesson, encoded in zip(lessons(0, 2), language.encoded[6:], strict=True):
        supervised = [label for label in encoded.labels if label != IGNORE]
        assert language.tokenizer.decode(supervised) == "".join(text for text, learnt in lesson if learnt)
        assert language.tokenizer.decode(list(encoded.ids[1:])) == "".join(text for text, _ in lesson)


def test_the_contrastive_loss_is_least_when_pairs_match_and_that_of_chance_when_nothing_does() -> None:
    assert float(contrastive_loss(20 * torch.eye(5))) < 1e-6
    assert float(contrastive_loss(torch.zeros(5, 5))) == pytest.approx(math.log(5))
    lopsided = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    assert float(contrastive_loss(lopsided)) == pytest.approx(float(contrastive_loss(lopsided.T)))


def test_the_learning_rate_rises_and_then_falls_to_nothing() -> None:
    factor = cosine_with_warmup(100, 6)
    rates = [factor(step) for step in range(101)]
    assert rates[:6] == sorted(rates[:6]) and rates[5] == 1.0
    assert rates[6:] == sorted(rates[6:], reverse=True)
    assert rates[100] == pytest.approx(0.0)


def test_a_row_takes_leading_documents_that_fit_and_one_at_least() -> None:
    assert pack_first([3, 4, 5, 1], 8) == [0, 1]
    assert pack_first([9, 1], 8) == [0]
