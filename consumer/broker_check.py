"""
What is on a RabbitMQ server against what should be there, by its management API.

`lakedrop check` prints the faults, each with the command that repairs it. Nothing is changed here.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import aiohttp
from yarl import URL

from consumer.broker_port import BrokerUnavailable
from consumer.broker_topology import BINDINGS, EVENTS, EXCHANGES, POLICIES, QUEUE_ARGUMENTS, Policy, queues_of
from consumer.terminal import shell

MANAGEMENT_PORT: Final = 15672
SECONDS: Final = 10.0
"""Patience with the management API."""

LOOKS: Final = 20
LOOK_SECONDS: Final = 1.0
"""
How often, and how far apart, queues are looked at again while one seems to have no leader.

Each may seem so for some seconds after a server began; a busy one tells it until the queue's next tick, every 5 s.
"""

OURS: Final = frozenset(policy.name for policy in POLICIES)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is not as it should be."""

    name: str
    """What: a queue, an exchange, a policy."""
    found: str
    expected: str
    repair: str
    """The command that repairs it."""

    @property
    def message(self) -> str:
        """Say it in a sentence."""
        return f"{self.name}: {self.found}; expected: {self.expected}"


async def topology_faults(
    url: str, management_url: str | None, names: Collection[str], *, run: str = "lakedrop run"
) -> list[Fault]:
    """
    Compare exchanges, queues, bindings and policies with what an installation needs.

    Args:
        url: Of the broker; its user must have the tag `management`. An authority that it names counts here too.
        management_url: Of the management API; None: port 15672 of the broker's host.
        names: Handlers, and routes with queues of their own.
        run: The command that starts a service, which declares queues, exchanges and bindings.

    Raises:
        BrokerUnavailable: The management API does not answer, or refuses the user.
    """
    address = URL(url)
    vhost = address.path.removeprefix("/") or "/"
    api = URL(management_url or f"http://{address.host}:{MANAGEMENT_PORT}")
    login = aiohttp.encode_basic_auth(address.user or "guest", address.password or "guest", "utf-8")
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    trusted = ssl.create_default_context(cafile=address.query.get("cafile"))
    connector = aiohttp.TCPConnector(ssl=trusted)
    async with aiohttp.ClientSession(headers={"Authorization": login}, timeout=timeout, connector=connector) as session:

        async def listed(kind: str) -> list[dict[str, Any]]:
            return await _get(session, api, f"{kind}/{quote(vhost, safe='')}")

        exchanges = {found["name"]: found for found in await listed("exchanges")}
        queues = {found["name"]: found for found in await listed("queues")}
        for _ in range(LOOKS):
            if all(_has_leader(queues[name]) for name in queues_of(names) if name in queues):
                break
            await asyncio.sleep(LOOK_SECONDS)
            queues = {found["name"]: found for found in await listed("queues")}
        bindings = {(found["source"], found["destination"], found["routing_key"]) for found in await listed("bindings")}
        policies = {found["name"]: found for found in await listed("policies")}
    return [
        *_exchange_faults(vhost, exchanges, run),
        *_queue_faults(vhost, queues, names, run),
        *_binding_faults(bindings, run),
        *_policy_faults(vhost, policies),
        *_ruled_exchanges(vhost, exchanges),
        *_shadowed(vhost, policies.values(), queues, names),
    ]


def _has_leader(queue: Mapping[str, Any]) -> bool:
    return queue.get("state") not in ("down", "minority") and ("online" not in queue or bool(queue["online"]))


async def _get(session: aiohttp.ClientSession, api: URL, path: str) -> list[dict[str, Any]]:
    place = api.with_user(None)
    try:
        async with session.get(api.with_path(f"{api.path.rstrip('/')}/api/{path}", encoded=True)) as answer:
            if answer.status in (401, 403):
                raise BrokerUnavailable(
                    f"{place} refuses the broker's user: give it the tag `management` (rabbitmqctl set_user_tags)"
                )
            answer.raise_for_status()
            found: list[dict[str, Any]] = await answer.json()
            return found
    except (aiohttp.ClientError, TimeoutError, json.JSONDecodeError) as error:
        raise BrokerUnavailable(
            f"RabbitMQ's management API does not answer at {place}: {str(error) or type(error).__name__}; "
            "rabbitmq-plugins enable rabbitmq_management, or set broker_management_url"
        ) from error


