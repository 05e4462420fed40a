"""What the server has done, for Prometheus: read from the listener's table of sessions when somebody asks, at
``/metrics``. No session is asked for it.
"""

# mypy: disallow-untyped-calls=False
# Twisted's web server has no types.
from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from twisted.protocols.policies import ThrottlingFactory
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from ndmpd.management.sessions import SessionTable
from ndmpd.services.tally import HEAD, MoverTotals

PATIENCE = 10
"""Seconds after which a connection that says nothing is closed."""
MOST = 32
"""Connections at a time."""


class Figures(Collector):
    def __init__(self, table: SessionTable) -> None:
        self._table = table

    def collect(self) -> Iterator[Metric]:
        table, totals = self._table, self._table.tallies.totals()
        yield GaugeMetricFamily("ndmpd_start_time_seconds", "When the server was started.",
                                value=table.since)
        yield GaugeMetricFamily("ndmpd_sessions", "Control connections now.", value=len(table.sessions))
        yield GaugeMetricFamily("ndmpd_sessions_limit", "Control connections that are admitted at a time.",
                                value=table.limit)
        yield CounterMetricFamily("ndmpd_sessions_started", "Control connections since the start.",
                                  value=table.accepted)
        yield CounterMetricFamily("ndmpd_sessions_failed", "Sessions that ended by a signal or an error.",
                                  value=table.failed)
        yield CounterMetricFamily("ndmpd_connections_refused", "Control connections beyond max_sessions.",
                                  value=table.refused)
        yield CounterMetricFamily("ndmpd_logins_failed", "Logins that were refused.",
                                  value=totals.failed_logins)
        jobs = CounterMetricFamily("ndmpd_jobs", "Jobs that are over, by how they ended.",
                                   labels=("operation", "outcome"))
        for (operation, outcome), count in totals.jobs.items():
            jobs.add_metric((operation.name.lower(), outcome.name.lower()), count)
        yield jobs
        yield from _of_movers(totals.movers)
        if table.copy_manager is not None:
            yield GaugeMetricFamily("ndmpd_copy_manager_up",
                                    "Whether the copy manager of the embedded SAN runs.",
                                    value=table.copy_manager)


def _of_movers(movers: tuple[MoverTotals, ...]) -> Iterator[Metric]:
    moved = CounterMetricFamily("ndmpd_bytes", "Bytes of backup streams, by the data mover that moved them.",
                                labels=("datamover", "type", "direction"))
    jobs = CounterMetricFamily("ndmpd_datamover_jobs",
                               "Jobs that are over, for each data mover that had a part in them.",
                               labels=("datamover", "type", "outcome"))
    for mover in movers:
        labels = mover.name, "NAS" if mover.name == HEAD else "SCSI"
        moved.add_metric((*labels, "backup"), mover.backed_up)
        moved.add_metric((*labels, "recover"), mover.recovered)
        jobs.add_metric((*labels, "done"), mover.done)
        jobs.add_metric((*labels, "failed"), mover.failed)
    yield moved
    yield jobs


class _Page(Resource):
    isLeaf = True

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._registry = registry

    def render_GET(self, request: Request) -> bytes:
        request.setHeader("Content-Type", CONTENT_TYPE_LATEST)
        return generate_latest(self._registry)


class _Bodyless(Request):
    """Who asks for metrics has nothing to send; what comes all the same is not kept."""

    def gotLength(self, length: int | None) -> None:
        super().gotLength(0)

    def handleContentChunk(self, data: bytes) -> None:
        self.loseConnection()


def url(listening: socket.socket) -> str:
    """Where metrics are found."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}/metrics" if ":" in host else f"http://{host}:{port}/metrics"


def serve_metrics(reactor: Any, listening: socket.socket, table: SessionTable) -> None:
    """Answer on ``listening``, which is closed, for as long as the reactor runs."""
    registry = CollectorRegistry()
    registry.register(Figures(table))
    root: Any = Resource()
    root.putChild(b"metrics", _Page(registry))
    site = Site(root, timeout=PATIENCE, requestFactory=_Bodyless)
    site.noisy = False
    with listening:
        listening.setblocking(False)
        reactor.adoptStreamPort(listening.fileno(), listening.family, ThrottlingFactory(site, MOST))
