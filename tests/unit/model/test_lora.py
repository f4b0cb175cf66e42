from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForImageTextToText, LlavaForConditionalGeneration

from configs.schema import LoraConfig
from model.build import Assembled, assemble
from model.errors import ModelError
from model.lora import Adapter, adapt, merged, save_adapter, unwrap
from model.packed import PackedLlava, Row, collate
from model.shapes import adapter_shape, language_shape
from model.stages import LANGUAGE, PROJECTOR, Stage, freeze_for, part_of
from model.templates import template_named
from model.tokenize import IGNORE, Encoded
from tests.fakes.tiny_base import IMAGE_SIZE, IMAGE_TOKENS, save_tiny_base

ADAPTER = Adapter(r=4, alpha=8.0, dropout=0.0)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_base(tmp_path_factory.mktemp("base"))


def made(base: Path) -> Assembled:
    return assemble(base, "mlp2x_gelu", -2, "square", 0)


def adapted(base: Path, adapter: Adapter = ADAPTER) -> Assembled:
    assembled = made(base)
    freeze_for(assembled.llava, Stage.INSTRUCT)
    adapt(assembled.llava, adapter, 0)
    return assembled


@pytest.mark.parametrize("targets", ["all-linear", ("q_proj", "down_proj")])
def test_the_estimate_counts_the_adapters_that_peft_makes(base: Path, targets: str | tuple[str, ...]) -> None:
    assembled = adapted(base, Adapter(r=4, alpha=8.0, dropout=0.0, targets=targets))  # type: ignore[arg-type]
    made = sum(value.numel() for name, value in assembled.llava.named_parameters() if "lora_" in name)
    shape = adapter_shape(LoraConfig(r=4, targets=targets), "instruct")
    assert shape is not None
    config: Any = assembled.llava.config
    assert shape.parameters(language_shape(config.text_config.to_dict())) == made
    assert adapter_shape(LoraConfig(stages=("task",)), "instruct") is None


def row(assembled: Assembled) -> Row:
    """Two samples, the first with an image."""
    draw = torch.Generator().manual_seed(1)
    samples = []
    for images in (1, 0):
        words = torch.randint(10, 200, (20,), generator=draw).tolist()
        ids = [1, *[assembled.llava.config.image_token_id] * (IMAGE_TOKENS * images), *words]
        labels = [IGNORE] * (len(ids) - 10) + ids[-10:]
        samples.append(Encoded(tuple(ids), tuple(labels), turns=2))
    picture = torch.randn(3, IMAGE_SIZE, IMAGE_SIZE, generator=draw)
    return collate(samples, [picture], torch.zeros(3, IMAGE_SIZE, IMAGE_SIZE), 0)


def learnt(assembled: Assembled) -> dict[str, Tensor]:
    """Train a few steps; the weights afterwards."""
    model = PackedLlava(assembled.llava)
    optimizer = torch.optim.AdamW([part for part in model.parameters() if part.requires_grad], lr=1e-2)
    for _ in range(3):
        model(row(assembled)).backward()
        optimizer.step()
        optimizer.zero_grad()
    return {name: value.clone() for name, value in assembled.llava.state_dict().items()}


def logits(llava: object, assembled: Assembled) -> Tensor:
    """Of the first sample, by the plain forward pass."""
    assert isinstance(llava, LlavaForConditionalGeneration)
    llava.eval()
    llava.model.language_model.config._attn_implementation = "sdpa"
    packed = row(assembled)
    ids = packed.input_ids[:, : 21 + IMAGE_TOKENS]
    with torch.no_grad():
        found: Tensor = llava(input_ids=ids, pixel_values=packed.pixel_values).logits
    return found


def test_adapters_and_projector_train_and_nothing_else(base: Path) -> None:
    assembled = adapted(base)
    trainable = {name for name, value in assembled.llava.named_parameters() if value.requires_grad}
    language = {name for name in trainable if part_of(name) == LANGUAGE}
    assert language and all(".lora_" in name for name in language)
    assert {part_of(name) for name in trainable - language} == {PROJECTOR}
    everything = set(assembled.llava.state_dict())
    assert not any(".lora_" in name for name in everything if part_of(name) != LANGUAGE)
    # Seven linear layers in each of the two layers, as LLaVA's script finds them: lm_head is not among them.
    assert len(language) == 2 * 7 * 2


def test_adapters_that_have_not_learnt_change_nothing(base: Path) -> None:
    plain, with_adapters = made(base), adapted(base)
    assert torch.equal(logits(plain.llava, plain), logits(with_adapters.llava, with_adapters))


def test_named_targets_get_adapters_and_unknown_ones_are_refused(base: Path) -> None:
    named = adapted(base, Adapter(4, 8.0, 0.0, ("q_proj",)))
    factors = {name for name in named.llava.state_dict() if ".lora_" in name}
    assert len(factors) == 2 * 2
    assert all("language_model" in name and ".q_proj." in name for name in factors)
    with pytest.raises(ModelError, match=r"no linear layer called c_attn; train\.lora\.targets may name .*q_proj"):
        adapted(base, Adapter(4, 8.0, 0.0, ("c_attn",)))


def test_the_merged_checkpoint_answers_as_the_adapted_model(base: Path, tmp_path: Path) -> None:
    assembled, plain = adapted(base), made(base)
    weights = learnt(assembled)
    wanted = logits(assembled.llava, assembled)
    assert (wanted - logits(plain.llava, plain)).abs().max() > 1e-2
    unwrap(assembled.llava)
    assembled.save(tmp_path / "model", template_named("v1"), merged(weights, ADAPTER))
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path / "model", dtype=torch.float32)
    assert set(loaded.state_dict()) == set(plain.llava.state_dict())
    torch.testing.assert_close(logits(loaded, plain), wanted, rtol=0, atol=1e-5)


def test_the_adapter_folder_is_one_that_peft_loads_on_what_the_stage_started_from(base: Path, tmp_path: Path) -> None:
    assembled, start = adapted(base), made(base)
    weights = learnt(assembled)
    wanted = logits(assembled.llava, assembled)
    unwrap(assembled.llava)
    save_adapter(tmp_path / "adapter", assembled.llava, weights, ADAPTER)
    start.save(tmp_path / "start", template_named("v1"))
    plain = AutoModelForImageTextToText.from_pretrained(tmp_path / "start", dtype=torch.float32)
    with_adapter = PeftModel.from_pretrained(plain, str(tmp_path / "adapter"))
    torch.testing.assert_close(logits(with_adapter.get_base_model(), made(base)), wanted, rtol=0, atol=1e-5)


def test_merging_in_bf16_rounds_the_sum_and_not_its_parts(base: Path) -> None:
    weights = learnt(adapted(base))
    halves = {name: value.bfloat16() for name, value in weights.items()}
    name = "model.language_model.layers.0.self_attn.q_proj"
    found = merged(halves, ADAPTER)[f"{name}.weight"]
    down, up = (halves[f"{name}.lora_{factor}.default.weight"].float() for factor in "AB")
    whole = halves[f"{name}.base_layer.weight"].float() + ADAPTER.scaling * up @ down
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, whole.bfloat16())
