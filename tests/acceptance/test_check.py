"""`lakedrop check` on real servers: with one part down it names that part, and what repairs it."""

from __future__ import annotations

import asyncio
import json
import shlex
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import pytest

from consumer import exits
from consumer.broker import RabbitBroker
from consumer.broker_check import topology_faults
from consumer.broker_topology import POLICIES, queues_of
from tests.acceptance.conftest import Home
from tests.acceptance.real import settings_text
from tests.stack import ports
from tests.stack.bridging import until
from tests.stack.minio import Minio
from tests.stack.postgres import Postgres
from tests.stack.rabbitmq import RabbitMQ

HANDLER = "csv_to_iceberg"


class Stack(NamedTuple):
    """A home on all servers."""

    home: Home
    settings: dict[str, Any]
    bucket: str

    def check(self, **settings: object) -> dict[str, dict[str, Any]]:
        """Run the command with some settings changed; returns the results by name, and sees to its exit code."""
        route = f'[[routes]]\nname = "all"\nbucket = "{self.bucket}"\n'
        self.home.configure(settings_text({**self.settings, **settings}, route))
        done = self.home.lakedrop("check", "--json")
        assert not done.stderr, "the lines of the check say it all"
        results = {result["name"]: result for result in json.loads(done.stdout)}
        fine = all(result["ok"] for result in results.values())
        assert done.returncode == (exits.OK if fine else exits.UNAVAILABLE), done
        return results

    def faults(self, **settings: object) -> dict[str, str]:
        """Return what is wrong, by name, but that this MinIO sends no events; it comes with a repair each time."""
        return {name: result["message"] for name, result in self.failed(**settings).items()}

    def failed(self, **settings: object) -> dict[str, dict[str, Any]]:
        """Return the results of what is wrong, as `faults` does."""
        results = self.check(**settings)
        assert not results.pop(f"events {self.bucket}", {"ok": False})["ok"]
        found = {name: result for name, result in results.items() if not result["ok"]}
        assert all(result["repair"] for result in found.values()), found
        return found


@pytest.fixture
def broker_url(rabbitmq: RabbitMQ, vhost: str) -> str:
    """Of a vhost with all that belongs there."""

    async def declare() -> None:
        broker = await RabbitBroker.connect(vhost, queues=queues_of([HANDLER]))
        await broker.aclose()

    async def led() -> bool:
        """Tell whether queues have leaders: after a restart of the server it may tell of none for a while."""
        faults = await topology_faults(vhost, rabbitmq.management, [HANDLER])
        return not any("no leader" in fault.found for fault in faults)

    asyncio.run(declare())
    asyncio.run(until(led))
    name = quote(urlsplit(vhost).path[1:], safe="")
    for policy in POLICIES:
        rabbitmq.call(
            "PUT",
            f"policies/{name}/{policy.name}",
            **{"pattern": policy.pattern, "apply-to": policy.apply_to, "definition": dict(policy.definition)},
        )
    return vhost


@pytest.fixture
def stack(home: Home, minio: Minio, bucket: str, rabbitmq: RabbitMQ, broker_url: str, database: str) -> Stack:  # noqa: PLR0917 (each is a part)
    warehouse = asyncio.run(minio.create_bucket())
    settings = {
        "store": "s3",
        "s3_endpoint": minio.url,
        "s3_access_key": minio.access_key,
        "s3_secret_key": minio.secret_key,
        "broker_url": broker_url,
        "broker_management_url": rabbitmq.management,
        "ledger_url": database,
        "catalog": {"type": "sql", "uri": database, "warehouse": f"s3://{warehouse}/"},
        "listen": "",
    }
    return Stack(home, settings, bucket)


def test_everything_there_is_told_line_by_line(stack: Stack) -> None:
    results = stack.check()

    told = {name: result["message"] for name, result in results.items()}
    events = results.pop(f"events {stack.bucket}")
    assert (events["ok"], events["message"]) == (False, "not sent: *")
    assert "lakedrop notify apply" in events["repair"]
    assert all(result["ok"] for result in results.values()), told
    assert list(results) == [
        *("settings", "home", "ledger", "store", f"bucket {stack.bucket}", "broker", "queues"),
        *(f"handler {HANDLER}", "warehouse"),
    ]
    assert told[f"bucket {stack.bucket}"] == "can be listed, is empty"
    assert told["warehouse"].endswith("can be written")
    assert "of-tests" not in json.dumps(told), "no password is shown"


def test_bucket_with_objects_is_read_under_its_etag(stack: Stack, minio: Minio) -> None:
    async def put() -> None:
        async with minio.client() as client:
            await client.put_object(Bucket=stack.bucket, Key="t/a.csv", Body=b"id\n1\n")

    asyncio.run(put())

    assert stack.check()[f"bucket {stack.bucket}"]["message"].startswith("can be listed and read, If-Match is kept")


def test_store_that_is_down_is_named(stack: Stack, minio: Minio) -> None:
    minio.stop()

    faults = stack.failed()

    assert set(faults) == {"store", f"handler {HANDLER}"}, faults  # the tables lie in it too
    assert faults["store"]["repair"].startswith("start the store (docker compose up -d)")
    assert "the warehouse at " in faults[f"handler {HANDLER}"]["message"]
    assert faults[f"handler {HANDLER}"]["repair"].startswith("start the store of the warehouse")


