"""RabbitMQ behind TLS, with a certificate of an authority of its owner's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from consumer.broker import RabbitBroker
from consumer.broker_check import topology_faults
from consumer.broker_port import BrokerUnavailable, BrokerUntrusted
from consumer.broker_topology import queues_of
from consumer.workitem import INGRESS, Message
from tests.stack import ports
from tests.stack.certificates import certified
from tests.stack.ports import LOOPBACK
from tests.stack.rabbitmq import RabbitMQ

pytestmark = pytest.mark.needs("rabbitmq")

LISTENER = """\
listeners.ssl.1 = 127.0.0.1:{port}
ssl_options.cacertfile = {folder}/ca.crt
ssl_options.certfile = {folder}/certificates/public.crt
ssl_options.keyfile = {folder}/certificates/private.key
management.ssl.ip = 127.0.0.1
management.ssl.port = {management}
management.ssl.cacertfile = {folder}/ca.crt
management.ssl.certfile = {folder}/certificates/public.crt
management.ssl.keyfile = {folder}/certificates/private.key
"""


class SecureRabbitMQ(RabbitMQ):
    """RabbitMQ that also listens with TLS; `secure` is the address of that, `ca` the authority."""

    variable = "LAKEDROP_TEST_SECURE_RABBITMQ_URL"
    image = None  # type: ignore[assignment]  # a container would not have the certificate
    secure: str
    secure_management: str
    ca: Path

    @classmethod
    def native(cls, folder: Path) -> Self:
        made = super().native(folder)
        port, management = ports.reserve(), ports.reserve()
        certified(folder)
        with (folder / "rabbitmq.conf").open("a") as settings:
            settings.write(LISTENER.format(port=port, management=management, folder=folder))
        made.secure = f"amqps://{made.user}:{made.password}@{LOOPBACK}:{port}/%2F"
        made.secure_management = f"https://{LOOPBACK}:{management}"
        made.ca = folder / "ca.crt"
        return made


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureRabbitMQ]:
    server = SecureRabbitMQ.find(tmp_path_factory.mktemp("secure"))
    try:
        server.start()
        yield server
    finally:
        server.close()


async def test_messages_go_and_come_when_the_authority_is_named(secure: SecureRabbitMQ) -> None:
    broker = await RabbitBroker.connect(f"{secure.secure}?cafile={secure.ca}", queues=queues_of(["csv"]))
    await broker.publish(INGRESS, Message(b"x" * 100_000, "", {}, "1"))
    consumer = await broker.consume(INGRESS, prefetch=1)

    delivery = await consumer.get()
    await delivery.ack()

    assert delivery.message.body == b"x" * 100_000
    await broker.aclose()


async def test_queues_are_compared_over_tls_too(secure: SecureRabbitMQ) -> None:
    named = f"{secure.secure}?cafile={secure.ca}"
    await (await RabbitBroker.connect(named, queues=queues_of(["csv"]))).aclose()

    faults = await topology_faults(named, secure.secure_management, ["csv"])

    assert {fault.name.split()[0] for fault in faults} == {"policy"}
    with pytest.raises(BrokerUnavailable, match="certificate verify failed"):
        await topology_faults(secure.secure, secure.secure_management, ["csv"])


async def test_unknown_authority_is_told_with_what_names_it(secure: SecureRabbitMQ, tmp_path: Path) -> None:
    certified(tmp_path)
    for query in ("", f"?cafile={tmp_path / 'ca.crt'}"):
        with pytest.raises(BrokerUntrusted, match=r"cannot be trusted: .*; name its authority.*\?cafile="):
            await RabbitBroker.connect(f"{secure.secure}{query}", queues=queues_of(["csv"]))


async def test_authority_that_is_no_file_is_told(secure: SecureRabbitMQ) -> None:
    with pytest.raises(BrokerUntrusted, match="broker_url names cannot be read"):
        await RabbitBroker.connect(f"{secure.secure}?cafile=/nowhere/ca.pem", queues=queues_of(["csv"]))
