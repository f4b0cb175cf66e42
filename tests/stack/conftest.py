"""One stack for all tests of this folder. `make test-stack` runs them; `make test` does not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.stack import Stack, stack_under_test


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    pytest.importorskip("supervisor", reason="supervisor is not installed")
    with stack_under_test() as running:
        yield running
