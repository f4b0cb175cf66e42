from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.flops import LANGUAGES, TOWERS, official_load
from model.memory import ROOM, Memory, RowLoad, Setup, memory_of, projector_parameters, row_budget, row_of, setup_of

LANGUAGE, TOWER = LANGUAGES["vicuna-7b"], TOWERS["clip-vit-large-patch14-336"]
LOAD = official_load("instruct", TOWER)
SAMPLE = RowLoad(LOAD.tokens, LOAD.supervised, LOAD.images)


def setup(zero: int = 3, ranks: int = 8, **deepspeed: object) -> Setup:
    trained = LANGUAGE.parameters + projector_parameters(LANGUAGE, TOWER)
    told = {"zero_optimization": {"stage": zero, **deepspeed}}
    return setup_of(told, precision="bf16", ranks=ranks, language_trains=True, trained=trained, on_cpu=False)


def memory(of: Setup, tokens: int = 4096) -> Memory:
    return memory_of(LANGUAGE, TOWER, of, row_of(SAMPLE, tokens))


def test_mixed_precision_training_takes_sixteen_bytes_a_parameter_before_any_activation() -> None:
    # Weights and gradients in bf16, masters and both moments in fp32 (ZeRO, Rajbhandari et al. 2020, section 3.1); on
    # one rank ZeRO partitions nothing.
    found = memory(setup(zero=1, ranks=1))
    frozen = 2 * TOWER.parameters
    trained = LANGUAGE.parameters + projector_parameters(LANGUAGE, TOWER)
    assert found.rest - frozen == pytest.approx(14 * trained)


@pytest.mark.parametrize("zero", [1, 2])
def test_ranks_share_masters_and_moments(zero: int) -> None:
    alone, shared = memory(setup(zero, 1)), memory(setup(zero, 8))
    assert (shared.masters, shared.moments) == (alone.masters / 8, alone.moments / 8)
    assert shared.weights == alone.weights


def test_only_zero_3_shares_the_weights() -> None:
    assert memory(setup(3)).weights < memory(setup(2)).weights / 3
    assert memory(setup(2)).weights == memory(setup(1)).weights


def test_the_optimizer_s_state_is_elsewhere_where_it_is_offloaded() -> None:
    found = memory(setup(2, offload_optimizer={"device": "cpu"}))
    assert (found.masters, found.moments) == (0, 0)
    assert found.peak < memory(setup(2)).peak


def test_aligning_keeps_less_of_a_row_as_frozen_layers_need_not_their_inputs() -> None:
    aligning = replace(setup(), language_trains=False, trained=projector_parameters(LANGUAGE, TOWER))
    assert memory(aligning).activations < 0.75 * memory(setup()).activations


def test_fp32_takes_no_less_than_bf16() -> None:
    assert memory(replace(setup(), bytes=4)).peak > memory(setup()).peak


@given(st.integers(256, 16_000), st.integers(1, 4_000))
def test_longer_rows_take_more(tokens: int, more: int) -> None:
    assert memory(setup(), tokens).peak <= memory(setup(), tokens + more).peak


@given(st.floats(20e9, 200e9))
def test_the_row_budget_is_the_longest_that_fits(device: float) -> None:
    found = row_budget(LANGUAGE, TOWER, setup(), SAMPLE, device)
    if found is None:
        assert memory(setup(), 256).peak > ROOM * device
    else:
        assert memory(setup(), found).peak <= ROOM * device
        assert found == 16_384 or memory(setup(), found + 256).peak > ROOM * device


def test_words_leave_out_what_is_next_to_nothing() -> None:
    words = Memory(2e9, 0, 0, 0, 4e9, 1e8, 5e9).words()
    assert words == "7.0 GB (weights 2.0, activations 4.0, logits 0.1, gradients 5.0)"
    assert Memory(2e6, 0, 0, 0, 4e6, 0, 0).words() == "6.0 MB (weights 2.0, activations 4.0)"
