from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

import model.attention
import model.loss
from model.build import Assembled, assemble
from model.packed import PackedLlava, Row, collate, packed_attention, segments_of
from model.stages import Stage, freeze_for
from model.tokenize import IGNORE, Encoded
from tests.fakes.tiny_base import IMAGE_SIZE, IMAGE_TOKENS, save_tiny_base

DUMMY = torch.zeros(3, IMAGE_SIZE, IMAGE_SIZE)


@pytest.fixture(scope="module")
def assembled(tmp_path_factory: pytest.TempPathFactory) -> Assembled:
    base = save_tiny_base(tmp_path_factory.mktemp("base"))
    return assemble(base, "mlp2x_gelu", -2, "square", seed=0)


@pytest.fixture
def packed(assembled: Assembled) -> PackedLlava:
    freeze_for(assembled.llava, Stage.INSTRUCT)
    assembled.llava.zero_grad()
    return PackedLlava(assembled.llava)


def encoded(assembled: Assembled, length: int, *, image: bool, seed: int) -> Encoded:
    """A sample of random tokens whose last third is supervised."""
    draw = torch.Generator().manual_seed(seed)
    words = torch.randint(10, 200, (length,), generator=draw).tolist()
    shown = [assembled.llava.config.image_token_id] * (IMAGE_TOKENS if image else 0)
    ids = [1, *shown, *words]
    unsupervised = len(ids) - max(1, length // 3)
    return Encoded(tuple(ids), tuple([IGNORE] * unsupervised + ids[unsupervised:]), turns=2)


def picture(seed: int) -> Tensor:
    return torch.randn(3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(seed))


def gradients(packed: PackedLlava) -> dict[str, Tensor]:
    return {name: part.grad.clone() for name, part in packed.named_parameters() if part.grad is not None}


def reference_loss(assembled: Assembled, sample: Encoded, pixels: Tensor | None) -> Tensor:
    """What transformers itself computes for one sample, with its own attention; summed over supervised tokens."""
    llava, language = assembled.llava, assembled.llava.model.language_model
    kept = language.config._attn_implementation
    language.config._attn_implementation = "eager"
    try:
        shown = {} if pixels is None else {"pixel_values": pixels.unsqueeze(0)}
        ids = torch.tensor([sample.ids])
        logits = llava(input_ids=ids, attention_mask=torch.ones_like(ids), **shown).logits[0]
    finally:
        language.config._attn_implementation = kept
    labels = torch.tensor(sample.labels)[1:]
    return functional.cross_entropy(logits[:-1].float(), labels, ignore_index=IGNORE, reduction="sum")


@pytest.mark.parametrize("block", [4, 64])
def test_packed_rows_give_the_loss_and_gradients_of_the_samples_one_by_one(
    assembled: Assembled, packed: PackedLlava, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    # Parts far smaller than they are: every sample has several.
    monkeypatch.setattr(model.attention, "BLOCK", block)
    monkeypatch.setattr(model.loss, "CHUNK", block)
    images = [True, False, True, False, True]
    samples = [encoded(assembled, 5 + 9 * at, image=image, seed=at) for at, image in enumerate(images)]
    pixels = [picture(at) if image else None for at, image in enumerate(images)]
    separate = torch.stack(
        [reference_loss(assembled, sample, shown) for sample, shown in zip(samples, pixels, strict=True)]
    ).sum()
    separate.backward()
    wanted = gradients(packed)
    packed.zero_grad()
    row = collate(samples, [shown for shown in pixels if shown is not None], DUMMY, 0)
    together = packed(row)
    together.backward()
    found = gradients(packed)
    torch.testing.assert_close(together, separate, rtol=1e-5, atol=1e-5)
    assert found.keys() == wanted.keys()
    assert any(float(part.abs().sum()) for name, part in found.items() if "multi_modal_projector" in name)
    for name, part in found.items():
        torch.testing.assert_close(part, wanted[name], rtol=1e-4, atol=1e-5, msg=name)


@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=6), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_attention_is_causal_and_never_crosses_samples(lengths: Sequence[int], seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    tokens = sum(lengths)
    query = torch.randn(1, 4, tokens, 8, generator=draw)
    key, value = (torch.randn(1, 2, tokens, 8, generator=draw) for _ in range(2))
    sample = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    allowed = (sample[:, None] == sample[None, :]).tril()
    wanted = functional.scaled_dot_product_attention(query, key, value, attn_mask=allowed, enable_gqa=True)
    found, _ = packed_attention(torch.nn.Identity(), query, key, value, None, segments=segments_of(lengths))
    torch.testing.assert_close(found, wanted.transpose(1, 2), rtol=1e-5, atol=1e-5)


def test_a_sample_is_told_nothing_by_its_neighbours(assembled: Assembled, packed: PackedLlava) -> None:
    first, other, last = (encoded(assembled, 12, image=False, seed=seed) for seed in (1, 2, 3))
    with torch.no_grad():
        one = packed.hidden(collate([first, last], [], DUMMY, 0))
        two = packed.hidden(collate([other, last], [], DUMMY, 0))
    torch.testing.assert_close(one[len(first.ids) :], two[len(other.ids) :], rtol=1e-6, atol=1e-6)
    assert not torch.allclose(one[: len(first.ids)], two[: len(other.ids)])


def test_images_go_to_their_own_samples(assembled: Assembled, packed: PackedLlava) -> None:
    samples = [encoded(assembled, 6, image=image, seed=at) for at, image in enumerate((True, False, True))]
    red, blue = picture(1), picture(2)
    with torch.no_grad():
        straight = packed.hidden(collate(samples, [red, blue], DUMMY, 0))
        swapped = packed.hidden(collate([samples[2], samples[1], samples[0]], [blue, red], DUMMY, 0))
    first = len(samples[0].ids)
    torch.testing.assert_close(straight[:first], swapped[-first:], rtol=1e-5, atol=1e-5)


def rows_without_learning(assembled: Assembled) -> list[Row]:
    silent = encoded(assembled, 9, image=True, seed=1)
    silent = Encoded(silent.ids, (IGNORE,) * len(silent.ids), turns=2)
    return [collate([], [], DUMMY, 0), collate([silent], [picture(0)], DUMMY, 0)]


@pytest.mark.parametrize("which", [0, 1], ids=["empty row", "nothing supervised"])
@pytest.mark.parametrize("stage", [Stage.ALIGN, Stage.INSTRUCT])
def test_a_row_that_teaches_nothing_has_zero_loss_and_zero_gradients_that_exist(
    assembled: Assembled, packed: PackedLlava, stage: Stage, which: int
) -> None:
    trained = freeze_for(assembled.llava, stage)
    loss = packed(rows_without_learning(assembled)[which])
    loss.backward()
    assert float(loss.detach()) == 0.0
    found = {name.removeprefix("llava."): part for name, part in gradients(packed).items()}
    # The head is not on the way to a loss of nothing; engines fill it with zeros.
    assert found.keys() >= {name for name in trained if "lm_head" not in name}
    assert not any(float(part.abs().max()) for part in found.values())


def test_a_row_without_images_gives_the_projector_zero_gradients_that_exist(
    assembled: Assembled, packed: PackedLlava
) -> None:
    row = collate([encoded(assembled, 9, image=False, seed=1)], [], DUMMY, 0)
    packed(row).backward()
    found = gradients(packed)
    projector = [part for name, part in found.items() if "multi_modal_projector" in name]
    assert len(projector) == 4
    assert not any(float(part.abs().max()) for part in projector)
    assert float(found["llava.lm_head.weight"].abs().max()) > 0


def test_collate_predicts_each_supervised_token_from_the_one_before() -> None:
    one = Encoded((5, 6, 7), (IGNORE, 6, IGNORE), turns=2)
    # A first token has nothing before it in its own sample, and is predicted by none.
    two = Encoded((8, 9), (8, 9), turns=2)
    row = collate([one, two], [], DUMMY, 0)
    assert row.input_ids.tolist() == [[5, 6, 7, 8, 9]]
    assert row.position_ids.tolist() == [[0, 1, 2, 0, 1]]
    assert (row.predict.tolist(), row.targets.tolist()) == ([0, 3], [6, 9])
    assert (row.tokens, row.real_images) == (5, False)
