"""SG_IO: what is handed to the kernel, and what is made of its answers. The kernel is a function here."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ndmpd.devices import sgio
from ndmpd.devices.disk import Disk
from ndmpd.devices.errors import CommandTimeout, DeviceBusy, NoSuchDevice, TransportError
from ndmpd.devices.sgio import Header, SgTransport
from ndmpd.pieces import FileExtent, Inline, OpenFile, Zeros
from ndmpd.ports import Command, Result
from protocol.scsi import command

KIB = 1 << 10
SENSE = bytes.fromhex("70 00 02 00 00 00 00 0a 00 00 00 00 3a 00 00 00 00 00")


@dataclass
class Kernel:
    """``answer`` fills in a header, and may read and write the data buffer. ``limit``: bytes of the queue."""

    answer: Callable[[Header, memoryview], None] = lambda header, data: None
    limit: int = 512 * KIB
    version: int = 30536
    headers: list[Header] = field(default_factory=list)
    cdbs: list[bytes] = field(default_factory=list)
    data: list[bytes] = field(default_factory=list)
    blocked: list[bool] = field(default_factory=list)
    error: int = 0

    def ioctl(self, fd: int, request: int, value: object) -> int:
        os.fstat(fd)
        if request == sgio.SG_IO:
            assert isinstance(value, Header)
            self.blocked.append(signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ()))
            if self.error:
                raise OSError(self.error, os.strerror(self.error))
            room = (ctypes.c_ubyte * value.dxfer_len).from_address(value.dxferp) if value.dxfer_len else b""
            data = memoryview(room).cast("B") if value.dxfer_len else memoryview(bytearray())
            self.cdbs.append(ctypes.string_at(value.cmdp, value.cmd_len))
            self.data.append(bytes(data) if value.direction == -2 else b"")
            self.answer(value, data)
            self.headers.append(value)
            return 0
        numbers = {
            sgio.SG_GET_VERSION_NUM: self.version, sgio.BLKSECTGET: self.limit,
            sgio.SG_GET_RESERVED_SIZE: min(self.limit or 1 << 30, 4 << 20),
        }  # fmt: skip
        assert isinstance(value, ctypes.c_int)
        if request in numbers:
            value.value = numbers[request]
        return 0


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    monkeypatch.setattr(sgio, "ioctl", made.ioctl)
    return made


@pytest.fixture
def transport(kernel: Kernel, tmp_path: Path):
    (tmp_path / "sg3").touch()
    made = SgTransport(str(tmp_path / "sg3"))
    yield made
    made.close()


def inquiry(transport: SgTransport, size: int = 96) -> tuple[Result, bytearray]:
    buffer = bytearray(size)
    return transport.execute(Command(command.INQUIRY.put(allocation=size), data_in=(Inline(buffer),))), buffer


def test_the_header_is_the_kernels(kernel: Kernel, transport: SgTransport) -> None:
    assert ctypes.sizeof(Header) == 88
    transport.execute(Command(command.TEST_UNIT_READY.put(), timeout=7.5))
    (header,) = kernel.headers
    assert (header.interface_id, header.direction, header.dxfer_len, header.timeout) == (0x53, -1, 0, 7500)
    assert (header.cmd_len, header.mx_sb_len, kernel.cdbs) == (6, 252, [bytes(6)])


def test_a_day_of_waiting_fits_and_no_time_is_a_millisecond(kernel: Kernel, transport: SgTransport) -> None:
    for timeout in (86400.0, 1e9, 0.0):
        transport.execute(Command(command.TEST_UNIT_READY.put(), timeout=timeout))
    assert [header.timeout for header in kernel.headers] == [86_400_000, 0xFFFFFFFF, 1]


def test_data_goes_out_of_page_aligned_memory(
    kernel: Kernel, transport: SgTransport, tmp_path: Path
) -> None:
    (tmp_path / "f").write_bytes(b"0123456789")
    file = OpenFile(os.open(tmp_path / "f", os.O_RDONLY), "f")
    order = Command(
        command.WRITE_10.put(lba=1, blocks=1),
        data_out=(Inline(b"ab"), FileExtent(file, 8, 4), Zeros(6)),
    )
    assert transport.execute(order) == Result(0, b"", 12)
    assert kernel.data == [b"ab89" + bytes(8)]
    assert [(fault.skipped, fault.length) for fault in order.faults] == [(4, 2)]
    assert (kernel.headers[0].direction, kernel.headers[0].dxferp % 4096) == (-2, 0)


def test_data_comes_in_as_far_as_the_residual_says(kernel: Kernel, transport: SgTransport) -> None:
    def answer(header: Header, data: memoryview) -> None:
        data[:40] = b"x" * 40
        header.resid = 56

    kernel.answer = answer
    result, buffer = inquiry(transport)
    assert (result.transferred, bytes(buffer)) == (40, b"x" * 40 + bytes(56))


def test_a_residual_that_cannot_be_is_made_one_that_can(kernel: Kernel, transport: SgTransport) -> None:
    for said, moved in ((-8, 96), (200, 0)):
        kernel.answer = lambda header, data, said=said: setattr(header, "resid", said)
        assert inquiry(transport)[0].transferred == moved


def test_sense_data_comes_with_its_status(kernel: Kernel, transport: SgTransport) -> None:
    def answer(header: Header, data: memoryview) -> None:
        header.status, header.driver_status, header.sb_len_wr = 2, 8, len(SENSE)
        ctypes.memmove(header.sbp, SENSE, len(SENSE))
        header.resid = header.dxfer_len

    kernel.answer = answer
    assert inquiry(transport)[0] == Result(2, SENSE, 0)
    kernel.answer = lambda header, data: setattr(header, "status", 0x18)
    assert transport.execute(Command(bytes(6))) == Result(0x18, b"", 0)


@pytest.mark.parametrize(("field_name", "value"), [("host_status", 3), ("driver_status", 6)])
def test_the_kernels_time_outs_are_time_outs(
    kernel: Kernel, transport: SgTransport, field_name: str, value: int
) -> None:
    kernel.answer = lambda header, data: setattr(header, field_name, value)
    with pytest.raises(CommandTimeout, match="command 00h was not answered within 9 s"):
        transport.execute(Command(bytes(6), timeout=9))


@pytest.mark.parametrize(
    ("status", "said"),
    [(1, "does not answer"), (4, "the unit is gone"), (8, "reset"), (0x0E, "path"), (0x7F, "status 7Fh")],
)
def test_a_command_that_the_host_adapter_lost_has_no_status(
    kernel: Kernel, transport: SgTransport, status: int, said: str
) -> None:
    kernel.answer = lambda header, data: setattr(header, "host_status", status)
    with pytest.raises(TransportError, match=said) as lost:
        transport.execute(Command(bytes(6)))
    assert not isinstance(lost.value, CommandTimeout)


def test_a_host_status_that_only_explains_a_scsi_status_is_none(
    kernel: Kernel, transport: SgTransport
) -> None:
    def answer(header: Header, data: memoryview) -> None:
        header.host_status, header.status = 0x11, 0x18

    kernel.answer = answer
    assert transport.execute(Command(bytes(6))).status == 0x18


def test_signals_are_kept_away_from_a_command_and_let_in_again(
    kernel: Kernel, transport: SgTransport
) -> None:
    kernel.error = errno.ENODEV
    with pytest.raises(TransportError, match="the unit may be gone"):
        transport.execute(Command(bytes(6)))
    assert kernel.blocked == [True]
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_transfers_keep_to_what_the_queue_takes(kernel: Kernel, transport: SgTransport) -> None:
    assert transport.most == 512 * KIB
    Disk(transport).write(10, 2500, [Inline(b"x" * (2500 * 512))])
    assert [len(data) for data in kernel.data] == [512 * KIB, 512 * KIB, (2500 - 2048) * 512]
    assert [int.from_bytes(cdb[2:6], "big") for cdb in kernel.cdbs] == [10, 1034, 2058]


def test_more_than_the_queue_takes_is_refused_with_the_limit(kernel: Kernel, transport: SgTransport) -> None:
    kernel.error = errno.ENOMEM
    with pytest.raises(TransportError, match=r"1048576 bytes are .* \(524288\); use smaller records"):
        transport.execute(Command(bytes(6), data_out=(Zeros(1 << 20),)))


def test_a_kernel_that_tells_no_limit_leaves_the_reserved_buffer(kernel: Kernel, tmp_path: Path) -> None:
    kernel.limit = 0
    (tmp_path / "sg4").touch()
    transport = SgTransport(str(tmp_path / "sg4"))
    assert transport.most == 4 << 20
    transport.close()


def test_what_is_no_generic_node_is_not_used(kernel: Kernel, tmp_path: Path) -> None:
    kernel.version = 0
    before = len(os.listdir("/proc/self/fd"))
    (tmp_path / "null").touch()
    with pytest.raises(NoSuchDevice, match="no SCSI generic node; name /dev/sgN"):
        SgTransport(str(tmp_path / "null"))
    with pytest.raises(NoSuchDevice, match="No such file or directory; switch the device on"):
        SgTransport(str(tmp_path / "sg9"))
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_node_in_exclusive_use_is_busy(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, flags: int) -> int:
        assert flags & os.O_NONBLOCK
        raise OSError(errno.EBUSY, "busy")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(DeviceBusy, match="exclusive use"):
        SgTransport("/dev/sg0")


def test_a_closed_transport_sends_nothing(kernel: Kernel, transport: SgTransport) -> None:
    transport.close()
    transport.close()
    with pytest.raises(TransportError, match="closed"):
        transport.execute(Command(bytes(6)))
    assert kernel.cdbs == []