def test_broker_that_is_down_is_named(stack: Stack, rabbitmq: RabbitMQ) -> None:
    rabbitmq.stop()

    faults = stack.failed()

    assert set(faults) == {"broker"}
    assert "cannot be reached" in faults["broker"]["message"]
    assert faults["broker"]["repair"].startswith("start RabbitMQ (docker compose up -d rabbitmq)")


def test_database_that_is_down_is_named(stack: Stack, postgres: Postgres) -> None:
    postgres.stop()

    faults = stack.failed()

    assert set(faults) == {"ledger", f"handler {HANDLER}"}, faults  # the catalog lies in it too
    assert faults["ledger"]["repair"].startswith("start PostgreSQL (docker compose up -d postgres)")
    assert faults[f"handler {HANDLER}"]["repair"].startswith("start the catalog (docker compose up -d)")


def test_catalog_that_is_down_is_named(stack: Stack) -> None:
    faults = stack.faults(catalog={"type": "rest", "uri": f"http://127.0.0.1:{ports.reserve()}"})

    assert set(faults) == {f"handler {HANDLER}"}


def test_wrong_secret_is_told_as_such(stack: Stack) -> None:
    faults = stack.faults(s3_secret_key="another")

    assert set(faults) == {"store", "handler csv_to_iceberg"}
    assert "SignatureDoesNotMatch" in faults["store"]


def test_broker_that_refuses_the_password_is_told_from_one_that_is_down(stack: Stack, rabbitmq: RabbitMQ) -> None:
    url = stack.settings["broker_url"].replace(rabbitmq.password, "mistyped")

    (name, result), *others = stack.failed(broker_url=url).items()

    assert (name, others) == ("broker", [])
    assert "refused user or password" in result["message"]
    assert result["repair"] == "correct user, password or vhost in broker_url"


def test_vhost_that_is_not_there_is_told_as_such(stack: Stack, rabbitmq: RabbitMQ) -> None:
    (name, result), *others = stack.failed(broker_url=f"{rabbitmq.url}/nowhere-to-be-found").items()

    assert (name, others) == ("broker", [])
    assert "refused the vhost" in result["message"]
    assert "vhost" in result["repair"]


@pytest.mark.parametrize(("change", "told"), [("password", "password authentication"), ("database", "does not exist")])
def test_database_that_refuses_us_is_told_from_one_that_is_down(stack: Stack, change: str, told: str) -> None:
    url = urlsplit(stack.settings["ledger_url"])
    wrong = {
        "password": url._replace(netloc=url.netloc.replace(url.password or "", "mistyped")),
        "database": url._replace(path="/nowhere-to-be-found"),
    }

    (name, result), *others = stack.failed(ledger_url=wrong[change].geturl()).items()

    assert (name, others) == ("ledger", [])
    assert told in result["message"]
    assert result["repair"] == "correct user, password or database in ledger_url"


def test_catalog_that_refuses_the_password_is_told_from_one_that_is_down(stack: Stack) -> None:
    catalog = stack.settings["catalog"]
    url = urlsplit(catalog["uri"])
    uri = catalog["uri"].replace(f":{url.password}@", ":mistyped@")

    faults = stack.faults(catalog={**catalog, "uri": uri})

    assert set(faults) == {f"handler {HANDLER}"}
    assert "password authentication failed" in faults[f"handler {HANDLER}"]


def test_bucket_that_is_not_there_is_named_with_the_command_that_makes_it(stack: Stack) -> None:
    results = stack._replace(bucket="nowhere-to-be-found").check()

    missing = results["bucket nowhere-to-be-found"]
    assert not missing["ok"]
    assert "no bucket `nowhere-to-be-found`" in missing["message"]
    assert "notify apply" in missing["repair"]


def test_warehouse_that_is_not_there_is_named(stack: Stack) -> None:
    bucket = f"warehouse-of-{stack.bucket}"
    catalog = {**stack.settings["catalog"], "warehouse": f"s3://{bucket}/"}

    faults = stack.failed(catalog=catalog)

    assert set(faults) == {f"handler {HANDLER}"}
    missing = faults[f"handler {HANDLER}"]
    assert "NO_SUCH_BUCKET" in missing["message"]
    assert missing["repair"] == f"lakedrop notify apply --bucket {bucket} --home {stack.home.path}"
    repair = shlex.split(missing["repair"].partition(" --home")[0])[1:]
    stack.home.lakedrop(*repair)  # which goes on to notifications, that this MinIO has nobody to send to
    assert stack.check(catalog=catalog)[f"handler {HANDLER}"]["ok"]


def test_policy_that_is_not_there_is_named_with_the_command_that_makes_it(stack: Stack, rabbitmq: RabbitMQ) -> None:
    vhost = quote(urlsplit(stack.settings["broker_url"]).path[1:], safe="")
    rabbitmq.call("DELETE", f"policies/{vhost}/lakedrop-bulk")

    results = stack.check()

    assert not results["queues"]["ok"]
    assert "lakedrop-bulk" in results["queues"]["message"]
    assert "lakedrop-bulk" in results["queues"]["repair"]


def test_queue_that_is_not_there_is_made_by_a_service_of_this_home(stack: Stack, rabbitmq: RabbitMQ) -> None:
    vhost = quote(urlsplit(stack.settings["broker_url"]).path[1:], safe="")
    rabbitmq.call("DELETE", f"queues/{vhost}/lakedrop.ingress")

    results = stack.check()

    assert results["queues"]["repair"] == f"lakedrop run --home {stack.home.path}"
