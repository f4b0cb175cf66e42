from __future__ import annotations

import pytest

from model.flops import LANGUAGES, TOWERS, AdapterShape, device_hours, flops_of, official_load, row_flops, shapes_of

TOWER = TOWERS["clip-vit-large-patch14-336"]
SAMPLES = {"align": 558_128, "instruct": 665_298}


@pytest.mark.parametrize(
    ("size", "stage", "published"),
    # LLaVA v1.5 on eight A100s: 3.5 and 5.5 hours, about 10 and 20 (haotian-liu/LLaVA, README).
    [("7b", "align", 28), ("13b", "align", 44), ("7b", "instruct", 80), ("13b", "instruct", 160)],
)
def test_hours_are_within_a_fifth_of_the_published_ones(size: str, stage: str, published: float) -> None:
    language = LANGUAGES[f"vicuna-{size}"]
    hours = device_hours(stage, SAMPLES[stage], official_load(stage, TOWER), language, TOWER)
    assert hours == pytest.approx(published, rel=0.2)


@pytest.mark.parametrize(("name", "billions"), [("vicuna-7b", 6.476), ("vicuna-13b", 12.69)])
def test_the_layers_hold_the_weights_that_the_models_have(name: str, billions: float) -> None:
    # All parameters (6.738 and 13.016 billion) less embeddings, head and norms.
    assert LANGUAGES[name].weights / 1e9 == pytest.approx(billions, rel=1e-3)


@pytest.mark.parametrize(("name", "billions"), [("vicuna-7b", 6.738), ("vicuna-13b", 13.016)])
def test_all_parameters_are_those_that_the_models_have(name: str, billions: float) -> None:
    assert LANGUAGES[name].parameters / 1e9 == pytest.approx(billions, rel=1e-3)


def test_the_tower_has_the_parameters_that_it_has() -> None:
    # CLIP ViT-L/14 at 336 pixels: 303.5 million.
    assert TOWER.parameters / 1e6 == pytest.approx(303.5, rel=0.01)


def test_attention_is_counted_inside_each_sample() -> None:
    language = LANGUAGES["vicuna-7b"]
    short, long = (
        row_flops(lengths, 0, 0, language, TOWER, language_trains=True) for lengths in ([1000] * 4, [4000])
    )
    assert long - short == 3 * 2 * language.layers * language.hidden * (4000**2 - 4 * 1000**2)


def test_training_the_language_model_costs_half_as_much_again_as_the_projector_alone() -> None:
    load, language = official_load("instruct", TOWER), LANGUAGES["vicuna-7b"]
    vision = 2 * TOWER.weights * TOWER.features * load.images
    trained = flops_of(load, language, TOWER, language_trains=True) - vision
    frozen = flops_of(load, language, TOWER, language_trains=False) - vision
    assert trained == pytest.approx(1.5 * frozen)


def test_adapters_leave_out_the_gradients_of_frozen_weights_and_add_their_own_products() -> None:
    load, language = official_load("instruct", TOWER), LANGUAGES["vicuna-7b"]
    adapters = AdapterShape(128)
    frozen = flops_of(load, language, TOWER, language_trains=False)
    adapted = flops_of(load, language, TOWER, language_trains=True, adapters=adapters)
    assert adapted - frozen == pytest.approx(6 * adapters.parameters(language) * load.tokens)
    assert adapted < flops_of(load, language, TOWER, language_trains=True)


def test_shapes_are_known_by_the_folder_s_name() -> None:
    assert shapes_of("models/vicuna-13b-v1.5", "models/clip-vit-large-patch14-336/") == (LANGUAGES["vicuna-13b"], TOWER)
    assert shapes_of("models/vicuna-7b-v0", "clip-vit-large-patch14") == (
        LANGUAGES["vicuna-7b"], TOWERS["clip-vit-large-patch14"]
    )
    assert shapes_of("models/other", "models/clip-vit-large-patch14") is None
