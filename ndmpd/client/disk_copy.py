"""A copy without a tape: a backup on one DATA feeds a recover on another (draft 2.3.5.2, 3.5.2)."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ndmpd.client.agents import DataAgent
from ndmpd.client.connection import Connection
from ndmpd.client.copies import CopyReport, Look, Pairing, lost
from ndmpd.client.history import HistoryWriter
from ndmpd.client.observer import Observer
from ndmpd.client.posts import Posts
from ndmpd.client.restore import Wanted
from protocol.ndmp.codes import AddrType, Code, DataHaltReason, DataState, DataUnsupported
from protocol.ndmp.data import DataGetStateReply

BELIEVABLE = 1 << 60
"""Estimates of what remains are below this; some servers send all ones for not knowing."""


@dataclass(frozen=True, slots=True)
class DiskCopyOrder:
    """``source`` and ``destination`` are paths on their servers. ``swapped``: the backup's side listens."""

    butype: str
    source: str
    destination: str
    environment: tuple[tuple[str, str], ...] = ()
    swapped: bool = False

    @property
    def variables(self) -> tuple[tuple[str, str], ...]:
        """For both sides; the user's keep our own out."""
        own = (("FILESYSTEM", self.source), ("TYPE", self.butype), ("HIST", "n"), ("LEVEL", "0"))
        given = {name for name, _ in self.environment}
        return (*self.environment, *((name, value) for name, value in own if name not in given))


class DataSide:
    """``copies.Side``. ``state`` is the last that was seen."""

    halted_post = Code.NOTIFY_DATA_HALTED

    def __init__(self, connection: Connection) -> None:
        self.data = DataAgent(connection)
        self.state = DataGetStateReply()

    @property
    def connection(self) -> Connection:
        return self.data.connection

    def look(self) -> Look:
        self.state = state = self.data.get_state()
        return Look(state.state == DataState.HALTED, state.state == DataState.IDLE,
                    state.halt_reason == DataHaltReason.SUCCESSFUL,
                    getattr(state.halt_reason, "name", str(state.halt_reason)), (state.bytes_processed,))

    def abort(self) -> None:
        self.data.abort()

    def stop(self) -> None:
        self.data.stop()


def copy_disk(source: Connection, destination: Connection, order: DiskCopyOrder,
              observer: Observer) -> CopyReport:
    """Carry out ``order``; both sides are IDLE again when it returns, or raises what stopped it."""
    posts = Posts(observer, HistoryWriter(None, 0))
    sender, taker = DataSide(source), DataSide(destination)
    pairing = Pairing((sender, taker), posts)
    begun = time.monotonic()
    try:
        _join(sender.data, taker.data, order)
        _start(sender.data, taker.data, order)
        looks = _watch(pairing, sender, observer)
        pairing.settle()
        environment, sent = taker.data.get_env(), sender.data.get_env()
        sender.stop()
        taker.stop()
    except BaseException:
        pairing.abandon()
        raise
    return CopyReport(
        "disk", size=taker.state.bytes_processed, seconds=time.monotonic() - begun,
        source_halt=looks[0].reason, destination_halt=looks[1].reason, whole=all(one.whole for one in looks),
        lost=max(posts.errors, lost(sent), lost(environment)), source=order.source,
        destination=order.destination, environment=environment, source_environment=sent,
        messages=posts.messages, failed=posts.failed)


def _join(sender: DataAgent, taker: DataAgent, order: DiskCopyOrder) -> None:
    listens, calls = (sender, taker) if order.swapped else (taker, sender)
    calls.connect(listens.listen(AddrType.TCP))


def _start(sender: DataAgent, taker: DataAgent, order: DiskCopyOrder) -> None:
    sender.start_backup(order.butype, order.variables)
    name = Wanted("", order.destination).name(taker.connection.version, order.destination)
    taker.start_recover(order.butype, order.variables, [name])


def _watch(pairing: Pairing, sender: DataSide, observer: Observer) -> list[Look]:
    while True:
        looks = pairing.looks()
        state = sender.state
        told = not state.unsupported & DataUnsupported.EST_BYTES_REMAIN
        known = told and state.est_bytes_remain < BELIEVABLE
        total = state.bytes_processed + state.est_bytes_remain if known else 0
        observer.amount(looks[1].progress[0], total)
        if all(one.halted for one in looks):
            return looks
        pairing.hurry(looks)
