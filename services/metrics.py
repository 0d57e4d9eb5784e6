"""What a manager counts, for Prometheus: names, labels and units in one place.

Each `Core` has its own registry, so that two managers in one process (tests) do not add up. What is counted as it happens
is counted here; what is true at a moment (sessions, agents, the queue) `server/metrics.py` reads when it is asked.
Labels have few values: root fields of the schema, codes of errors, statuses; never ids or what a client writes.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.process_collector import ProcessCollector

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        ProcessCollector(registry=own)
        self.build = Gauge("berth_build_info", "Always 1.", ["version", "python"], registry=own)
        self.operations = Counter(
            "berth_operations",
            "GraphQL operations that have ended, by kind, root field and result (OK, or the code of the first error).",
            ["kind", "field", "result"],
            registry=own,
        )
        self.operation_seconds = Histogram(
            "berth_operation_seconds",
            "How long queries and mutations took.",
            ["kind", "field"],
            buckets=_SECONDS,
            registry=own,
        )
        self.refused = Counter(
            "berth_requests_refused",
            "Requests that did not become an operation, by the code of the error.",
            ["result"],
            registry=own,
        )
        self.streams = Gauge(
            "berth_websockets", "Open websockets, by what they are for.", ["kind"], registry=own
        )
        self.cycles = Histogram(
            "berth_scheduler_cycle_seconds",
            "Cycles of the dispatcher that had something to plan.",
            buckets=_SECONDS,
            registry=own,
        )
        self.decisions = Counter(
            "berth_scheduler_decisions",
            "Sessions that were looked at: PLACED, OVERTAKEN (planned, and no longer true), WAITING.",
            ["decision"],
            registry=own,
        )
        self.dispatching = Gauge(
            "berth_dispatching", "1: this manager dispatches; over all managers it is 1.", registry=own
        )
        self.duty_failures = Counter(
            "berth_duty_failures", "Rounds of the manager's own duties that failed.", ["duty"], registry=own
        )
        self.sessions = Gauge(
            "berth_sessions", "Sessions that have not ended, by status.", ["status"], registry=own
        )
        self.queue = Gauge(
            "berth_queue_sessions",
            "Sessions that wait, by why (a code of pendingReason; NEW: not looked at yet).",
            ["reason"],
            registry=own,
        )
        self.agents = Gauge("berth_agents", "Agents, by status.", ["status"], registry=own)
        self.connected = Gauge("berth_agents_connected", "Agents connected to this manager.", registry=own)
        self.database = Gauge(
            "berth_database_connections",
            "Connections to the database, by what they do; `limit`: the most that there can be.",
            ["state"],
            registry=own,
        )
        self.database_up = Gauge(
            "berth_database_up", "1: the database answered when this was asked for.", registry=own
        )
        self.bus_up = Gauge("berth_bus_up", "1: hints reach other managers, or there are none.", registry=own)
        self.bus_backlog = Gauge("berth_bus_backlog", "Hints that wait to be sent.", registry=own)
        self.bus_lag = Gauge(
            "berth_bus_lag_seconds", "How long the last hint took by way of Redis and back.", registry=own
        )
