from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import (
    AutoConfig,
    AutoModel,
    AutoProcessor,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaForConditionalGeneration,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from model.build import Assembled, Projector, assemble, conversations_of_base, load
from model.decode import HuggingFaceAnswerer, Question
from model.errors import ModelError
from model.images import Aspect
from model.packed import PackedLlava, collate
from model.records import Sample, Turn
from model.stages import Stage, freeze_for
from model.templates import template_named
from model.tokenize import IGNORE, Encoded
from tests.fakes.tiny_base import IMAGE_SIZE, IMAGE_TOKENS, Language, Vision, save_tiny_base

BARE = template_named("bare")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_base(tmp_path_factory.mktemp("base"))


def made(base: Path, projector: Projector = "mlp2x_gelu", aspect: Aspect = "square", seed: int = 0) -> Assembled:
    return assemble(base, projector, -2, aspect, seed)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    octets = torch.randint(0, 256, (height, width, 3), generator=torch.Generator().manual_seed(seed))
    return Image.fromarray(octets.to(torch.uint8).numpy())


def png(image: Image.Image) -> bytes:
    held = io.BytesIO()
    image.save(held, "PNG")
    return held.getvalue()


def sample(asked: str, answer: str, *, image: bool) -> Sample:
    turns = (Turn(role="human", text="<image>\n" * image + asked), Turn(role="gpt", text=answer))
    return Sample(id="s", image="1" if image else None, kind="conversation", conversations=turns)


def test_a_base_tokenises_alike_before_and_after_its_weights_are_read(base: Path) -> None:
    before = conversations_of_base(base, "square", lambda words: BARE)
    after = made(base).conversations(BARE)
    shown = sample("What is it?", "A ball.", image=True)
    assert before.encode(shown, 100) == after.encode(shown, 100)


def test_the_parts_go_in_unchanged_and_the_image_token_is_added(base: Path) -> None:
    assembled = made(base)
    language = LlamaForCausalLM.from_pretrained(base / "language", dtype=torch.float32)
    old = language.model.embed_tokens.weight
    new = assembled.llava.model.language_model.embed_tokens.weight
    assert torch.equal(new[: len(old)], old)
    assert len(new) == len(assembled.tokenizer) == len(old) + 1
    assert assembled.tokenizer.convert_tokens_to_ids("<image>") == assembled.llava.config.image_token_id == len(old)
    for name, part in language.model.layers.named_parameters():
        assert torch.equal(assembled.llava.model.language_model.layers.get_parameter(name), part), name


def test_the_seed_decides_the_projector_and_nothing_else(base: Path) -> None:
    one, same, other = (made(base, seed=seed).llava.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    differing = {name for name in one if not torch.equal(one[name], other[name])}
    assert differing
    # The image token's new embedding is drawn as well.
    assert all("projector" in name or "embed_tokens" in name or "lm_head" in name for name in differing)


def assert_plain_transformers_agrees(assembled: Assembled, folder: Path, image: Image.Image) -> None:
    """The saved folder, loaded by `transformers` alone, sees the same ids, pixels and, to 1e-5, the same logits."""
    assembled.save(folder, BARE)
    plain: Any = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    processor: Any = AutoProcessor.from_pretrained(folder)
    told = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}]
    text = processor.apply_chat_template(told, tokenize=False)
    inputs = processor(text=text, images=image, return_tensors="pt")
    ours = assembled.conversations(BARE).prompt([Turn(role="human", text="<image>\nWhat is it?")])
    assert inputs["input_ids"][0].tolist() == ours
    assert ours.count(plain.config.image_token_id) == IMAGE_TOKENS
    other = noise(37, 61, seed=1)
    second = [*ours, *ours[-4:]]
    with torch.no_grad():
        alone = plain(**inputs).logits[0]
        pixels = processor.image_processor(other, return_tensors="pt")["pixel_values"]
        behind = plain(input_ids=torch.tensor([second]), pixel_values=pixels).logits[0]
        packed = PackedLlava(assembled.llava.eval())
        transform = assembled.transform()
        samples = [Encoded(tuple(ids), (IGNORE,) * len(ids), turns=1) for ids in (ours, second)]
        row = collate(samples, [transform.of(image), transform.of(other)], transform.dummy(), 0)
        together = assembled.llava.lm_head(packed.hidden(row))
        unpacked = collate(samples[:1], [transform.of(image)], transform.dummy(), 0)
        torch.testing.assert_close(assembled.llava.lm_head(packed.hidden(unpacked)), alone, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(together, torch.cat([alone, behind]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("aspect", ["square", "pad"])
@pytest.mark.parametrize("projector", ["mlp2x_gelu", "linear"])
def test_what_is_saved_is_an_ordinary_llava_folder(
    base: Path, tmp_path: Path, projector: Projector, aspect: Aspect
) -> None:
    assert_plain_transformers_agrees(made(base, projector, aspect), tmp_path, noise(50, 40))


@pytest.mark.parametrize("aspect", ["square", "pad"])
@pytest.mark.parametrize(
    ("language", "vision"),
    [("mistral", "clip"), ("qwen2", "siglip"), ("qwen3", "clip"), ("llama", "siglip"), ("llama", "dinov2")],
)
def test_so_it_is_with_every_kind_of_language_model_and_vision_tower(
    tmp_path: Path, language: Language, vision: Vision, aspect: Aspect
) -> None:
    base = save_tiny_base(tmp_path / "base", language=language, vision=vision)
    assert_plain_transformers_agrees(made(base, aspect=aspect), tmp_path / "saved", noise(50, 40))


def test_a_processor_that_makes_images_of_another_size_is_refused(tmp_path: Path) -> None:
    base = save_tiny_base(tmp_path)
    side = {"height": 40, "width": 40}
    CLIPImageProcessorPil(size={"shortest_edge": 40}, crop_size=side).save_pretrained(base / "vision")
    with pytest.raises(ModelError, match="images of 40 pixels, the vision tower takes 32"):
        made(base)


def test_a_feature_layer_that_the_tower_does_not_have_is_refused(base: Path) -> None:
    with pytest.raises(ModelError, match="feature_layer is -5, but the vision tower has 4 hidden states"):
        assemble(base, "mlp2x_gelu", -5, "square", 0)


def test_a_checkpoint_that_is_cut_off_is_an_error_that_names_it(base: Path, tmp_path: Path) -> None:
    made(base).save(tmp_path, BARE)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="cannot be read"):
        load(tmp_path)


def test_a_tower_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    base = save_tiny_base(tmp_path)
    config = AutoConfig.for_model("vit", hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=32)
    AutoModel.from_config(config).save_pretrained(base / "vision")
    with pytest.raises(ModelError, match="of type 'vit' is not known"):
        made(base)


@pytest.mark.parametrize("aspect", ["square", "pad"])
def test_a_saved_model_comes_back_as_it_was(base: Path, tmp_path: Path, aspect: Aspect) -> None:
    assembled = made(base, aspect=aspect)
    assembled.save(tmp_path, BARE)
    back = load(tmp_path)
    kept, found = assembled.llava.state_dict(), back.llava.state_dict()
    assert kept.keys() == found.keys()
    assert all(torch.equal(kept[name], found[name]) for name in kept)
    assert (back.aspect, back.image_tokens, back.transform()) == (aspect, IMAGE_TOKENS, assembled.transform())
    asked = [Turn(role="human", text="<image>\nWhy?")]
    assert back.conversations(BARE).prompt(asked) == assembled.conversations(BARE).prompt(asked)


@pytest.mark.parametrize("size", [(50, 40), (40, 51), (33, 97), (32, 32), (20, 20), (100, 100), (31, 64)])
@pytest.mark.parametrize("aspect", ["square", "pad"])
@pytest.mark.parametrize("vision", ["clip", "siglip", "dinov2"])
def test_our_image_transform_equals_the_saved_processors(
    tmp_path: Path, vision: Vision, aspect: Aspect, size: tuple[int, int]
) -> None:
    assembled = made(save_tiny_base(tmp_path / "base", vision=vision), aspect=aspect)
    assembled.save(tmp_path, BARE)
    processor: Any = AutoProcessor.from_pretrained(tmp_path)
    image = noise(*size)
    theirs = processor.image_processor(image, return_tensors="pt")["pixel_values"][0]
    ours = assembled.transform()(png(image))
    assert ours.shape == (3, IMAGE_SIZE, IMAGE_SIZE)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_a_linear_projector_is_one_linear_map_whatever_its_stored_form(base: Path) -> None:
    projector = made(base, "linear").llava.model.multi_modal_projector
    features = torch.randn(2, IMAGE_TOKENS, 16)
    torch.testing.assert_close(projector(features), projector.linear_1(features), rtol=0, atol=0)
    deep = made(base, "mlp2x_gelu").llava.model.multi_modal_projector
    assert not torch.allclose(deep(features), deep.linear_1(features))


@pytest.mark.parametrize(
    ("stage", "projector", "parts"),
    [
        (Stage.ALIGN, "mlp2x_gelu", {"linear_1", "linear_2"}),
        (Stage.ALIGN, "linear", {"linear_1"}),
        (Stage.INSTRUCT, "mlp2x_gelu", {"linear_1", "linear_2", "language_model", "lm_head"}),
        (Stage.INSTRUCT, "linear", {"linear_1", "language_model", "lm_head"}),
    ],
)
def test_each_stage_trains_its_parts_and_the_vision_tower_never(
    base: Path, stage: Stage, projector: Projector, parts: set[str]
) -> None:
    llava = made(base, projector).llava
    names = freeze_for(llava, stage)
    assert names == [name for name, part in llava.named_parameters() if part.requires_grad]
    assert not [name for name in names if "vision_tower" in name]
    known = {"linear_1", "linear_2", "language_model", "lm_head"}
    assert {part for name in names for part in known & set(name.split("."))} == parts
    language = [name for name, _ in llava.named_parameters() if "language_model" in name or "lm_head" in name]
    assert set(language) <= set(names) or stage is Stage.ALIGN


@pytest.mark.parametrize("template", ["bare", "v0"])
def test_a_batch_can_be_learnt_by_heart_and_is_answered_after_saving(
    base: Path, tmp_path: Path, template: str
) -> None:
    assembled = made(base)
    tokenizer, transform = assembled.conversations(template_named(template)), assembled.transform()
    images = [noise(32, 32, seed) for seed in (1, 2)]
    samples = [sample("Which shape?", "A ball.", image=True), sample("Which shape?", "The cube.", image=True)]
    samples.append(sample("What is 1?", "1", image=False))
    freeze_for(assembled.llava, Stage.INSTRUCT)
    packed = PackedLlava(assembled.llava)
    encoded = [tokenizer.encode(one, 256) for one in samples]
    row = collate(encoded, [transform.of(image) for image in images], transform.dummy(), 0)
    optimizer = torch.optim.AdamW([part for part in packed.parameters() if part.requires_grad], lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        loss = packed(row) / len(row.targets)
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.05
    assembled.save(tmp_path / "model", template_named(template))
    paths = [tmp_path / "1.png", tmp_path / "2.png"]
    for image, path in zip(images, paths, strict=True):
        image.save(path)
    answerer = HuggingFaceAnswerer(tmp_path / "model", template)
    asked = [Question("<image>\nWhich shape?", path, 12) for path in paths]
    assert dict(answerer.answer(asked)) == {0: "A ball.", 1: "The cube."}
    assert dict(answerer.answer([Question("What is 1?", None, 12)])) == {0: "1"}
    assert dict(answerer.answer([])) == {}


def test_several_images_are_seen_where_their_tokens_stand(base: Path, tmp_path: Path) -> None:
    assembled = made(base)
    assembled.save(tmp_path, BARE)
    paths = [tmp_path / "1.png", tmp_path / "2.png"]
    for seed, path in enumerate(paths):
        noise(40, 40, seed).save(path)
    text = "<image>\n<image>\nWhat is it?"
    ids = assembled.conversations(BARE).prompt([Turn(role="human", text=text)])
    plain: Any = LlavaForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float32).eval()
    processor: Any = AutoProcessor.from_pretrained(tmp_path)
    content = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "What is it?"}]
    told = [{"role": "user", "content": content}]
    shown = [Image.open(path).convert("RGB") for path in paths]
    inputs = processor(text=processor.apply_chat_template(told, tokenize=False), images=shown, return_tensors="pt")
    assert inputs["input_ids"][0].tolist() == ids
    with torch.no_grad():
        written = plain.generate(**inputs, max_new_tokens=8, do_sample=False)[0, len(ids) :]
    wanted = str(assembled.tokenizer.decode(written, skip_special_tokens=True)).removeprefix(" ")
    answerer = HuggingFaceAnswerer(tmp_path, "bare")
    both = Question(text, paths[0], 8, more_images=(paths[1],))
    swapped = Question(text, paths[1], 8, more_images=(paths[0],))
    found = dict(answerer.answer([both, Question("What?", None, 8), swapped]))
    assert found[0] == wanted
    row = collate(
        [Encoded(tuple(ids), (IGNORE,) * len(ids), turns=1)],
        [assembled.transform().of(image) for image in shown], assembled.transform().dummy(), 0,
    )
    with torch.no_grad():
        ours = assembled.llava.eval().lm_head(PackedLlava(assembled.llava).hidden(row))
        torch.testing.assert_close(ours, plain(**inputs).logits[0], rtol=1e-5, atol=1e-5)


