"""Whole jobs: from open control connections to a report. What ``ndmpc`` and ``ndmpd demo`` both call."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ndmpd.client.agents import DataAgent, MoverAgent, TapeAgent
from ndmpd.client.backup import Backup, BackupOrder
from ndmpd.client.catalogue import Catalogue, Medium
from ndmpd.client.connection import Stop
from ndmpd.client.errors import ExitStatus, MediaError
from ndmpd.client.history import HistoryWriter
from ndmpd.client.media import Drives, Shelf, TapeStation
from ndmpd.client.movement import Ending, Movement
from ndmpd.client.observer import Observer
from ndmpd.client.posts import Posts
from ndmpd.client.restore import Restore, RestoreOrder
from ndmpd.client.robot import Library, Robot
from ndmpd.client.servers import Servers, drive_names
from protocol.ndmp.codes import LogType, RecoveryStatus

LOST = "FILES_FAILED"
"""The variable in which the environment returned counts files that were lost."""


@dataclass(frozen=True, slots=True)
class Tapes:
    """Which drives and cartridges a job may use, as the user named them.

    ``place``: which data transfer element of ``changer`` the drive is; None: its place among the server's
    drives.
    """

    drives: tuple[str, ...] = ()
    changer: str | None = None
    cartridges: tuple[str, ...] = ()
    place: int | None = None

    def shelf(self, servers: Servers, remembered: Sequence[Medium] = ()) -> Shelf:
        """Where cartridges come from; ``remembered`` is what the catalogue says."""
        if self.changer is None and (self.drives or remembered):
            return Drives(self.drives)
        known = drive_names(servers.tape)
        drives = self.drives or tuple({each.drive for each in remembered}) or tuple(known)
        if len(drives) != 1:
            have = ", ".join(known) or "none"
            raise MediaError(f"choose a tape drive by --drive; the server has: {have}")
        if self.changer is None:
            return Drives(drives)
        place = self.place
        if place is None:
            place = known.index(drives[0]) if drives[0] in known else 0
        return Library(Robot(servers.changer(), self.changer), drives[0], place, self.cartridges)


@dataclass(slots=True)
class Report:
    """How a job went. ``size``: bytes of stream moved; ``entries`` of file history; ``messages``: errors and
    warnings of the server as (kind, text); ``failed``: names not recovered, with their status."""

    operation: str
    size: int = 0
    seconds: float = 0.0
    entries: int = 0
    data_halt: str = ""
    mover_halt: str = ""
    whole: bool = False
    lost: int = 0
    recovered: int = 0
    wanted: int = 0
    reported: bool = False
    media: list[Medium] = field(default_factory=list)
    environment: list[tuple[str, str]] = field(default_factory=list)
    messages: list[tuple[int, str]] = field(default_factory=list)
    failed: list[tuple[str, int]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    backup: int | None = None

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return self.size / self.seconds if self.seconds > 0 else 0.0

    @property
    def exit_status(self) -> ExitStatus:
        """OK only where nothing at all is missing."""
        if not self.whole:
            return ExitStatus.FAILED
        if self.lost or self.failed or (self.reported and self.recovered < self.wanted):
            return ExitStatus.PARTIAL
        return ExitStatus.OK

    def document(self) -> dict[str, Any]:
        """The report as ``--json`` prints it."""
        return {
            "operation": self.operation, "result": self.exit_status.name.lower(),
            "data_halt": self.data_halt, "mover_halt": self.mover_halt, "bytes": self.size,
            "seconds": round(self.seconds, 3), "bytes_per_second": round(self.rate),
            "history_entries": self.entries, "files_lost": self.lost, "names_recovered": self.recovered,
            "names_failed": [{"name": name, "status": _status(status)} for name, status in self.failed],
            "cartridges": [
                {"cartridge": each.cartridge, "drive": each.drive, "file_number": each.file_number,
                 "offset": each.window_offset, "length": each.window_length} for each in self.media],
            "environment": [{"name": name, "value": value} for name, value in self.environment],
            "messages": [{"kind": LogType(kind).name.lower(), "text": text} for kind, text in self.messages],
            "remarks": self.remarks, "backup": self.backup,
        }


def _status(status: int) -> str:
    try:
        return RecoveryStatus(status).name
    except ValueError:
        return str(status)


def _report(operation: str, ending: Ending, posts: Posts, begun: float) -> Report:
    data_halt, mover_halt = ending.reasons
    counted = [value for name, value in ending.environment if name == LOST and value.isdigit()]
    return Report(
        operation, size=ending.mover.bytes_moved, seconds=time.monotonic() - begun,
        entries=posts.history.entries, data_halt=data_halt, mover_halt=mover_halt, whole=ending.whole,
        lost=max([posts.errors, *map(int, counted)]), recovered=posts.outcomes[RecoveryStatus.SUCCESSFUL],
        reported=bool(posts.outcomes), environment=ending.environment, messages=posts.messages,
        failed=posts.failed)


def run_backup(servers: Servers, tapes: Tapes, order: BackupOrder, *, stop: Stop, observer: Observer,
               catalogue: Catalogue | None = None, swapped: bool = False) -> Report:
    """Back up, and write what is needed for a restore into ``catalogue``.

    Raises what the job raises; the catalogue then says that the backup failed and why.
    """
    shelf = tapes.shelf(servers)
    begun = time.monotonic()
    number = 0
    if catalogue is not None:
        wanted = dict(reversed(order.environment)).get("FILESYSTEM", "")
        number = catalogue.begin(
            data_server=servers.data.place, tape_server=servers.tape.place,
            ndmp_version=int(servers.data.version), butype=order.butype, filesystem=wanted,
            record_size=order.record_size)
        catalogue.set_environment(number, order.environment)
    posts = Posts(observer, HistoryWriter(catalogue, number), catalogue, number)
    movement = Movement(DataAgent(servers.data), MoverAgent(servers.tape), posts, observer, swapped)
    station = TapeStation(TapeAgent(servers.tape), shelf, stop, observer)
    backup = Backup(order, movement, station, catalogue, number)
    try:
        ending = backup.run()
    except BaseException as problem:
        if catalogue is not None:
            catalogue.finish(number, success=False, size=0, data_halt="", mover_halt="",
                             problem=str(problem) or type(problem).__name__)
        raise
    report = _report("backup", ending, posts, begun)
    report.media, report.remarks = backup.media, backup.remarks
    if catalogue is not None:
        report.backup = number
        catalogue.set_environment(number, ending.environment)
        catalogue.finish(number, success=ending.whole, size=report.size, data_halt=report.data_halt,
                         mover_halt=report.mover_halt)
    return report


def run_restore(servers: Servers, tapes: Tapes, order: RestoreOrder, *, stop: Stop, observer: Observer,
                swapped: bool = False) -> Report:
    """Restore the names in ``order``."""
    posts = Posts(observer, HistoryWriter(None, 0))
    report = _read_back("restore", servers, tapes, order, posts, stop, swapped)
    report.wanted = len(order.wanted)
    if not report.reported:
        report.remarks.append("the server did not say of any name whether it was recovered")
    return report


def run_toc(servers: Servers, tapes: Tapes, order: RestoreOrder, *, stop: Stop, observer: Observer,
            catalogue: Catalogue | None, number: int, swapped: bool = False) -> Report:
    """Read the table of contents from tape into ``catalogue``, as the history of backup ``number``."""
    posts = Posts(observer, HistoryWriter(catalogue, number), catalogue, number)
    report = _read_back("toc", servers, tapes, order, posts, stop, swapped)
    report.backup = number
    return report


def _read_back(operation: str, servers: Servers, tapes: Tapes, order: RestoreOrder, posts: Posts, stop: Stop,
               swapped: bool) -> Report:
    begun = time.monotonic()
    shelf = tapes.shelf(servers, order.media)
    movement = Movement(DataAgent(servers.data), MoverAgent(servers.tape), posts, posts.observer, swapped)
    station = TapeStation(TapeAgent(servers.tape), shelf, stop, posts.observer)
    restore = Restore(order, movement, station)
    report = _report(operation, restore.run(), posts, begun)
    report.media = restore.media
    return report