def _exchange_faults(vhost: str, found: Mapping[str, Mapping[str, Any]], run: str) -> Iterator[Fault]:
    for name, kind in EXCHANGES.items():
        there = found.get(name)
        if there is None:
            yield Fault(f"exchange {name}", "not there", f"a durable {kind} exchange", run)
        elif there["type"] != kind or not there["durable"]:
            durable = "durable" if there["durable"] else "transient"
            repair = f"rabbitmqadmin --vhost {shell(vhost)} delete exchange name={name} && {run}"
            yield Fault(f"exchange {name}", f"a {durable} {there['type']} exchange", f"a durable {kind} one", repair)


def _queue_faults(
    vhost: str, found: Mapping[str, Mapping[str, Any]], names: Collection[str], run: str
) -> Iterator[Fault]:
    for name in queues_of(names):
        there = found.get(name)
        again = f"{shell('rabbitmqctl', '--vhost', vhost, 'delete_queue', name)} && {run}"
        if there is None:
            yield Fault(f"queue {name}", "not there", "a quorum queue", run)
        elif there.get("arguments", {}) != QUEUE_ARGUMENTS:
            arguments = json.dumps(there.get("arguments", {}), sort_keys=True)
            repair = f"{again}  # first move its messages: they are deleted with it"
            yield Fault(f"queue {name}", f"arguments {arguments}", f"only {json.dumps(QUEUE_ARGUMENTS)}", repair)
        elif not _has_leader(there):
            repair = f"{again}  # if it does not come back with the nodes that hold it; a sweep finds what it held"
            yield Fault(f"queue {name}", "no leader: it can be neither read nor written", "running", repair)


def _binding_faults(found: Collection[tuple[str, str, str]], run: str) -> Iterator[Fault]:
    for exchange, queue, key in BINDINGS:
        if (exchange, queue, key) not in found:
            yield Fault(f"binding {exchange} -> {queue}", "not there", f"routing key {key!r}", run)


def _policy_faults(vhost: str, found: Mapping[str, Mapping[str, Any]]) -> Iterator[Fault]:
    for policy in POLICIES:
        there = found.get(policy.name)
        if there is None:
            yield Fault(f"policy {policy.name}", "not there", _shown(policy.definition), set_policy(vhost, policy))
            continue
        differs = [
            (what, seen, wanted)
            for what, seen, wanted in (
                ("pattern", there["pattern"], policy.pattern),
                ("apply-to", there["apply-to"], policy.apply_to),
                ("priority", there["priority"], 0),  # below others' it may do nothing
                ("definition", _shown(there["definition"]), _shown(policy.definition)),
            )
            if seen != wanted
        ]
        for what, seen, wanted in differs:
            yield Fault(f"policy {policy.name}", f"{what} {seen}", f"{wanted}", set_policy(vhost, policy))


def _ruled_exchanges(vhost: str, found: Mapping[str, Mapping[str, Any]]) -> Iterator[Fault]:
    """Find policies that push ours aside on the exchange of events: what no queue takes would be gone."""
    policy = found.get(EVENTS, {}).get("policy")
    if policy and policy not in OURS:
        yield _ruled(vhost, f"exchange {EVENTS}", policy)


def _shadowed(
    vhost: str,
    policies: Collection[Mapping[str, Any]],
    found: Mapping[str, Mapping[str, Any]],
    names: Collection[str],
) -> Iterator[Fault]:
    """Find policies that push ours aside: RabbitMQ applies one to a queue, of the highest priority."""
    for policy in policies:
        if policy["name"] in OURS or policy["apply-to"] == "exchanges" or policy["priority"] < 0:
            continue
        for queue in queues_of(names):
            if _rules(policy, queue, found.get(queue, {})):
                yield _ruled(vhost, f"queue {queue}", policy["name"])


def _rules(policy: Mapping[str, Any], queue: str, found: Mapping[str, Any]) -> bool:
    """Tell whether a policy is for a queue. Patterns are PCRE: of one that Python cannot read RabbitMQ tells, later."""
    try:
        return re.search(policy["pattern"], queue) is not None
    except re.error:
        return bool(found.get("policy") == policy["name"])


def _ruled(vhost: str, what: str, policy: str) -> Fault:
    repair = shell("rabbitmqctl", "clear_policy", "-p", vhost, policy)
    return Fault(what, f"ruled by policy {policy}", "by one of lakedrop's own", repair)


def set_policy(vhost: str, policy: Policy) -> str:
    """Return the command that sets a policy."""
    return shell(
        "rabbitmqctl", "set_policy", "-p", vhost, "--priority", "0", "--apply-to", policy.apply_to,
        policy.name, policy.pattern, json.dumps(dict(policy.definition)),
    )  # fmt: skip


def _shown(definition: Mapping[str, Any]) -> str:
    return json.dumps(dict(definition), sort_keys=True)