def test_a_projector_that_does_not_fit_the_tower_is_refused(base: Path, tmp_path: Path) -> None:
    made(base).save(tmp_path, BARE)
    told = json.loads((tmp_path / "config.json").read_text())
    told["text_config"]["hidden_size"] *= 2
    (tmp_path / "config.json").write_text(json.dumps(told))
    with pytest.raises(ModelError, match=r"its weights do not fit its config\.json .*take a checkpoint as it was"):
        load(tmp_path)


def test_a_tokenizer_of_another_model_is_refused(base: Path, tmp_path: Path) -> None:
    other = save_tiny_base(tmp_path / "other", vocab=300)
    tokens = LlamaConfig.from_pretrained(other / "language").vocab_size
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (other / "language" / name).write_bytes((base / "language" / name).read_bytes())
    with pytest.raises(ModelError, match=rf"the language model {tokens} embeddings: they are not of one model"):
        made(other)


def test_a_folder_that_holds_no_llava_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no config\.json"):
        load(tmp_path)
    with pytest.raises(ModelError, match="holds a llama model, not a LLaVA one"):
        load(base / "language")


def test_where_the_base_models_and_the_checkpoint_lay_is_not_in_what_is_saved(base: Path, tmp_path: Path) -> None:
    saved: list[dict[str, bytes]] = []
    for name in ("here", "there"):
        place = tmp_path / name
        shutil.copytree(base, place / "base")
        made(place / "base").save(place / "aligned", BARE)
        load(place / "aligned").save(place / "instructed", BARE)
        saved.append(
            {
                path.relative_to(place).as_posix(): path.read_bytes()
                for stage in ("aligned", "instructed") for path in sorted((place / stage).rglob("*")) if path.is_file()
            }
        )
    assert {name for name in saved[0] if saved[0][name] != saved[1][name]} == set()
