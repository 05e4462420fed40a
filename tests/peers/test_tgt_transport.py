"""The iSCSI transport against Debian's tgtd: data, sense, residual, CHAP, digests, and every kind of loss."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ndmpd.config_types import Iscsi
from ndmpd.devices import iscsi_session
from ndmpd.devices.disk import Disk
from ndmpd.devices.errors import CommandTimeout, DeviceError, NoSuchDevice, TransportError
from ndmpd.devices.iscsi import IscsiTransport
from ndmpd.devices.iscsi_login import Chap, Login
from ndmpd.pieces import FileExtent, Inline, OpenFile, Zeros
from ndmpd.ports import Command
from protocol.scsi import command
from protocol.scsi.asc import Asc
from protocol.scsi.sense import Sense, SenseKey
from tests.peers.server import free_port
from tests.peers.tgt import Tgt

pytestmark = [pytest.mark.peer, pytest.mark.root, pytest.mark.needs("tgtd", "libiscsi")]

MIB = 1 << 20
INITIATOR = "iqn.2026-11.io.ndmpd.test:head"


@pytest.fixture(scope="module")
def tgt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tgt]:
    """One that nobody stops or locks."""
    target = Tgt(tmp_path_factory.mktemp("tgt"))
    target.disk(16 * MIB)
    target.start()
    yield target
    target.stop()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Tgt]:
    """One for a test to do with as it likes."""
    target = Tgt(tmp_path / "tgt")
    target.disk(16 * MIB)
    target.start()
    yield target
    target.stop()


def login(target: Tgt) -> Login:
    at: Iscsi = target.at(1)
    return Login(at.host, at.port, at.target, INITIATOR)


@pytest.fixture
def transport(tgt: Tgt) -> Iterator[IscsiTransport]:
    path = IscsiTransport(login(tgt), 1)
    Disk(path).open()
    yield path
    path.close()


def open_file(path: Path) -> OpenFile:
    return OpenFile(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), path.name)


def test_blocks_come_from_pieces_and_go_into_pieces_of_every_kind(
    tgt: Tgt, transport: IscsiTransport, tmp_path: Path
) -> None:
    content = os.urandom(3 * MIB)
    (tmp_path / "source").write_bytes(content)
    source, target = open_file(tmp_path / "source"), open_file(tmp_path / "target")
    disk = Disk(transport)
    pieces = [
        Inline(b"a" * 100), FileExtent(source, 7, 2 * MIB - 100), Zeros(5000),
        Inline(bytearray(content[:8192])), Inline(b"b" * (MIB - 5000 - 8192)),
    ]  # fmt: skip
    wanted = (
        b"a" * 100 + content[7 : 7 + 2 * MIB - 100] + bytes(5000) + content[:8192]
        + b"b" * (MIB - 5000 - 8192)
    )  # fmt: skip

    assert disk.write(3, 3 * MIB // 512, pieces) == ()
    assert tgt.disks[0].read_bytes()[3 * 512 :][: 3 * MIB] == wanted

    small, large = bytearray(99), bytearray(MIB)
    rest = 2 * MIB - 99 - 401
    disk.read(
        3, 3 * MIB // 512, [Inline(small), Zeros(401), FileExtent(target, 11, rest), Inline(large)]
    )
    assert small == wanted[:99]
    assert (tmp_path / "target").read_bytes()[11:] == wanted[500 : 2 * MIB]
    assert large == wanted[2 * MIB :]


def test_a_file_that_shrank_is_zeros_and_named(transport: IscsiTransport, tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"x" * 1000)
    piece = FileExtent(open_file(tmp_path / "short"), 0, 4096)
    disk = Disk(transport)

    (fault,) = disk.write(0, 9, [Inline(b"y" * 512), piece])

    assert (fault.piece, fault.skipped, fault.length) == (piece, 1512, 3096)
    back = bytearray(9 * 512)
    disk.read(0, 9, [Inline(back)])
    assert back == b"y" * 512 + b"x" * 1000 + bytes(3096)


def test_sense_data_comes_whole_and_the_residual_is_what_was_not_moved(transport: IscsiTransport) -> None:
    beyond = command.READ_10.put(lba=1 << 24, blocks=8)
    result = transport.execute(Command(beyond, data_in=(Inline(bytearray(4096)),)))
    sense = Sense.take(result.sense)
    assert (result.status, sense.key, sense.code) == (2, SenseKey.ILLEGAL_REQUEST, 0x2100)

    buffer = bytearray(200)
    result = transport.execute(Command(command.INQUIRY.put(allocation=200), data_in=(Inline(buffer),)))
    assert result.status == 0
    assert 36 <= result.transferred < 200
    assert buffer[8:11] == b"IET"
    assert not any(buffer[result.transferred :])


def test_header_digests_are_agreed_upon(tgt: Tgt, transport: IscsiTransport) -> None:
    guarded = IscsiTransport(replace(login(tgt), header_digest=True), 1)
    disk = Disk(guarded)
    disk.open()
    data = os.urandom(2 * MIB)
    disk.write(0, 4096, [Inline(data)])
    guarded.close()

    back = bytearray(2 * MIB)
    Disk(transport).read(0, 4096, [Inline(back)])
    assert back == data


def test_two_sessions_of_one_process_do_not_end_each_other(tgt: Tgt, transport: IscsiTransport) -> None:
    second = IscsiTransport(login(tgt), 1)
    Disk(second).open()
    Disk(transport).read(0, 1, [Inline(bytearray(512))])
    second.close()
    assert transport.execute(Command(command.TEST_UNIT_READY.put())).status == 0


def test_refusals_say_what_to_do(tgt: Tgt) -> None:
    there = login(tgt)
    with pytest.raises(NoSuchDevice, match=f"no such target.*ndmpd devices --portal 127.0.0.1:{tgt.port}"):
        IscsiTransport(replace(there, target="iqn.2026-11.io.ndmpd.test:other"), 1)
    with pytest.raises(TransportError, match=r"no iSCSI target at .* \(Connection refused\); start it"):
        IscsiTransport(replace(there, port=free_port()), 1)
    with pytest.raises(TransportError, match=r"no iSCSI target at nowhere\.invalid:3260"):
        IscsiTransport(replace(there, host="nowhere.invalid", port=3260), 1)


def test_chap_is_answered_and_asked_for(own: Tgt) -> None:
    own.account("head", "knock knock 123")
    plain = login(own)
    known = Chap("head", "knock knock 123")
    with pytest.raises(TransportError, match=r"wants a CHAP secret; write user and secret_file"):
        IscsiTransport(plain, 1)
    with pytest.raises(TransportError, match="does not accept the secret of 'head'") as refused:
        IscsiTransport(replace(plain, chap=replace(known, secret="knock knock 124")), 1)
    assert "knock" not in str(refused.value) + repr(known)
    IscsiTransport(replace(plain, chap=known), 1).close()

    own.account("disks", "who is there 45", outgoing=True)
    mutual = replace(known, target_user="disks", target_secret="who is there 45")
    IscsiTransport(replace(plain, chap=mutual), 1).close()
    with pytest.raises(TransportError, match="does not prove that it is the right one"):
        IscsiTransport(replace(plain, chap=replace(mutual, target_secret="who is there 46")), 1)


def test_a_target_that_comes_back_is_found_again_and_the_loss_is_told(own: Tgt) -> None:
    transport = IscsiTransport(login(own), 1)
    disk = Disk(transport)
    disk.open()
    own.stop()
    with pytest.raises(TransportError, match="Connection refused"):
        disk.read(0, 1, [Inline(bytearray(512))])

    own.start()
    result = transport.execute(Command(command.TEST_UNIT_READY.put()))
    assert Sense.take(result.sense).code == Asc.NEXUS_LOSS
    disk.read(0, 1, [Inline(bytearray(512))])
    transport.close()


def test_a_command_whose_connection_is_cut_fails_and_is_not_sent_again(own: Tgt) -> None:
    transport = IscsiTransport(login(own), 1)
    disk = Disk(transport)
    disk.open()
    own.pause()
    cut = threading.Timer(0.3, own.stop)
    cut.start()
    with pytest.raises(TransportError, match="the connection was lost") as lost:
        disk.write(0, 1, [Inline(b"x" * 512)])
    cut.join()
    assert not isinstance(lost.value, CommandTimeout)
    transport.close()
    assert own.disks[0].read_bytes()[:512] == bytes(512)


def test_a_command_without_answer_ends_in_its_time(own: Tgt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iscsi_session, "ABORT_WITHIN", 0.2)
    transport = IscsiTransport(login(own), 1)
    Disk(transport).open()
    own.pause()
    began = time.monotonic()
    with pytest.raises(CommandTimeout, match="not answered in time"):
        transport.execute(Command(command.TEST_UNIT_READY.put(), timeout=0.3))
    assert time.monotonic() - began < 2
    own.resume()
    Disk(transport).open()
    transport.close()


def test_a_silent_target_is_given_up_long_before_its_command_is(own: Tgt) -> None:
    transport = IscsiTransport(replace(login(own), silence=0.6), 1)
    Disk(transport).open()
    own.pause()
    with pytest.raises(TransportError, match="nothing was heard"):
        transport.execute(Command(command.TEST_UNIT_READY.put(), timeout=60))
    own.resume()
    transport.close()


def test_a_target_that_accepts_and_says_nothing_is_no_target(own: Tgt) -> None:
    own.pause()
    with pytest.raises(TransportError, match="did not answer within"):
        IscsiTransport(replace(login(own), login_within=0.3), 1)
    own.resume()


def test_closing_ends_a_command_that_is_under_way(own: Tgt) -> None:
    transport = IscsiTransport(login(own), 1)
    Disk(transport).open()
    own.pause()
    failures: list[Exception] = []

    def wait() -> None:
        try:
            transport.execute(Command(command.TEST_UNIT_READY.put(), timeout=60))
        except TransportError as failure:
            failures.append(failure)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.2)
    transport.close()
    thread.join(5)
    assert [str(failure).endswith("closed while a command was under way") for failure in failures] == [True]
    with pytest.raises(TransportError, match="closed"):
        transport.execute(Command(command.TEST_UNIT_READY.put()))


def test_a_child_cannot_use_its_parents_session_and_does_not_end_it(transport: IscsiTransport) -> None:
    child = os.fork()
    if child == 0:
        try:
            transport.execute(Command(command.TEST_UNIT_READY.put()))
        except TransportError:
            transport.close()
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert transport.execute(Command(command.TEST_UNIT_READY.put())).status == 0


def test_a_lun_that_is_not_there_answers_as_such(tgt: Tgt) -> None:
    transport = IscsiTransport(login(tgt), 9)
    with pytest.raises(DeviceError, match="25/00"):
        Disk(transport, "ninth").open()
    transport.close()


def test_memory_and_descriptors_are_given_back(tgt: Tgt) -> None:
    def use() -> int:
        transport = IscsiTransport(login(tgt), 1)
        Disk(transport).open()
        transport.close()
        return len(os.listdir("/proc/self/fd"))

    before = use()
    assert [use() for _ in range(5)] == [before] * 5


def test_signals_do_not_disturb_a_command(transport: IscsiTransport) -> None:
    caught: list[int] = []
    former = signal.signal(signal.SIGALRM, lambda number, frame: caught.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        disk = Disk(transport)
        for _ in range(20):
            disk.read(0, 4096, [Inline(bytearray(2 * MIB))])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
    assert caught
