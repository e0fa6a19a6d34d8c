"""The client of Superset, against a small one that answers as the real one was measured to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from pydantic import SecretStr

from handlers.contract import TransientError
from handlers.csv_to_iceberg.superset import Superset
from handlers.csv_to_iceberg.superset_session import SupersetSession
from handlers.csv_to_iceberg.superset_settings import SupersetSettings
from handlers.tasks import ServiceUnusable
from tests.fake_superset import DATABASE, PASSWORD, USER, FakeSuperset, Once, hang


@pytest.fixture
async def server() -> AsyncIterator[FakeSuperset]:
    async with FakeSuperset().running() as made:
        made.tables["customers"] = ["id", "name"]
        yield made


@asynccontextmanager
async def client(
    server: FakeSuperset, *, url: str = "", password: str = PASSWORD, database: str = DATABASE, seconds: float = 30.0
) -> AsyncIterator[Superset]:
    settings = SupersetSettings(url or server.url, USER, SecretStr(password), database)
    made = Superset(settings, SupersetSession(settings, answer_seconds=seconds))
    try:
        yield made
    finally:
        await made.aclose()


async def test_a_new_table_gets_a_dataset_and_another_look_finds_it(server: FakeSuperset) -> None:
    async with client(server) as superset:
        first = await superset.register("lakehouse", "customers", ["id", "NAME"])
        again = await superset.register("lakehouse", "customers", ["id", "name"])

    assert first == again
    assert first.columns == {"id", "name"}
    assert server.asked.count("POST dataset/get_or_create/") == 1
    assert server.logins == 1


async def test_columns_that_came_or_went_are_read_anew(server: FakeSuperset) -> None:
    async with client(server) as superset:
        await superset.register("lakehouse", "customers", ["id", "name"])
        server.tables["customers"] = ["id", "city"]
        dataset = await superset.register("lakehouse", "customers", ["id", "city"])

    assert dataset.columns == {"id", "city"}


async def test_a_column_that_the_database_does_not_show_yet_is_waited_for_by_name(server: FakeSuperset) -> None:
    async with client(server) as superset:
        with pytest.raises(TransientError, match=r"lakehouse\.customers without city, zip: its database 'Trino Lake"):
            await superset.register("lakehouse", "customers", ["id", "name", "zip", "city"])


async def test_a_table_that_the_database_does_not_show_yet_is_waited_for(server: FakeSuperset) -> None:
    async with client(server) as superset:
        with pytest.raises(TransientError, match=r"of lakehouse\.orders in database .* could not be found") as raised:
            await superset.register("lakehouse", "orders", ["id"])

    assert not isinstance(raised.value, ServiceUnusable), "others may be there"


async def test_a_table_that_was_dropped_cannot_be_refreshed(server: FakeSuperset) -> None:
    async with client(server) as superset:
        await superset.register("lakehouse", "customers", ["id", "name"])
        del server.tables["customers"]
        with pytest.raises(TransientError, match=r"cannot read the columns .* could not be updated"):
            await superset.register("lakehouse", "customers", ["id", "name"])


async def test_many_at_once_make_one_dataset(server: FakeSuperset) -> None:
    async def register() -> int:
        async with client(server) as superset:
            return (await superset.register("lakehouse", "customers", ["id", "name"])).id

    assert set(await asyncio.gather(*(register() for _ in range(8)))) == {1}
    assert len(server.datasets) == 1


async def test_a_dataset_that_another_made_meanwhile_is_success(server: FakeSuperset) -> None:
    def made() -> web.Response:
        server.datasets[1] = ("customers", ["id", "name"])
        return web.json_response({"message": {"table": ["Dataset lakehouse.customers already exists"]}}, status=422)

    fault = server.fault = Once("POST dataset/get_or_create/", made)
    async with client(server) as superset:
        assert (await superset.register("lakehouse", "customers", ["id", "name"])).id == 1
    assert fault.fired == 1


async def test_a_dataset_deleted_while_it_is_looked_at_is_tried_again_later(server: FakeSuperset) -> None:
    async with client(server) as superset:
        await superset.register("lakehouse", "customers", ["id", "name"])

        def gone() -> None:
            server.datasets.clear()

        fault = server.fault = Once("GET dataset/1", gone)  # goes on to answer
        with pytest.raises(TransientError, match="was deleted while"):
            await superset.register("lakehouse", "customers", ["id", "name"])
        assert fault.fired == 1
        await superset.register("lakehouse", "customers", ["id", "name"])


# Logins


def damaged(superset: Superset) -> None:
    login = superset._session._login
    assert login is not None
    login.token = "damaged"  # noqa: S105 (it opens nothing)


@pytest.mark.parametrize("spoil", [lambda server, _: server.expire_tokens(), lambda _, superset: damaged(superset)])
async def test_a_token_that_ended_or_is_damaged_is_renewed_once(
    server: FakeSuperset, spoil: Callable[[FakeSuperset, Superset], None]
) -> None:
    async with client(server) as superset:
        await superset.ping()
        spoil(server, superset)
        await superset.register("lakehouse", "customers", ["id", "name"])

    assert server.logins == 2


async def test_a_token_that_ends_in_the_middle_is_renewed(server: FakeSuperset) -> None:
    def expire() -> None:
        server.expire_tokens()

    fault = server.fault = Once("POST dataset", expire)  # goes on to answer
    async with client(server) as superset:
        await superset.register("lakehouse", "customers", ["id", "name"])

    assert (fault.fired, server.logins) == (1, 2)


async def test_a_lost_session_is_renewed_without_another_login(server: FakeSuperset) -> None:
    async with client(server) as superset:
        await superset.register("lakehouse", "customers", ["id", "name"])
        server.lose_sessions()
        await superset.register("lakehouse", "customers", ["id", "name"])

    assert server.logins == 1
    assert server.asked.count("GET security/csrf_token/") == 2


async def test_a_login_that_never_holds_ends_with_what_may_be_the_reason(server: FakeSuperset) -> None:
    fault = server.fault = Once("GET database", lambda: web.json_response({"msg": "x"}, status=401), times=9)
    async with client(server) as superset:
        with pytest.raises(ServiceUnusable, match=r"refuses the token it just gave.*SECRET_KEY"):
            await superset.ping()
    assert fault.fired == 2

    def lose() -> None:
        server.lose_sessions()

    fault = server.fault = Once("POST dataset", lose, times=9)  # goes on to answer
    async with client(server) as superset:
        with pytest.raises(ServiceUnusable, match=r"refuses the session it just gave.*cookies"):
            await superset.register("lakehouse", "customers", ["id", "name"])
    assert fault.fired == 2


async def test_a_wrong_password_names_its_settings_and_can_be_mended(server: FakeSuperset) -> None:
    server.password = "another"  # noqa: S105 (of this test)
    async with client(server) as superset:
        with pytest.raises(ServiceUnusable, match="does not let 'lakedrop' in: superset_user or superset_password"):
            await superset.ping()
        server.password = PASSWORD

        assert await superset.ping() == 7


async def test_a_wrong_database_is_told_with_those_there_are(server: FakeSuperset) -> None:
    server.databases["examples"] = 8
    async with client(server, database="Trino") as superset:
        with pytest.raises(ServiceUnusable, match=r"no database 'Trino' \(superset_database\).*'Trino Lakehouse', 'ex"):
            await superset.ping()


# Servers


@pytest.mark.parametrize("path", ["POST security/login", "GET security/csrf", "GET database", "PUT dataset"])
async def test_a_server_in_trouble_is_told_as_such_and_asked_again_later(server: FakeSuperset, path: str) -> None:
    server.datasets[1] = ("customers", ["id"])
    fault = server.fault = Once(path, lambda: web.Response(status=502, text="<html>Bad Gateway</html>"))
    async with client(server) as superset:
        with pytest.raises(ServiceUnusable, match="answers 502"):
            await superset.register("lakehouse", "customers", ["id", "name"])
        assert fault.fired == 1

        await superset.register("lakehouse", "customers", ["id", "name"])


async def test_a_request_that_superset_fails_over_speaks_of_its_table_alone(server: FakeSuperset) -> None:
    fault = server.fault = Once("POST dataset", lambda: web.json_response({"message": "Fatal error"}, status=500))
    async with client(server) as superset:
        with pytest.raises(TransientError, match="answers 500 to dataset/get_or_create/; its log says why") as raised:
            await superset.register("lakehouse", "customers", ["id", "name"])

    assert not isinstance(raised.value, ServiceUnusable)
    assert fault.fired == 1


async def test_a_busy_server_says_how_long_to_wait(server: FakeSuperset) -> None:
    busy = Once("GET database", lambda: web.Response(status=429, headers={"Retry-After": "120"}))
    server.fault = busy
    async with client(server) as superset:
        with pytest.raises(ServiceUnusable) as raised:
            await superset.ping()

    assert (raised.value.retry_after, busy.fired) == (120, 1)


def forbidden() -> web.Response:
    return web.json_response({"message": "Forbidden"}, status=403)


@pytest.mark.parametrize("path", ["GET security/csrf", "GET database", "GET dataset/", "POST dataset"])
async def test_a_user_without_rights_is_told_which_role_is_needed(server: FakeSuperset, path: str) -> None:
    fault = server.fault = Once(path, forbidden)
    async with client(server) as superset:
        with pytest.raises(ServiceUnusable, match=r"forbids 'lakedrop' to .* role Alpha or Admin"):
            await superset.register("lakehouse", "customers", ["id", "name"])
    assert fault.fired == 1


async def test_a_dataset_of_somebody_else_is_left_as_it_is_and_missed_columns_are_told(server: FakeSuperset) -> None:
    server.datasets[1] = ("customers", ["id"])
    fault = server.fault = Once("PUT dataset/1", forbidden, times=9)
    async with client(server) as superset:
        assert (await superset.register("lakehouse", "customers", ["id"])).id == 1
        with pytest.raises(TransientError, match=r"without name: .* or 'lakedrop' is no owner") as raised:
            await superset.register("lakehouse", "customers", ["id", "name"])

    assert not isinstance(raised.value, ServiceUnusable), "other tables have other owners"
    assert fault.fired == 3


async def test_nobody_there_and_no_answer_are_told_apart(server: FakeSuperset) -> None:
    async with client(server, url="http://127.0.0.1:1") as superset:
        with pytest.raises(ServiceUnusable, match=r"http://127\.0\.0\.1:1 does not answer"):
            await superset.ping()
    server.fault = hang
    async with client(server, seconds=0.2) as superset:
        with pytest.raises(ServiceUnusable, match=r"did not answer in 0\.2 s"):
            await superset.ping()
    assert len(server.asked) <= 1, "who does not answer is not asked again"


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(text="<html>Welcome</html>"),
        lambda: web.json_response(["no", "object"]),
        lambda: web.json_response({"message": "no token"}),
        lambda: web.Response(status=302, headers={"Location": "/elsewhere"}),
    ],
)
async def test_what_is_no_superset_is_not_taken_for_one(
    server: FakeSuperset, answer: Callable[[], web.Response]
) -> None:
    fault = server.fault = Once("POST security/login", answer)
    async with client(server) as superset:
        with pytest.raises(ServiceUnusable, match=r"not Superset's API.*is superset_url right\?"):
            await superset.ping()
    assert fault.fired == 1
