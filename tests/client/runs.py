"""Jobs run against a scripted server: what the tests of backup and restore share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ndmpd.client.backup import BackupOrder
from ndmpd.client.catalogue import Catalogue, Medium
from ndmpd.client.connection import Stop
from ndmpd.client.jobs import Report, Tapes, run_backup, run_restore
from ndmpd.client.observer import Observer
from ndmpd.client.restore import RestoreOrder, Wanted
from ndmpd.client.servers import Servers
from protocol.ndmp.codes import (
    TapeMtioOp,
)
from protocol.ndmp.mover import MoverSetWindowRequest
from protocol.ndmp.tape import TapeMtioRequest, TapeOpenRequest
from tests.client.fake_server import RECORD, FakeServer, Filer

ALL = (1 << 64) - 1
TWO_DRIVES = Tapes(("tape0", "tape1"))
REMEMBERED = Tapes()
ORDER = BackupOrder("tar", (("FILESYSTEM", "/vol"), ("HIST", "y")), RECORD)
MEDIA = (Medium("E1", "tape0", 0, 0, 3 * RECORD), Medium("E2", "tape1", 1, 3 * RECORD, 2 * RECORD))


@contextmanager
def connected(filer: Filer, stop: Stop, local: bool = True) -> Iterator[Servers]:
    with FakeServer(filer) as server:
        tape = None if local else server.login()
        with Servers(server.login(), tape, stop) as servers:
            yield servers


def backup(filer: Filer, *, local: bool = True, stop: Stop | None = None, order: BackupOrder = ORDER,
           tapes: Tapes = TWO_DRIVES, catalogue: Catalogue | None = None, swapped: bool = False) -> Report:
    stop = stop or Stop()
    with connected(filer, stop, local) as servers:
        return run_backup(servers, tapes, order, stop=stop, observer=Observer(), catalogue=catalogue,
                          swapped=swapped)


def restore(filer: Filer, *, local: bool = True, wanted: tuple[Wanted, ...] = (Wanted("", "/to"),),
            media: tuple[Medium, ...] = MEDIA, tapes: Tapes = REMEMBERED) -> Report:
    stop = Stop()
    with connected(filer, stop, local) as servers:
        return run_restore(servers, tapes, RestoreOrder("tar", (), RECORD, media, wanted), stop=stop,
                           observer=Observer())


def windows(filer: Filer) -> list[tuple[int, int]]:
    return [(each.offset, each.length) for each in filer.sent(MoverSetWindowRequest)
            if isinstance(each, MoverSetWindowRequest)]


def drives(filer: Filer) -> list[str]:
    return [each.device for each in filer.sent(TapeOpenRequest) if isinstance(each, TapeOpenRequest)]


def tape_operations(filer: Filer) -> list[tuple[TapeMtioOp | int, int]]:
    return [(each.tape_op, each.count) for each in filer.sent(TapeMtioRequest)
            if isinstance(each, TapeMtioRequest)]


