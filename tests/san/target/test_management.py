"""Aborts and resets: what they end has really ended when they are answered, and says nothing any more."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from ndmpd.san import San
from ndmpd.san.copymanager.server import CopyManagerServer
from ndmpd.san.copymanager.streams import Stream
from ndmpd.san.registry import open_unit
from protocol.iscsi.pdu import R2T, ScsiResponse, TaskAnswer, TaskFunction, TaskResponse
from protocol.iscsi.session import LogoutRequest
from protocol.scsi import command as scsi
from protocol.scsi.command import Status
from protocol.scsi.copyresults import RECEIVE_COPY_STATUS
from protocol.scsi.segments import BlockToStream
from protocol.scsi.xcopy import EXTENDED_COPY, ListIdUsage, ParameterList
from tests.san.copymanager.conftest import cscd
from tests.san.target.conftest import Connect
from tests.san.target.initiator import Initiator

TIMEOUT = 10.0
OTHER = 0x800000000002
RECORD = 4096


class Busy:
    """A unit that somebody else keeps, so that commands wait."""

    def __init__(self, san: San, name: str) -> None:
        self._unit = open_unit(san, name)
        self._context = self._unit.exclusive(TIMEOUT)
        self._context.__enter__()

    def free(self) -> None:
        self._context.__exit__(None, None, None)
        self._unit.close()


def silent(one: Initiator, seconds: float = 0.2) -> bool:
    """Whether nothing comes for a while."""
    one.socket.settimeout(seconds)
    try:
        return one.socket.recv(1, socket.MSG_PEEK) != b"" and False
    except TimeoutError:
        return True
    finally:
        one.socket.settimeout(TIMEOUT)


def managed(one: Initiator, tag: int) -> TaskAnswer:
    pdu, _ = one.receive()
    assert isinstance(pdu, TaskResponse) and pdu.task_tag == tag, pdu
    return TaskAnswer(pdu.response)


def aborted(one: Initiator) -> int:
    """The tag of a command that is told to have been aborted."""
    pdu, _ = one.receive()
    assert isinstance(pdu, ScsiResponse) and pdu.status == Status.TASK_ABORTED, pdu
    return pdu.task_tag


@pytest.mark.parametrize("function", [TaskFunction.ABORT_TASK, TaskFunction.ABORT_TASK_SET])
def test_a_command_that_is_being_carried_out_is_aborted_when_it_has_ended(
        ready: Connect, san: San, function: TaskFunction) -> None:
    one = ready()
    busy = Busy(san, "disk0")
    waiting = one.command(scsi.WRITE_10.put(blocks=1), length=512, out=b"", immediate=bytes(512))
    abort = one.manage(function, referenced=waiting)
    assert silent(one)
    busy.free()
    assert managed(one, abort) is TaskAnswer.COMPLETE
    assert silent(one)
    assert one.execute(bytes(6)).status == 0


def test_commands_behind_it_are_never_begun(ready: Connect, san: San) -> None:
    one = ready()
    before = one.execute(scsi.READ_10.put(blocks=8), length=4096).data
    busy = Busy(san, "disk0")
    for number in range(8):
        one.command(scsi.WRITE_10.put(lba=number, blocks=1), length=512, out=b"", immediate=b"x" * 512)
    abort = one.manage(TaskFunction.ABORT_TASK_SET)
    assert silent(one)
    busy.free()
    assert managed(one, abort) is TaskAnswer.COMPLETE
    # The first may have been under way; of the others nothing was done.
    assert one.execute(scsi.READ_10.put(blocks=8), length=4096).data[512:] == before[512:]


def test_a_command_that_waits_for_data_is_aborted_at_once(ready: Connect) -> None:
    one = ready("disk0", ("InitialR2T", "Yes"), ("ImmediateData", "No"))
    tag = one.command(scsi.WRITE_10.put(blocks=8), length=4096, out=b"")
    r2t, _ = one.receive()
    assert isinstance(r2t, R2T)
    assert managed(one, one.manage(TaskFunction.ABORT_TASK, referenced=tag)) is TaskAnswer.COMPLETE
    # Its data may still be on the way.
    one.data_out(tag, bytes(4096), 0, transfer_tag=r2t.transfer_tag)
    assert silent(one)
    assert one.execute(bytes(6)).status == 0


def test_what_cannot_be_aborted_is_told_apart(ready: Connect) -> None:
    one = ready()
    tag = one.command(bytes(6))
    assert one.finish(tag).status == 0
    assert managed(one, one.manage(TaskFunction.ABORT_TASK, referenced=tag)) is TaskAnswer.NO_TASK
    assert managed(one, one.manage(TaskFunction.ABORT_TASK_SET, lun=1 << 48)) is TaskAnswer.NO_LUN
    assert managed(one, one.manage(TaskFunction.CLEAR_ACA)) is TaskAnswer.NOT_SUPPORTED
    assert managed(one, one.manage(TaskFunction.TASK_REASSIGN)) is TaskAnswer.NO_REASSIGNMENT


@pytest.mark.parametrize(("function", "code"), [
    (TaskFunction.LOGICAL_UNIT_RESET, 0x2903), (TaskFunction.TARGET_WARM_RESET, 0x2903),
    (TaskFunction.CLEAR_TASK_SET, 0x2F00)])
def test_resets_end_the_commands_of_all_and_tell_them(
        ready: Connect, san: San, function: TaskFunction, code: int) -> None:
    one, other = ready(), ready(isid=OTHER)
    busy = Busy(san, "disk0")
    other.command(bytes(6))
    assert silent(other)
    reset = one.manage(function)
    assert silent(one) and silent(other)
    busy.free()
    assert managed(one, reset) is TaskAnswer.COMPLETE
    assert aborted(other) and silent(other)
    answer = other.execute(bytes(6))
    assert (answer.status, answer.key, answer.code) == (2, 6, code)


def test_a_reset_by_another_ends_a_command_that_waits_for_data_once_the_data_has_come(ready: Connect) -> None:
    one, other = ready(), ready("disk0", ("InitialR2T", "Yes"), ("ImmediateData", "No"), isid=OTHER)
    tag = other.command(scsi.WRITE_10.put(blocks=8), length=4096, out=b"")
    asked, _ = other.receive()
    assert isinstance(asked, R2T) and asked.length == 4096
    assert managed(one, one.manage(TaskFunction.LOGICAL_UNIT_RESET)) is TaskAnswer.COMPLETE
    assert silent(other)
    other.data_out(tag, bytes(4096), 0, transfer_tag=asked.transfer_tag)
    assert aborted(other) == tag and silent(other)
    assert other.execute(bytes(6)).code == 0x2903


def test_a_reset_frees_the_unit(ready: Connect) -> None:
    one, other = ready(), ready(isid=OTHER)
    assert one.execute(scsi.RESERVE_6.put()).status == 0
    assert other.execute(scsi.READ_10.put(blocks=1), length=512).status == 0x18
    assert managed(other, other.manage(TaskFunction.LOGICAL_UNIT_RESET)) is TaskAnswer.COMPLETE
    assert other.execute(bytes(6)).code == 0x2903
    assert other.execute(scsi.READ_10.put(blocks=1), length=512).status == 0


def test_a_cold_reset_ends_all_sessions_of_the_target(ready: Connect) -> None:
    one, other, elsewhere = ready(), ready(isid=OTHER), ready("disk1")
    assert managed(one, one.manage(TaskFunction.TARGET_COLD_RESET)) is TaskAnswer.COMPLETE
    for session in (one, other):
        with pytest.raises(ConnectionError):
            session.receive()
    assert elsewhere.execute(bytes(6)).status == 0


@pytest.mark.parametrize("way", ["logout", "hang up"])
def test_what_a_session_held_is_free_when_it_has_ended(ready: Connect, way: str) -> None:
    one, other = ready(), ready(isid=OTHER)
    assert one.execute(scsi.RESERVE_6.put()).status == 0
    if way == "logout":
        one.send(LogoutRequest(task_tag=5, cmd_sn=one.cmd_sn))
        assert one.receive()[0].response == 0
    else:
        one.socket.close()
    deadline = time.monotonic() + TIMEOUT
    while other.execute(scsi.RESERVE_6.put()).status and time.monotonic() < deadline:
        time.sleep(0.01)
    assert other.execute(scsi.RESERVE_6.put()).status == 0


# Copies.


@pytest.fixture
def manager(san: San) -> Iterator[CopyManagerServer]:
    server = CopyManagerServer(san.path)
    thread = threading.Thread(target=server.run)
    thread.start()
    yield server
    server.stop()
    thread.join(TIMEOUT)
    assert not thread.is_alive()


class Gate:
    """Holds a copy before each record while it is shut."""

    def __init__(self) -> None:
        self.waiting = threading.Semaphore(0)
        self.open = threading.Event()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    one, write = Gate(), Stream.write

    def slow(stream: Stream, pieces: list[object], size: int, most: int) -> object:
        one.waiting.release()
        assert one.open.wait(TIMEOUT)
        return write(stream, pieces, size, 1)  # type: ignore[arg-type]

    monkeypatch.setattr(Stream, "write", slow)
    yield one
    one.open.set()


def start_copy(one: Initiator, san: San, list_id: int = 1) -> int:
    """Ten records of blocks onto a tape; returns the task tag."""
    parameters = ParameterList(list_id, ListIdUsage.HOLD, (cscd(san, "disk0"), cscd(san, "tape0")),
                               (BlockToStream(0, 1, RECORD, 80, 0),)).put()
    return one.command(EXTENDED_COPY.put(length=len(parameters)), length=len(parameters), out=b"",
                       immediate=parameters)


def status_of(one: Initiator, list_id: int = 1) -> int:
    answer = one.execute(RECEIVE_COPY_STATUS.put(list_id=list_id, allocation=12), length=12)
    assert answer.status == 0, answer
    return answer.data[4] & 0x7F


def records(san: San) -> int:
    """On the cartridge in the first drive."""
    return os.stat(san.cartridges / "E01001L8" / "data").st_size // RECORD


@pytest.mark.usefixtures("manager")
def test_a_copy_is_carried_out_and_its_status_is_told_meanwhile(ready: Connect, san: San, gate: Gate) -> None:
    one = ready("copy0")
    tag = start_copy(one, san)
    assert gate.waiting.acquire(timeout=TIMEOUT)
    assert status_of(one) == 0
    assert one.execute(bytes(6)).status == 0
    gate.open.set()
    assert one.finish(tag).status == 0
    assert status_of(one) == 1
    assert records(san) == 10


@pytest.mark.usefixtures("manager")
def test_an_aborted_copy_writes_nothing_more_once_that_is_answered(
        ready: Connect, san: San, gate: Gate) -> None:
    one = ready("copy0")
    tag = start_copy(one, san)
    assert gate.waiting.acquire(timeout=TIMEOUT)
    abort = one.manage(TaskFunction.ABORT_TASK, referenced=tag)
    assert silent(one)
    gate.open.set()
    assert managed(one, abort) is TaskAnswer.COMPLETE
    written = records(san)
    assert written < 10
    assert silent(one)
    assert records(san) == written
    # The next copy of the same nexus is carried out.
    assert one.finish(start_copy(one, san, 2)).status == 0


@pytest.mark.usefixtures("manager")
def test_a_copy_ends_with_its_session(ready: Connect, san: San, gate: Gate) -> None:
    one = ready("copy0")
    start_copy(one, san)
    assert gate.waiting.acquire(timeout=TIMEOUT)
    one.socket.close()
    time.sleep(0.2)
    gate.open.set()
    again = ready("copy0", isid=OTHER)
    assert again.execute(bytes(6)).status == 0
    time.sleep(0.2)
    assert records(san) < 10


def test_without_a_copy_manager_a_copy_is_not_ready(ready: Connect, san: San) -> None:
    one = ready("copy0")
    pdu, sense = (start_copy(one, san), one.receive())[1]
    assert isinstance(pdu, ScsiResponse) and pdu.status == 2
    assert (sense[4] & 0xF, int.from_bytes(sense[14:16], "big")) == (2, 0x0401)
