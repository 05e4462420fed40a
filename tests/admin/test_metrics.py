"""What Prometheus is told is what was done; and whoever else comes to that port does no harm."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ndmpd.admin.check import examine
from ndmpd.client.auth import authenticate
from ndmpd.client.connection import Connection
from ndmpd.client.errors import ClientError
from ndmpd.client.url import ServerUrl
from ndmpd.config import Settings
from ndmpd.errors import ConfigError
from ndmpd.management import metrics
from ndmpd.management.client import ask
from protocol.ndmp.codes import DataHaltReason
from tests.admin.running import ConfiguredServer, ImageDma, at_rest, within
from tests.peers.server import USER, NotReady, free_port

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConfiguredServer]:
    with ConfiguredServer(tmp_path_factory.mktemp("metrics"), "max_sessions = 4") as server:
        yield server


def url(server: ConfiguredServer, path: str = "/metrics") -> str:
    return f"http://127.0.0.1:{server.metrics}{path}"


def scraped(server: ConfiguredServer) -> Samples:
    with urlopen(url(server), timeout=10) as answer:
        text = answer.read().decode()
    return {(sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text) for sample in family.samples}


def one(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def test_every_metric_is_there_from_the_start_and_has_a_help_text(server: ConfiguredServer) -> None:
    with urlopen(url(server), timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        text = answer.read().decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert all(name.startswith("ndmpd_") and family.documentation for name, family in families.items())
    samples = scraped(server)
    assert abs(one(samples, "ndmpd_start_time_seconds") - time.time()) < 600
    assert one(samples, "ndmpd_sessions_limit") == 4
    assert one(samples, "ndmpd_copy_manager_up") == 1
    for operation in "backup", "recover", "list":
        for outcome in "successful", "failed", "aborted":
            assert one(samples, "ndmpd_jobs_total", operation=operation, outcome=outcome) == 0
    for name, kind in ("gw1", "SCSI"), ("NAS", "NAS"):
        for direction in "backup", "recover":
            assert one(samples, "ndmpd_bytes_total", datamover=name, type=kind, direction=direction) == 0


def test_jobs_and_bytes_are_what_status_says(server: ConfiguredServer) -> None:
    def grown(name: str, **labels: str) -> float:
        return one(scraped(server), name, **labels) - one(before, name, **labels)

    before = scraped(server)
    with ImageDma(server) as dma:  # type: ignore[arg-type]
        assert one(scraped(server), "ndmpd_sessions") >= 1
        dma.save("SCSI")
        assert dma.ended()[0] == DataHaltReason.SUCCESSFUL
        # As soon as the job is over, not only with the session.
        assert grown("ndmpd_jobs_total", operation="backup", outcome="successful") == 1
        assert grown("ndmpd_datamover_jobs_total", datamover="gw1", type="SCSI", outcome="done") == 1
        dma.tape.close()
        dma.save("NAS")
        within(10, lambda: one(scraped(server), "ndmpd_bytes_total", datamover="NAS", type="NAS",
                               direction="backup") > 0, "nothing is moved")
        dma.data.abort()
        dma.mover.abort()
        within(10, lambda: grown("ndmpd_jobs_total", operation="backup", outcome="aborted")
               + grown("ndmpd_jobs_total", operation="backup", outcome="successful") == 2, "no second job")
    at_rest(server.state)
    status = {mover["name"]: mover for mover in ask(server.state, {"ask": "status"})["datamovers"]}
    samples = scraped(server)
    for name, kind in ("gw1", "SCSI"), ("NAS", "NAS"):
        assert one(samples, "ndmpd_bytes_total", datamover=name, type=kind, direction="backup") \
            == status[name]["backed_up"] > 0
        assert one(samples, "ndmpd_datamover_jobs_total", datamover=name, type=kind, outcome="failed") \
            == status[name]["jobs_failed"]


def test_failed_logins_and_refused_connections_are_counted(server: ConfiguredServer) -> None:
    within(10, lambda: not ask(server.state, {"ask": "status"})["sessions"]["now"], "sessions are left")
    before = scraped(server)
    stranger = Connection.open(ServerUrl("127.0.0.1", server.port, USER))
    with pytest.raises(ClientError):
        authenticate(stranger, USER, "not the password")
    assert one(scraped(server), "ndmpd_logins_failed_total") == one(before, "ndmpd_logins_failed_total") + 1
    stranger.drop()
    within(10, lambda: not ask(server.state, {"ask": "status"})["sessions"]["now"], "the stranger stays")
    dmas = [ImageDma(server).__enter__() for _ in range(4)]  # type: ignore[arg-type]
    try:
        with socket.create_connection(("127.0.0.1", server.port), 10) as fifth:
            fifth.settimeout(10)
            while fifth.recv(4096):
                pass
        samples = scraped(server)
        assert one(samples, "ndmpd_connections_refused_total") \
            == one(before, "ndmpd_connections_refused_total") + 1
        assert one(samples, "ndmpd_sessions") == 4
        assert one(samples, "ndmpd_logins_failed_total") == one(before, "ndmpd_logins_failed_total") + 1
    finally:
        for dma in dmas:
            dma.__exit__()


@pytest.mark.parametrize(("path", "method", "status"), [
    ("/", "GET", 404), ("/nowhere", "GET", 404), ("/metrics/more", "GET", 200), ("/metrics", "PUT", 501)])
def test_nothing_else_is_served(server: ConfiguredServer, path: str, method: str, status: int) -> None:
    try:
        with urlopen(Request(url(server, path), method=method), timeout=10) as answer:
            assert answer.status == status
    except HTTPError as refused:
        assert refused.code == status


@pytest.mark.parametrize("words", [
    b"\0" * 100000, b"GET " + b"x" * 100000, b"GET /metrics HTTP/1.1\r\n" + b"A: b\r\n" * 20000,
    b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * (4 << 20),
    b"POST /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"10000\r\n" + b"x" * 65536,
], ids=range(5))
def test_whatever_is_said_there_the_next_scrape_comes_through(server: ConfiguredServer, words: bytes) -> None:
    assert server.program is not None
    files = Path(f"/proc/{server.program.process.pid}/fd")
    before = len(os.listdir(files))
    with socket.create_connection(("127.0.0.1", server.metrics), 10) as end:
        end.settimeout(10)
        with suppress(OSError):
            end.sendall(words)
            end.shutdown(socket.SHUT_WR)
            while end.recv(65536):
                pass
        assert scraped(server)
        assert len(os.listdir(files)) <= before + 2
    within(10, lambda: len(os.listdir(files)) <= before, "descriptors are left")


def test_many_who_say_nothing_are_too_many_at_some_time_and_leave_nothing(server: ConfiguredServer) -> None:
    assert server.program is not None
    files = Path(f"/proc/{server.program.process.pid}/fd")
    before = len(os.listdir(files))
    waiting = [socket.create_connection(("127.0.0.1", server.metrics), 10) for _ in range(3 * metrics.MOST)]
    time.sleep(0.3)
    assert len(os.listdir(files)) <= before + metrics.MOST
    assert ask(server.state, {"ask": "status"})["sessions"]["limit"] == 4
    for end in waiting:
        end.close()
    within(10, lambda: len(os.listdir(files)) <= before, "descriptors are left")
    assert scraped(server)


def test_status_says_where_metrics_are(server: ConfiguredServer) -> None:
    assert ask(server.state, {"ask": "status"})["metrics"] == url(server)


def test_a_port_that_is_taken_keeps_the_server_from_starting(
        server: ConfiguredServer, tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="Address already in use"):
        ConfiguredServer(tmp_path, metrics=server.metrics).__enter__()


def loaded(folder: Path, server: str) -> Settings:
    secret = folder / "secret"
    secret.write_text("a password\n")
    secret.chmod(0o600)
    path = folder / "ndmpd.toml"
    path.write_text(f'[server]\n{server}\n[[user]]\nname = "u"\nsecret_file = "{secret}"\n')
    return Settings.load(path)


def test_metrics_are_for_this_machine_unless_an_interface_is_named(tmp_path: Path) -> None:
    assert loaded(tmp_path, "").server.metrics is None
    for text, interface in ("tcp:9104", "127.0.0.1"), ("tcp:9104:interface=192.0.2.1", "192.0.2.1"), \
            (r"tcp:9104:interface=\\:\\:", "::"):
        listen = loaded(tmp_path, f'metrics = "{text}"').server.metrics
        assert listen is not None and (listen.port, listen.interface) == (9104, interface)


@pytest.mark.parametrize(("line", "why"), [
    ("metrics = 9104", "server.metrics: is 9104; write a text in quotes"),
    ('metrics = "9104"', "server.metrics: '9104' is not a listening address; write tcp:PORT"),
    ('metrics = "tcp:10000"', "server.metrics: port 10000 is where DMAs connect (listen); write another"),
])
def test_a_mistake_is_told_with_what_to_write(tmp_path: Path, line: str, why: str) -> None:
    with pytest.raises(ConfigError) as refused:
        loaded(tmp_path, line)
    assert why in str(refused.value)


def test_check_names_the_place(tmp_path: Path) -> None:
    found = [finding.text for finding in examine(loaded(tmp_path, 'metrics = "tcp:9104"'))]
    assert "server.metrics: tcp:9104:interface=127.0.0.1" in found


def test_a_free_port_is_not_mistaken_for_the_dmas(tmp_path: Path) -> None:
    port = free_port()
    assert loaded(tmp_path, f'listen = "tcp:{port}"\nmetrics = "tcp:{port + 1}"').server.metrics
