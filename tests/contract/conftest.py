"""Argilla for a test: the small one, and the real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Literal

import aiohttp
import pytest

from tests.argilla_client import Client, Made, make
from tests.fake_argilla import FakeArgilla
from tests.stack.argilla import Argilla


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.xdist_group("argilla"))])
async def fake(request: pytest.FixtureRequest) -> AsyncIterator[FakeArgilla | None]:
    """Return the small Argilla; None where the test is to use the real one."""
    if request.param == "real":
        request.getfixturevalue("argilla")
        yield None
        return
    async with FakeArgilla().running() as server:
        yield server


@pytest.fixture
async def client(fake: FakeArgilla | None, request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    server: FakeArgilla | Argilla = fake or request.getfixturevalue("argilla")
    async with aiohttp.ClientSession() as http:
        yield Client(http, server.url, server.api_key)


@pytest.fixture(scope="session")
def known() -> list[Made]:
    """Keep the dataset of the real server, which takes a second to make it."""
    return []


@pytest.fixture
async def made(client: Client, fake: FakeArgilla | None, known: list[Made]) -> AsyncIterator[Made]:
    """Return an empty dataset."""
    one = known.pop() if fake is None and known else await make(client)
    one.client = client
    yield one
    if fake is None:
        known.append(one)
        if numbers := [each["id"] for each in await one.records()]:
            status, _ = await client.send("DELETE", f"{one.path}/records?ids={','.join(numbers)}")
            assert status == 204


class Engine:
    """The search engine behind a client, to be broken."""

    def __init__(self, fake: FakeArgilla | None, request: pytest.FixtureRequest) -> None:
        self._request = request
        self._fake = fake

    async def kill(self) -> None:
        await self._do("down", "kill")

    async def start(self) -> None:
        await self._do("up", "start")

    async def wipe(self) -> None:
        await self._do("wiped", "wipe")

    async def reindex(self) -> None:
        if self._fake is None:
            await asyncio.to_thread(self._request.getfixturevalue("argilla").reindex)
        else:
            self._fake.reindex()

    async def _do(self, state: Literal["up", "down", "wiped"], method: str) -> None:
        if self._fake is None:
            await asyncio.to_thread(getattr(self._request.getfixturevalue("opensearch"), method))
        else:
            self._fake.engine.state = state


@pytest.fixture
def engine(fake: FakeArgilla | None, request: pytest.FixtureRequest) -> Engine:
    return Engine(fake, request)
