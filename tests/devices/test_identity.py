"""A unit is used only if it is the one that was meant."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from ndmpd.devices.errors import NoSuchDevice
from ndmpd.devices.identity import verify
from ndmpd.pieces import Inline
from ndmpd.ports import Command, Result
from protocol.scsi.sense import Sense, SenseKey
from protocol.scsi.spc import (
    PORT,
    Designator,
    DesignatorType,
    DeviceType,
    Inquiry,
    Vpd,
    put_identification,
    put_serial,
)

WWN = "5000e11100a54001"


@dataclass
class Told:
    """Answers INQUIRY."""

    inquiry: Inquiry
    names: tuple[Designator, ...] = ()
    serial: str | None = None
    most = None

    def execute(self, command: Command) -> Result:
        cdb = command.cdb
        if cdb[1] == 0:
            data = self.inquiry.put()
        elif cdb[2] == Vpd.IDENTIFICATION:
            data = put_identification(self.inquiry.type, self.names)
        elif self.serial is not None:
            data = put_serial(self.inquiry.type, self.serial)
        else:
            return Result(2, Sense(SenseKey.ILLEGAL_REQUEST, 0x2400).put())
        (place,) = command.data_in
        assert isinstance(place, Inline)
        memoryview(place.data)[: len(data)] = data
        return Result(0, b"", len(data))

    def backing(self, lba: int, blocks: int) -> None:
        return None

    def close(self) -> None:
        raise AssertionError("whoever opened it closes it")


DRIVE = Told(
    Inquiry(DeviceType.TAPE, "HP", "Ultrium"),
    (
        Designator(DesignatorType.NAA, bytes.fromhex("5000e11100a54fff"), association=PORT),
        Designator(DesignatorType.T10, b"HP      HU1019ABCD", 2),
        Designator(DesignatorType.NAA, bytes.fromhex(WWN)),
    ),
    "HU1019ABCD  ",
)


def test_the_right_unit_is_taken() -> None:
    verify(DRIVE, "tape0")
    verify(DRIVE, "tape0", wwn=WWN, serial="HU1019ABCD", type=DeviceType.TAPE)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"wwn": "5000e11100a54002"}, f"the world wide name {WWN}, not 5000e11100a54002"),
        ({"wwn": "5000e11100a54fff"}, f"the world wide name {WWN}, not"),
        ({"serial": "HU1019ABCE"}, "the serial number 'HU1019ABCD', not 'HU1019ABCE'"),
        ({"type": DeviceType.DISK}, "HP Ultrium is a tape, not a disk; correct its device"),
    ],
)
def test_another_unit_is_not(wanted: dict, said: str) -> None:
    with pytest.raises(NoSuchDevice, match=said):
        verify(DRIVE, "tape0", **wanted)


def test_a_unit_that_does_not_say_who_it_is_is_not_the_one_that_was_named() -> None:
    silent = Told(Inquiry(DeviceType.TAPE))
    verify(silent, "tape0", type=DeviceType.TAPE)
    with pytest.raises(NoSuchDevice, match=r"world wide name \(none\)"):
        verify(silent, "tape0", wwn=WWN)
    with pytest.raises(NoSuchDevice, match="the serial number ''"):
        verify(silent, "tape0", serial="1")


def test_a_logical_unit_that_the_target_has_not_is_none() -> None:
    with pytest.raises(NoSuchDevice, match="no such logical unit"):
        verify(Told(Inquiry(0x1F, qualifier=3)), "tape0")
