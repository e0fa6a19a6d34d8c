"""
Metrics for Prometheus: what this process did, and what the ledger and the queues hold.

What the ledger holds is the same in every replica: take `max`, not `sum`, over instances.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from consumer.held import Settled
from consumer.protocol import Status
from consumer.status import Numbers

SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
"""Upper bounds of the buckets of durations: from a small file to one that is streamed for long."""


class Metrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._settled = Counter(
            "lakedrop_settled",
            "Units this process settled, by what became of them.",
            ("handler", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "lakedrop_claim_seconds",
            "From CLAIM to SETTLE, for units this process settled.",
            ("handler",),
            buckets=SECONDS,
            registry=self._registry,
        )
        self._children: dict[tuple[str, Status], tuple[Counter, Histogram]] = {}

    def settled(self, settled: Settled) -> None:
        """Count a settled unit."""
        kind = (settled.key.handler, settled.status)
        if kind not in self._children:  # looking them up takes longer than counting
            self._children[kind] = (self._settled.labels(*kind), self._seconds.labels(kind[0]))
        count, seconds = self._children[kind]
        count.inc()
        seconds.observe(settled.seconds)

    def exposition(
        self, numbers: Numbers | None, depths: Mapping[str, int], sinks: Mapping[str, bool] = MappingProxyType({})
    ) -> bytes:
        """
        Return all metrics in the text format of Prometheus.

        Args:
            numbers: What the ledger holds now; None while it does not tell.
            depths: Messages waiting, by queue.
            sinks: Whether this process waits for the sink of a handler.
        """
        now = CollectorRegistry()
        now.register(_Now(numbers, depths, sinks))
        return generate_latest(self._registry) + generate_latest(now)


class _Now(Collector):
    def __init__(self, numbers: Numbers | None, depths: Mapping[str, int], sinks: Mapping[str, bool]) -> None:
        self._numbers = numbers
        self._depths = depths
        self._sinks = sinks

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "lakedrop_ledger_up",
            "1 when the ledger told what it holds; 0: the metrics of units, tasks and sweeps are left out.",
            value=float(self._numbers is not None),
        )
        queues = GaugeMetricFamily("lakedrop_queue_messages", "Messages waiting in a queue.", labels=("queue",))
        for queue, depth in self._depths.items():
            queues.add_metric((queue,), depth)
        yield queues
        away = GaugeMetricFamily(
            "lakedrop_sink_away",
            "1 while this process waits for a sink that does not answer, or does not let it in.",
            labels=("handler",),
        )
        for handler, gone in sorted(self._sinks.items()):
            away.add_metric((handler,), float(gone))
        yield away
        if self._numbers is not None:
            yield from _held(self._numbers)


def _held(numbers: Numbers) -> Iterator[Metric]:
    """Yield what the ledger holds."""
    units = GaugeMetricFamily("lakedrop_units", "Units in the ledger, by state.", labels=("bucket", "handler", "state"))
    held = GaugeMetricFamily("lakedrop_units_held", "Units somebody works on.", labels=("bucket", "handler"))
    waiting = GaugeMetricFamily(
        "lakedrop_units_waiting", "Units that are due for another look.", labels=("bucket", "handler")
    )
    for group in numbers.groups:
        for state, number in group.states.items():
            units.add_metric((group.bucket, group.handler, state), number)
        held.add_metric((group.bucket, group.handler), group.held)
        waiting.add_metric((group.bucket, group.handler), group.waiting)
    yield from (units, held, waiting)
    yield GaugeMetricFamily(
        "lakedrop_oldest_unsettled_seconds",
        "Age of the unit that is unsettled longest; 0 when all are settled.",
        value=numbers.oldest_unsettled_seconds or 0.0,
    )
    tasks = GaugeMetricFamily("lakedrop_tasks", "Tasks of handlers, by state.", labels=("handler", "task", "state"))
    for kind in numbers.tasks:
        for state in ("done", "pending", "retrying"):
            tasks.add_metric((kind.handler, kind.name, state), getattr(kind, state))
    yield tasks
    if numbers.last_sweep is not None:
        yield GaugeMetricFamily(
            "lakedrop_sweep_agrees",
            "1 when the last sweep found that the ledger accounts for exactly what the buckets hold.",
            value=float(numbers.last_sweep["agrees"]),
        )
