"""EXTENDED COPY with one-byte list identifiers (LID1): CDBs and parameter list. SPC-4 6.5 and 6.3.

A copy manager judges a list in this order: ``take_header``, whose lengths it compares with its limits; then
``Header.cscd_count`` and ``Header.segment_count``; then, by ``ParameterList.take``, the contents.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum

from protocol.bits import Bits, Buffer, Layout
from protocol.scsi.asc import Asc
from protocol.scsi.command import EXTENDED_COPY_LID1, Cdb, Opcode
from protocol.scsi.cscd import CSCD_LENGTH, MAX_CSCD_ID, Cscd, put_cscd, take_cscds
from protocol.scsi.segments import Segment, count_segments, take_segments
from protocol.scsi.sense import ParameterError

EXTENDED_COPY = EXTENDED_COPY_LID1
"""Its one field, ``length``, is the parameter list length. Length 0 transfers nothing and is no error."""

COPY_OPERATION_ABORT = Cdb(Opcode.EXTENDED_COPY, 0x1C, list_id=Bits(2, 32))
"""SPC-4 6.3. Its list identifier is four bytes wide."""


class ListIdUsage(IntEnum):
    """What the list identifier is for. SPC-4 6.4.3.2. SPC-3 knows the higher bit, as NRCR."""

    HOLD = 0
    """Results are kept for RECEIVE COPY RESULTS."""
    DISCARD = 2
    """Results may be dropped once the command has ended."""
    NONE = 3
    """There is no identifier (it is 0): the copy cannot be asked about."""


_HEADER = Layout(16, list_id=Bits(0, 8), sequential=Bits(1, 1, 5), usage=Bits(1, 2, 3), priority=Bits(1, 3),
                 cscd_length=Bits(2, 16), segment_length=Bits(8, 32), inline_length=Bits(12, 32))
HEADER_LENGTH = _HEADER.size


@dataclass(frozen=True, slots=True)
class Header:
    """The first 16 bytes of a parameter list; lengths in bytes. Nothing is checked against the data yet."""

    list_id: int
    usage: ListIdUsage
    priority: int
    sequential: bool
    cscd_length: int
    segment_length: int
    inline_length: int

    @property
    def descriptors_length(self) -> int:
        """What a copy manager's MAXIMUM DESCRIPTOR LIST LENGTH bounds."""
        return self.cscd_length + self.segment_length

    @property
    def total(self) -> int:
        """The length of the whole list."""
        return HEADER_LENGTH + self.descriptors_length + self.inline_length

    @property
    def segments_at(self) -> int:
        return HEADER_LENGTH + self.cscd_length

    @property
    def inline_at(self) -> int:
        return self.segments_at + self.segment_length

    @property
    def cscd_count(self) -> int:
        """How many descriptors of 32 bytes; one with an extension counts as two, as it does in ids."""
        return self.cscd_length // CSCD_LENGTH

    def check(self, size: int) -> None:
        """ParameterError where the list does not fit the ``size`` bytes that came: 1A/00."""
        if self.total > size:
            place = 2 if self.segments_at > size else 8 if self.inline_at > size else 12
            raise ParameterError(f"parameter list of {self.total} bytes, of which {size} came", place,
                                 Asc.PARAMETER_LIST_LENGTH)

    def segment_count(self, data: Buffer) -> int:
        """How many segments, by their length fields alone. ParameterError where the list ends in one."""
        self.check(len(data))
        try:
            return count_segments(data[self.segments_at:self.inline_at])
        except ParameterError as error:
            raise error.moved(self.segments_at) from None


def take_header(data: Buffer) -> Header:
    """ParameterError where it is cut (1A/00) or a field has a value that is reserved (26/00)."""
    if len(data) < HEADER_LENGTH:
        raise ParameterError(f"parameter list of {len(data)} bytes, its header alone has {HEADER_LENGTH}", 0,
                             Asc.PARAMETER_LIST_LENGTH)
    field = _HEADER.take(data)
    if field["usage"] not in ListIdUsage._value2member_map_:
        raise ParameterError("LIST ID USAGE 01b is reserved", 1)
    if field["usage"] == ListIdUsage.NONE and field["list_id"]:
        raise ParameterError(f"list identifier {field['list_id']} where there is to be none", 0)
    if field["cscd_length"] % CSCD_LENGTH:
        raise ParameterError(f"{field['cscd_length']} bytes of CSCD descriptors of {CSCD_LENGTH} bytes", 2)
    return Header(field["list_id"], ListIdUsage(field["usage"]), field["priority"], bool(field["sequential"]),
                  field["cscd_length"], field["segment_length"], field["inline_length"])


@dataclass(frozen=True, slots=True)
class ParameterList:
    """What EXTENDED COPY is sent. ``sequential``: segments are to be processed in order (STR).

    ``priority``: 0 is highest, 7 lowest, as an advice.
    """

    list_id: int
    usage: ListIdUsage
    cscds: tuple[Cscd, ...]
    segments: tuple[Segment, ...]
    inline: bytes = b""
    priority: int = 1
    sequential: bool = False

    def put(self) -> bytes:
        """ValueError for a field that does not fit."""
        cscds = b"".join(put_cscd(one) for one in self.cscds)
        segments = b"".join(one.put() for one in self.segments)
        return _HEADER.put(list_id=self.list_id, usage=self.usage, priority=self.priority,
                           sequential=self.sequential, cscd_length=len(cscds), segment_length=len(segments),
                           inline_length=len(self.inline)) + cscds + segments + self.inline

    @classmethod
    def take(cls, data: Buffer, types: Collection[int] | None = None) -> ParameterList:
        """The whole list. ``types``: the codes of descriptors that are supported; None for all.

        ParameterError (a WireError) with the offset of what is wrong and the code to answer with. Bytes after
        the list are ignored.
        """
        header = take_header(data)
        header.check(len(data))
        try:
            cscds = take_cscds(data[HEADER_LENGTH:header.segments_at], types)
        except ParameterError as error:
            raise error.moved(HEADER_LENGTH) from None
        try:
            segments = take_segments(data[header.segments_at:header.inline_at], types)
        except ParameterError as error:
            raise error.moved(header.segments_at) from None
        return cls(header.list_id, header.usage, cscds, tuple(segments),
                   bytes(data[header.inline_at:header.total]), header.priority, header.sequential)

    def cscd(self, number: int) -> Cscd | None:
        """The descriptor that an id in a segment means; None for one that is not there, or an extension."""
        if number > MAX_CSCD_ID:
            return None
        at = 0
        for one in self.cscds:
            if at == number:
                return one
            at += one.length // CSCD_LENGTH
        return None

    def segment_offset(self, number: int) -> int:
        """Where segment ``number`` begins, in bytes from the list's start."""
        return (HEADER_LENGTH + sum(one.length for one in self.cscds)
                + sum(one.length for one in self.segments[:number]))


def cscd_offset(number: int) -> int:
    """Where the descriptor with this id begins, in bytes from the list's start: a field pointer names it."""
    return HEADER_LENGTH + CSCD_LENGTH * number
