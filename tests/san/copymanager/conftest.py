"""A copy manager in a thread, hosts that send it EXTENDED COPY, and short names for parameter lists."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ndmpd.san import Flush, San, create
from ndmpd.san.copymanager.contact import Foreign
from ndmpd.san.copymanager.server import CopyManagerServer
from ndmpd.san.nexus import Nexus
from ndmpd.san.registry import UNIT_CLASSES
from protocol.scsi import command as scsi
from protocol.scsi.copyresults import (
    RECEIVE_COPY_DATA,
    RECEIVE_COPY_STATUS,
    RECEIVE_FAILURE_DETAILS,
    RECEIVE_OPERATING_PARAMETERS,
)
from protocol.scsi.cscd import BlockDevice, Cscd, Identification, StreamDevice
from protocol.scsi.segments import Segment
from protocol.scsi.spc import DeviceType
from protocol.scsi.xcopy import COPY_OPERATION_ABORT, EXTENDED_COPY, ListIdUsage, ParameterList
from tests.san.conftest import MIB, Host, Outcome, TapeHost
from tests.san.copymanager.far import Far

RECORD = 4096
BLOCKS = RECORD // 512


class CopyHost(Host):
    """One nexus that sends third-party copy commands to one unit."""

    def copy(self, cscds: list[Cscd], segments: list[Segment], inline: bytes = b"", *, list_id: int = 1,
             usage: ListIdUsage = ListIdUsage.HOLD, timeout: float = 30.0) -> Outcome:
        return self.raw(ParameterList(list_id, usage, tuple(cscds), tuple(segments), inline).put(),
                        timeout=timeout)

    def raw(self, data: bytes, length: int | None = None, *, timeout: float = 30.0) -> Outcome:
        """A parameter list as it is."""
        cdb = EXTENDED_COPY.put(length=len(data) if length is None else length)
        return self.send(cdb, data, timeout=timeout)

    def status(self, list_id: int = 1) -> Outcome:
        return self.send(RECEIVE_COPY_STATUS.put(list_id=list_id, allocation=12), room=12)

    def held(self, list_id: int = 1, size: int = 1 << 20) -> Outcome:
        return self.send(RECEIVE_COPY_DATA.put(list_id=list_id, allocation=size), room=size)

    def details(self, list_id: int = 1, size: int = 512) -> Outcome:
        return self.send(RECEIVE_FAILURE_DETAILS.put(list_id=list_id, allocation=size), room=size)

    def parameters(self) -> Outcome:
        return self.send(RECEIVE_OPERATING_PARAMETERS.put(allocation=512), room=512)

    def abort(self, list_id: int = 1) -> Outcome:
        return self.send(COPY_OPERATION_ABORT.put(list_id=list_id))


def cscd(san: San, name: str, **parameters: Any) -> Identification:
    """An E4h descriptor of the unit; ``parameters`` of its kind of device."""
    record = san.unit(name)
    designator = san.designators(name, UNIT_CLASSES[record.type].product)[0]
    kind = StreamDevice if record.type is DeviceType.TAPE else BlockDevice
    return Identification(designator, record.type, kind(**parameters))


def fill_disk(san: San, name: str, *, seed: int = 1) -> bytes:
    """Blocks that are all different; returns the content of the disk."""
    path = san.disk_path(name)
    size = path.stat().st_size
    content = b"".join(seed.to_bytes(2, "big") + number.to_bytes(6, "big") + b"block..." * 63
                       for number in range(size // 512))
    path.write_bytes(content)
    return content


def disk_content(san: San, name: str) -> bytes:
    return san.disk_path(name).read_bytes()


@contextmanager
def running(san: San, foreign: Iterable[Foreign] = ()) -> Iterator[CopyManagerServer]:
    """A copy manager in a thread of the test, which reaches ``foreign`` units too."""
    server = CopyManagerServer(san.path, foreign)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def manager(san: San) -> Iterator[CopyManagerServer]:
    with running(san) as server:
        yield server


@pytest.fixture
def nexus(san: San) -> Iterator[Nexus]:
    with Nexus(san.path) as one:
        yield one


@pytest.fixture
def host(san: San, manager: CopyManagerServer, nexus: Nexus) -> Iterator[CopyHost]:
    """Sends its copies to copy0."""
    one = CopyHost(san, "copy0", nexus)
    yield one
    one.transport.close()


@pytest.fixture
def far(tmp_path: Path) -> Far:
    return Far(create(tmp_path / "far", capacity=4 * MIB, early_warning=MIB, cartridges=4, disk_size=MIB,
                      slots=6, flush=Flush.NOTHING))


@pytest.fixture
def reaching(san: San, far: Far, nexus: Nexus) -> Iterator[CopyHost]:
    """Sends its copies to copy0 of a SAN that reaches the units of ``far``."""
    with running(san, far.units()):
        one = CopyHost(san, "copy0", nexus)
        yield one
        one.transport.close()


@pytest.fixture
def tape(san: San, nexus: Nexus) -> Iterator[TapeHost]:
    """tape0, of the nexus that copies."""
    one = TapeHost(san, "tape0", nexus)
    yield one
    one.transport.close()


@pytest.fixture
def tape1(san: San, nexus: Nexus) -> Iterator[TapeHost]:
    one = TapeHost(san, "tape1", nexus)
    yield one
    one.transport.close()


def records(tape: TapeHost, size: int = 1 << 20) -> list[bytes]:
    """What is on the tape from its beginning to end of data; filemarks as b"" ."""
    found: list[bytes] = []
    assert tape.rewind().good
    while True:
        outcome = tape.read(size)
        if outcome.sense is not None and not outcome.sense.ili:
            if not outcome.sense.filemark:
                return found
            found.append(b"")
        else:
            found.append(outcome.data)


def noise(size: int) -> bytes:
    return os.urandom(size)


REWIND = scsi.REWIND.put()
