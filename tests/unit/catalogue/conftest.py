"""A catalogue of its own for each test, and the sources it asks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from handlers.dataset_catalogue.site import Credentials
from tests.catalogue_site import Made, made_site
from tests.catalogue_sources import Sources, serving_sources


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    with made_site(tmp_path) as made:
        yield made


@pytest.fixture
def sources() -> Iterator[Sources]:
    with serving_sources() as sources:
        yield sources


@pytest.fixture
def asking(tmp_path: Path, sources: Sources) -> Iterator[Made]:
    credentials = Credentials(kaggle_username="anna", kaggle_key="secret")
    with made_site(tmp_path, endpoints=sources.endpoints, credentials=credentials) as made:
        yield made
