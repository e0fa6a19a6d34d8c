"""What a server has against what it should have, and the definitions that make it so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import aio_pika
import pytest

from consumer.broker import RabbitBroker
from consumer.broker_check import Fault, topology_faults
from consumer.broker_definitions import USERS, definitions, policy_json
from consumer.broker_port import BrokerUnavailable
from consumer.broker_topology import POLICIES, QUEUE_ARGUMENTS, queues_of
from consumer.workitem import INGRESS, Message, work_queue
from tests.rabbit import name_of, set_policies
from tests.stack.bridging import until
from tests.stack.rabbitmq import RabbitMQ

NAMES = ("csv_to_iceberg", "large")


async def declared(vhost: str) -> None:
    broker = await RabbitBroker.connect(vhost, queues=queues_of(NAMES))
    await broker.aclose()


async def faults(rabbitmq: RabbitMQ, vhost: str) -> list[Fault]:
    return await topology_faults(vhost, rabbitmq.management, NAMES)


def path(vhost: str, kind: str, name: str) -> str:
    return f"{kind}/{quote(name_of(vhost), safe='')}/{quote(name, safe='')}"


async def test_all_is_well_once_declared_and_ruled(rabbitmq: RabbitMQ, vhost: str) -> None:
    await declared(vhost)
    set_policies(rabbitmq, vhost)

    assert await faults(rabbitmq, vhost) == []


async def test_empty_vhost_lacks_everything_and_says_what_makes_it(rabbitmq: RabbitMQ, vhost: str) -> None:
    found = await faults(rabbitmq, vhost)

    kinds = [fault.name.split()[0] for fault in found]
    assert {kind: kinds.count(kind) for kind in kinds} == {"exchange": 2, "queue": 12, "binding": 2, "policy": 5}
    assert {fault.repair for fault in found if not fault.name.startswith("policy")} == {"lakedrop run"}
    policy = next(fault for fault in found if fault.name == "policy lakedrop-work")
    assert policy.repair == (
        f"rabbitmqctl set_policy -p {name_of(vhost)} --priority 0 --apply-to queues lakedrop-work "
        """'^lakedrop\\.work\\.' '{"delivery-limit": 1000000}'"""
    )


async def test_changed_policy_is_told_with_both_values(rabbitmq: RabbitMQ, vhost: str) -> None:
    await declared(vhost)
    set_policies(rabbitmq, vhost, bulk={"max-length": 7})

    (fault,) = await faults(rabbitmq, vhost)

    assert fault.name == "policy lakedrop-bulk"
    assert '"max-length": 7' in fault.found
    assert '"max-length": 100000' in fault.expected
    assert "rabbitmqctl set_policy" in fault.repair


async def test_policy_of_ours_that_others_may_push_aside_is_told(rabbitmq: RabbitMQ, vhost: str) -> None:
    await declared(vhost)
    set_policies(rabbitmq, vhost)
    (work,) = [policy for policy in POLICIES if policy.name == "lakedrop-work"]
    below = {"pattern": work.pattern, "definition": dict(work.definition), "apply-to": work.apply_to, "priority": -1}
    rabbitmq.call("PUT", path(vhost, "policies", work.name), **below)

    (fault,) = await faults(rabbitmq, vhost)

    assert (fault.name, fault.found, fault.expected) == ("policy lakedrop-work", "priority -1", "0")
    assert "--priority 0" in fault.repair


async def test_queue_of_another_shape_is_told(rabbitmq: RabbitMQ, vhost: str) -> None:
    connection = await aio_pika.connect(vhost)
    async with connection, connection.channel() as channel:
        await channel.declare_queue(work_queue("large"), durable=True)
    with pytest.raises(BrokerUnavailable, match=r"in another shape; `lakedrop check` tells"):
        await declared(vhost)
    set_policies(rabbitmq, vhost)

    fault = next(fault for fault in await faults(rabbitmq, vhost) if fault.name == f"queue {work_queue('large')}")

    assert fault.expected == f"only {json.dumps(QUEUE_ARGUMENTS)}"
    assert f"delete_queue {work_queue('large')}" in fault.repair


async def test_policy_of_somebody_else_that_rules_a_queue_is_told(rabbitmq: RabbitMQ, vhost: str) -> None:
    await declared(vhost)
    set_policies(rabbitmq, vhost)
    rabbitmq.call(
        "PUT", path(vhost, "policies", "theirs"),
        **{"pattern": "^lakedrop.work.large", "definition": {"max-length": 3}, "priority": 9, "apply-to": "queues"},
    )  # fmt: skip

    (fault,) = await faults(rabbitmq, vhost)

    assert fault.name == "queue lakedrop.work.large"
    assert fault.repair == f"rabbitmqctl clear_policy -p {name_of(vhost)} theirs"


async def test_policy_of_somebody_else_that_rules_the_exchange_of_events_is_told(
    rabbitmq: RabbitMQ, vhost: str
) -> None:
    await declared(vhost)
    set_policies(rabbitmq, vhost)
    rabbitmq.call(
        "PUT", path(vhost, "policies", "fed"),
        **{
            "pattern": ".*", "definition": {"alternate-exchange": "elsewhere"}, "priority": 9,
            "apply-to": "exchanges",
        },
    )  # fmt: skip

    (fault,) = await faults(rabbitmq, vhost)

    assert (fault.name, fault.found) == ("exchange lakedrop.events", "ruled by policy fed")
    assert fault.repair == f"rabbitmqctl clear_policy -p {name_of(vhost)} fed"


@pytest.mark.parametrize("pattern", ["(?<x>nothing)", r"\Alakedrop\.nothing\z"])
async def test_policy_whose_pattern_python_does_not_read_is_left_to_rabbitmq(
    rabbitmq: RabbitMQ, vhost: str, pattern: str
) -> None:
    await declared(vhost)
    set_policies(rabbitmq, vhost)
    theirs = {"definition": {"max-length": 3}, "priority": 9, "apply-to": "all"}
    rabbitmq.call("PUT", path(vhost, "policies", "theirs"), pattern=pattern, **theirs)

    assert await faults(rabbitmq, vhost) == []

    rabbitmq.call("PUT", path(vhost, "policies", "theirs"), pattern="^(?<x>lakedrop.ingress)$", **theirs)

    async def told() -> bool:
        return [fault.name for fault in await faults(rabbitmq, vhost)] == ["queue lakedrop.ingress"]

    await until(told)


async def test_missing_binding_is_told(rabbitmq: RabbitMQ, vhost: str) -> None:
    await declared(vhost)
    set_policies(rabbitmq, vhost)
    rabbitmq.call("DELETE", f"bindings/{quote(name_of(vhost), safe='')}/e/lakedrop.events/q/{INGRESS}/%23")

    (fault,) = await faults(rabbitmq, vhost)

    assert fault.name == "binding lakedrop.events -> lakedrop.ingress"


async def test_management_api_that_does_not_answer_is_told(rabbitmq: RabbitMQ, vhost: str) -> None:
    with pytest.raises(BrokerUnavailable, match="set broker_management_url"):
        await topology_faults(vhost, "http://127.0.0.1:1", NAMES)
    with pytest.raises(BrokerUnavailable, match="refuses the broker's user"):
        await topology_faults(vhost.replace(rabbitmq.password, "mistyped"), rabbitmq.management, NAMES)


# Definitions


@pytest.fixture
def installed(rabbitmq: RabbitMQ) -> Iterator[tuple[str, dict[str, str]]]:
    """A vhost as the definitions make it, and the URL of each user."""
    vhost = f"test-{uuid4().hex[:12]}"
    passwords = {user.variable: f"secret of {user.name}" for user in USERS}
    rabbitmq.call("POST", "definitions", **definitions([vhost], NAMES, passwords))
    place = rabbitmq.url.rpartition("@")[2]
    yield (
        f"{rabbitmq.url}/{vhost}",
        {user.name: f"amqp://{user.name}:{quote(passwords[user.variable])}@{place}/{vhost}" for user in USERS},
    )
    rabbitmq.start()
    rabbitmq.delete_vhost(vhost)
    for user in USERS:
        rabbitmq.call("DELETE", f"users/{user.name}")


async def test_definitions_make_what_the_check_wants(rabbitmq: RabbitMQ, installed: tuple[str, dict[str, str]]) -> None:
    vhost, users = installed

    assert await topology_faults(users["lakedrop-consumer"], rabbitmq.management, NAMES) == []
    found = rabbitmq.call("GET", f"policies/{name_of(vhost)}")
    assert sorted(found, key=lambda policy: str(policy["name"])) == sorted(
        ({"vhost": name_of(vhost), **policy_json(policy)} for policy in POLICIES),
        key=lambda policy: str(policy["name"]),
    )


async def test_users_may_do_what_they_must_and_no_more(installed: tuple[str, dict[str, str]]) -> None:
    _, users = installed
    consumer = await RabbitBroker.connect(users["lakedrop-consumer"], queues=queues_of(NAMES))
    await consumer.publish(work_queue("large"), Message(b"hint", "", {}, "1"))
    bridge = await RabbitBroker.connect(users["lakedrop-bridge"])
    await bridge.publish(INGRESS, Message(b"event", "", {}, "2"))
    with pytest.raises(BrokerUnavailable, match="ACCESS_REFUSED"):
        await bridge.publish(work_queue("large"), Message(b"hint", "", {}, "3"))
    with pytest.raises(BrokerUnavailable, match="ACCESS_REFUSED"):
        await bridge.consume(INGRESS, prefetch=1)
    store = await aio_pika.connect(users["lakedrop-store"])
    async with store:
        channel = await store.channel()
        exchange = await channel.declare_exchange("lakedrop.events", "topic", durable=True)  # as MinIO does
        await exchange.publish(aio_pika.Message(b"event"), "minio")
        with pytest.raises(aio_pika.exceptions.ChannelClosed, match="ACCESS_REFUSED"):
            await channel.default_exchange.publish(aio_pika.Message(b"hint"), work_queue("large"))
    operator = await aio_pika.connect(users["lakedrop-operator"])
    async with operator:
        channel = await operator.channel()
        assert (await (await channel.get_queue(work_queue("large"))).get()).body == b"hint"
        with pytest.raises(aio_pika.exceptions.ChannelClosed, match="ACCESS_REFUSED"):
            await channel.queue_delete(work_queue("large"))

    assert await consumer.depth(INGRESS) == 2
    await bridge.aclose()
    await consumer.aclose()


async def test_exchange_that_the_store_deletes_loses_no_event(
    rabbitmq: RabbitMQ, installed: tuple[str, dict[str, str]]
) -> None:
    _, users = installed
    url = users["lakedrop-consumer"]
    store = await aio_pika.connect(users["lakedrop-store"])
    async with store:
        channel = await store.channel()
        await channel.exchange_delete("lakedrop.events")  # who may declare it may delete it
        exchange = await channel.declare_exchange("lakedrop.events", "topic", durable=True)  # as MinIO does
        await exchange.publish(aio_pika.Message(b"event"), "minio")
        with pytest.raises(aio_pika.exceptions.ChannelClosed, match="ACCESS_REFUSED"):
            await channel.exchange_delete("lakedrop.unrouted")

    consumer = await RabbitBroker.connect(url)
    assert await consumer.depth("lakedrop.unrouted") == 1, "the policy outlives the exchange"
    (fault,) = await topology_faults(url, rabbitmq.management, NAMES)
    assert (fault.name, fault.repair) == ("binding lakedrop.events -> lakedrop.ingress", "lakedrop run")
    await consumer.declare(queues_of(NAMES))
    await consumer.aclose()
    assert await topology_faults(url, rabbitmq.management, NAMES) == []


def test_the_example_is_what_the_command_writes() -> None:
    example = Path(__file__).parents[2] / "infra/minio-notify/rabbitmq/definitions.example.json"

    written = definitions(["lakedrop"], ["csv_to_iceberg"], {user.variable: f"${user.variable}" for user in USERS})

    assert json.loads(example.read_text()) == written
