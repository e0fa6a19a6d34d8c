from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.csv.reading import Reading, cooked, streamed


@pytest.fixture(params=[cooked, streamed], ids=["cooked", "streamed"])
def read(request: pytest.FixtureRequest) -> Callable[..., Reading]:
    """Read one file: every behaviour holds for small and for large ones."""
    way: Callable[..., Reading] = request.param
    return way
