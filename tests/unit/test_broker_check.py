"""Queues whose leaders are away: RabbitMQ's management API as one that is busy, or has just begun, answers."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from consumer import broker_check
from consumer.broker_check import Fault, topology_faults
from consumer.broker_topology import BINDINGS, EXCHANGES, POLICIES, QUEUE_ARGUMENTS, queues_of
from consumer.workitem import INGRESS

LEADERLESS = [{"online": []}, {"state": "down"}, {"state": "minority"}]


class Management:
    """All is there; one queue has no leader for some looks."""

    def __init__(self, *, leaderless: dict[str, Any], looks: int) -> None:
        self.looks = looks
        self._leaderless = leaderless

    async def answer(self, request: web.Request) -> web.Response:
        kinds = (self.exchanges, self.queues, self.bindings, self.policies)
        listed = next(kind for kind in kinds if kind.__name__ == request.match_info["kind"])
        return web.json_response(listed())

    def exchanges(self) -> list[dict[str, Any]]:
        return [{"name": name, "type": kind, "durable": True} for name, kind in EXCHANGES.items()]

    def queues(self) -> list[dict[str, Any]]:
        self.looks -= 1
        queues = [{"name": name, "arguments": QUEUE_ARGUMENTS, "online": ["rabbit"]} for name in queues_of(["h"])]
        return [queue | (self._leaderless if queue["name"] == INGRESS and self.looks >= 0 else {}) for queue in queues]

    def bindings(self) -> list[dict[str, Any]]:
        return [{"source": source, "destination": queue, "routing_key": key} for source, queue, key in BINDINGS]

    def policies(self) -> list[dict[str, Any]]:
        return [
            {
                "name": policy.name,
                "pattern": policy.pattern,
                "apply-to": policy.apply_to,
                "priority": 0,
                "definition": dict(policy.definition),
            }
            for policy in POLICIES
        ]


async def faults(management: Management) -> list[Fault]:
    app = web.Application()
    app.router.add_get("/api/{kind}/{vhost}", management.answer)
    async with TestServer(app) as server:
        return await topology_faults("amqp://127.0.0.1", str(server.make_url("/")), ["h"])


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_check, "LOOK_SECONDS", 0.0)


@pytest.mark.parametrize("leaderless", LEADERLESS)
async def test_queue_whose_leader_is_only_not_yet_known_is_no_fault(leaderless: dict[str, Any]) -> None:
    management = Management(leaderless=leaderless, looks=broker_check.LOOKS)

    assert await faults(management) == []
    assert management.looks == -1, "it was looked at until it had one"


@pytest.mark.parametrize("leaderless", LEADERLESS)
async def test_queue_that_stays_without_a_leader_is_told_with_what_makes_it_anew(leaderless: dict[str, Any]) -> None:
    (fault,) = await faults(Management(leaderless=leaderless, looks=1000))

    assert fault.message == f"queue {INGRESS}: no leader: it can be neither read nor written; expected: running"
    assert fault.repair.startswith(f"rabbitmqctl --vhost / delete_queue {INGRESS} && lakedrop run")
