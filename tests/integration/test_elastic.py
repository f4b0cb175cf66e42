"""A checkpoint of any number of ranks is gone on from by any other; by the same number, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fakes.tiny_base import save_tiny_base
from tests.integration.engine_ranks import SAVE_AT, Case, reference
from tests.integration.test_ranks import run

KINDS = [(zero, precision) for zero in (1, 2, 3) for precision in ("fp32", "bf16")]
Found = dict[str, dict[str, Any]]


def case(name: str, zero: int, precision: str) -> Case:
    return Case(name=f"{name}-{zero}-{precision}", zero=zero, row_tokens=100, arrangement="mixed", precision=precision)


def saving(name: str, zero: int, precision: str) -> Case:
    return {**case(name, zero, precision), "save_at": SAVE_AT}


def loading(name: str, source: str, zero: int, precision: str) -> Case:
    return {**case(name, zero, precision), "load": f"{source}-{zero}-{precision}"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def found(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """By name: undisturbed on two ranks, the first part on one and two, the second part on others and the same."""
    out = tmp_path_factory.mktemp("elastic")
    two = [made for kind in KINDS for made in (case("whole", *kind), saving("of2", *kind))]
    one = [made for kind in KINDS for made in (saving("of1", *kind), loading("2to1", "of2", *kind))]
    again = [made for kind in KINDS for made in (loading("1to2", "of1", *kind), loading("2to2", "of2", *kind))]
    for cases, ranks in ((two, 2), (one, 1), (again, 2)):
        run(base, out, cases, ranks)
    return {made["name"]: dict(np.load(out / f"{made['name']}.npz")) for made in (*two, *one, *again)}


@pytest.fixture(scope="module")
def wanted(base: Path) -> dict[str, Any]:
    return reference(base, "mixed")


@pytest.mark.parametrize(("zero", "precision"), KINDS)
def test_the_same_number_of_ranks_goes_on_bit_for_bit(found: Found, zero: int, precision: str) -> None:
    whole, resumed = found[f"whole-{zero}-{precision}"], found[f"2to2-{zero}-{precision}"]
    assert resumed["losses"].tolist() == whole["losses"][SAVE_AT:].tolist()
    for part in whole.keys() - {"losses"}:
        assert np.array_equal(resumed[part], whole[part]), part


@pytest.mark.parametrize("change", ["2to1", "1to2"])
@pytest.mark.parametrize("zero", [1, 2, 3])
def test_another_number_of_ranks_goes_on_within_rounding(
    found: Found, wanted: dict[str, Any], change: str, zero: int
) -> None:
    resumed = found[f"{change}-{zero}-fp32"]
    np.testing.assert_allclose(resumed["losses"], wanted["losses"][SAVE_AT:], rtol=0, atol=1e-5)
    for part in wanted.keys() - {"losses"}:
        np.testing.assert_allclose(resumed[part], wanted[part], rtol=0, atol=1e-5, err_msg=part)


@pytest.mark.parametrize("change", ["2to1", "1to2"])
@pytest.mark.parametrize("zero", [1, 2, 3])
def test_in_bf16_the_losses_stay_those_of_an_undisturbed_run(found: Found, change: str, zero: int) -> None:
    whole, resumed = found[f"whole-{zero}-bf16"]["losses"], found[f"{change}-{zero}-bf16"]["losses"]
    np.testing.assert_allclose(resumed, whole[SAVE_AT:], rtol=1e-3)
