"""The proxy of the test stack breaks what it is told to break, and counts it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from tests.stack.ports import LOOPBACK, deaf
from tests.stack.proxy import Proxy, proxied

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


class Behind:
    """An echo server behind a proxy, and clients of it."""

    def __init__(self, proxy: Proxy, url: str) -> None:
        self.proxy = proxy
        self.url = url
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self) -> Stream:
        host, port = self.url.removeprefix("tcp://user:p%40ss@").removesuffix("/path").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        self._writers.append(writer)
        return reader, writer

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


@pytest.fixture
async def behind() -> AsyncIterator[Behind]:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, proxied(f"tcp://user:p%40ss@127.0.0.1:{port}/path") as (proxy, url):
        behind = Behind(proxy, url)
        yield behind
        behind.close()


async def ask(stream: Stream, data: bytes) -> bytes:
    reader, writer = stream
    writer.write(data)
    async with asyncio.timeout(120):
        return await reader.readexactly(len(data))


async def breaks(stream: Stream) -> bool:
    try:
        async with asyncio.timeout(120):
            return not await stream[0].read()
    except ConnectionResetError:
        return True


async def test_bytes_pass_both_ways(behind: Behind) -> None:
    data = bytes(range(256)) * 4_000

    assert await ask(await behind.connect(), data) == data
    assert behind.proxy.counts.passed_on == 1
    assert behind.proxy.counts.bytes == 2 * len(data)


async def test_end_of_one_side_reaches_the_other(behind: Behind) -> None:
    stream = await behind.connect()
    await ask(stream, b"x")

    stream[1].write_eof()

    async with asyncio.timeout(120):
        assert await stream[0].read() == b""


async def test_clients_that_wait_for_an_answer_are_counted_and_those_that_never_get_one(behind: Behind) -> None:
    answered = await behind.connect()
    await ask(answered, b"x")
    assert behind.proxy.asking == 0

    asked = asyncio.Event()

    async def dies_of_it(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        await asked.wait()
        writer.close()

    server = await asyncio.start_server(dies_of_it, "127.0.0.1", 0)
    async with server, proxied(f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}") as (proxy, url):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"x")
        await proxy.until(lambda _: proxy.asking == 1)
        asked.set()
        assert await breaks((reader, writer))
        writer.close()
        await proxy.until(lambda counts: counts.unanswered == 1)
        assert proxy.asking == 0
    assert behind.proxy.counts.unanswered == 0


async def test_cut_breaks_living_connections_and_lets_new_ones_through(behind: Behind) -> None:
    first, second = await behind.connect(), await behind.connect()
    await ask(first, b"x")
    await ask(second, b"x")

    assert behind.proxy.cut() == 2

    assert await breaks(first)
    assert await breaks(second)
    assert behind.proxy.counts.cut == 2
    assert await ask(await behind.connect(), b"y") == b"y"


async def test_refusing_breaks_new_connections_and_spares_old_ones(behind: Behind) -> None:
    old = await behind.connect()
    await ask(old, b"x")

    behind.proxy.refuse()

    assert await breaks(await behind.connect())
    assert behind.proxy.counts.refused == 1
    assert await ask(old, b"y") == b"y"
    behind.proxy.restore()
    assert await ask(await behind.connect(), b"z") == b"z"


async def test_black_hole_holds_bytes_until_it_ends(behind: Behind) -> None:
    stream = await behind.connect()
    await ask(stream, b"x")
    behind.proxy.blackhole()

    answer = asyncio.create_task(ask(stream, b"y"))
    await behind.proxy.until(lambda counts: counts.held == 1)
    newcomer = asyncio.create_task(ask(await behind.connect(), b"z"))
    await behind.proxy.until(lambda counts: counts.held == 2)

    assert not answer.done()
    behind.proxy.restore()
    assert await answer == b"y"
    assert await newcomer == b"z"


async def test_connection_in_a_black_hole_can_be_cut(behind: Behind) -> None:
    stream = await behind.connect()
    await ask(stream, b"x")
    behind.proxy.blackhole()
    stream[1].write(b"y")
    await behind.proxy.until(lambda counts: counts.held == 1)

    assert behind.proxy.cut() == 1

    assert await breaks(stream)


async def test_slowed_connection_keeps_to_its_rate(behind: Behind) -> None:
    stream = await behind.connect()
    await ask(stream, b"x")
    behind.proxy.slow(20_000)
    began = time.monotonic()

    await ask(stream, bytes(10_000))

    assert time.monotonic() - began >= 0.4, "10,000 bytes at 20,000 a second"
    assert behind.proxy.counts.slowed_bytes >= 10_000


async def test_slowed_connection_is_fast_again_at_once(behind: Behind) -> None:
    stream = await behind.connect()
    await ask(stream, b"x")
    behind.proxy.slow(1_000)
    answer = asyncio.create_task(ask(stream, bytes(1_000_000)))
    await behind.proxy.until(lambda counts: counts.slowed_bytes > 0)

    behind.proxy.restore()

    assert len(await answer) == 1_000_000


async def test_server_that_is_down_is_told_to_clients() -> None:
    with deaf() as port:
        async with proxied(f"tcp://{LOOPBACK}:{port}") as (proxy, url):
            behind = Behind(proxy, url.replace("tcp://", "tcp://user:p%40ss@"))
            assert await breaks(await behind.connect())
            assert proxy.counts.unreachable == 1
            behind.close()


async def test_url_through_the_proxy_keeps_user_and_path(behind: Behind) -> None:
    assert behind.url.startswith("tcp://user:p%40ss@127.0.0.1:")
    assert behind.url.endswith("/path")
