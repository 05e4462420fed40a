"""What the tape drive reports of itself and its cartridge: limits, densities, logs, attributes. SSC-4."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from ndmpd.san.commands import Density, put_densities
from ndmpd.san.folder import VENDOR
from ndmpd.san.medium import Medium
from ndmpd.san.task import Operation, Task
from protocol.scsi import command as scsi
from protocol.scsi.logs import (
    Attribute,
    AttributeFormat,
    LogPage,
    LogParameter,
    MediumAttribute,
    put_attributes,
)
from protocol.scsi.ssc import BlockLimits
from protocol.streams.cartridge import MAX_RECORD

if TYPE_CHECKING:
    from ndmpd.san.tape import TapeDrive

DENSITY = 0x5E
"""Density code of the cartridges, LTO-8's."""
_MIB = 1 << 20
_NATIVE_CAPACITY = 12_000_000
_TAPE_CAPACITY = 0x31
"""Log page "tape capacity": parameters 1 and 3 are what remains and the whole, in MiB, 2 and 4 a second
partition's.
"""
_ALERTS = 64
_BINARY_LIST = 3
_USER_LABEL = 0x0803


def read_block_limits(drive: TapeDrive, task: Task) -> None:
    if task.field["mloi"]:
        raise task.refuse("mloi")
    task.send(BlockLimits(1, MAX_RECORD).put(), 6)


def report_density_support(drive: TapeDrive, task: Task) -> None:
    if task.field["medium_type"]:
        raise task.refuse("medium_type")
    capacity = drive.medium.facts.capacity // 1_000_000 if task.field["media"] else _NATIVE_CAPACITY
    density = Density(DENSITY, capacity, "U-VIRT", "Virtual cartridge")
    task.send(put_densities((density,)), task.field["allocation"])


class SequentialAccess(IntEnum):
    """Parameters of log page 0Ch, in bytes. SSC-4 8.3.3."""

    RECEIVED_TO_WRITE = 0
    WRITTEN = 1
    READ = 2
    SENT_AFTER_READ = 3


def _counter(code: int, value: int, size: int) -> LogParameter:
    return LogParameter(code, value.to_bytes(size, "big"))


def log_pages(drive: TapeDrive) -> dict[int, tuple[LogParameter, ...]]:
    state = drive.state
    counts = {SequentialAccess.RECEIVED_TO_WRITE: state.written, SequentialAccess.WRITTEN: state.written,
              SequentialAccess.READ: state.read, SequentialAccess.SENT_AFTER_READ: state.read}
    medium = drive.medium if state.loaded else None
    remaining, whole = (medium.remaining // _MIB, medium.facts.capacity // _MIB) if medium else (0, 0)
    no_errors = tuple(_counter(code, 0, 4) for code in range(7))
    return {
        LogPage.WRITE_ERRORS: no_errors,
        LogPage.READ_ERRORS: no_errors,
        LogPage.SEQUENTIAL_ACCESS: tuple(_counter(code, value, 8) for code, value in counts.items()),
        LogPage.TAPE_ALERT: tuple(LogParameter(flag, b"\0", _BINARY_LIST) for flag in range(1, _ALERTS + 1)),
        _TAPE_CAPACITY: tuple(_counter(code, value, 4)
                              for code, value in enumerate((remaining, 0, whole, 0), start=1)),
    }


def _attributes(medium: Medium) -> tuple[MediumAttribute, ...]:
    facts = medium.facts

    def text(code: int, value: str, size: int, form: int = AttributeFormat.ASCII) -> MediumAttribute:
        return MediumAttribute(code, value.encode("ascii", "replace")[:size].ljust(size), form)

    return (
        MediumAttribute(Attribute.REMAINING_CAPACITY, (medium.remaining // _MIB).to_bytes(8, "big")),
        MediumAttribute(Attribute.MAXIMUM_CAPACITY, (facts.capacity // _MIB).to_bytes(8, "big")),
        MediumAttribute(Attribute.TAPE_ALERT_FLAGS, bytes(8)),
        MediumAttribute(Attribute.DENSITY, bytes((DENSITY,))),
        text(Attribute.MANUFACTURER, VENDOR, 8),
        text(Attribute.MEDIUM_SERIAL_NUMBER, facts.serial, 32),
        text(_USER_LABEL, facts.label, 160, AttributeFormat.TEXT),
        text(Attribute.BARCODE, facts.barcode, 32),
    )


def read_attribute(drive: TapeDrive, task: Task) -> None:
    """SPC-4 6.17; the cartridges have one partition and no memory to write to."""
    if task.field["partition"]:
        raise task.refuse("partition")
    kept = tuple(one for one in _attributes(drive.medium) if one.id >= task.field["first"])
    if not kept:
        raise task.refuse("first")
    task.send(put_attributes(kept), task.field["allocation"])


REPORT_OPERATIONS = (
    Operation(scsi.READ_BLOCK_LIMITS, read_block_limits),
    Operation(scsi.REPORT_DENSITY_SUPPORT, report_density_support),
    Operation(scsi.READ_ATTRIBUTE, read_attribute),
)
