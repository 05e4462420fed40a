"""A small, strict copy manager on disks and tapes in memory, written from SPC-4 and not from the planner.

It takes the bytes of a parameter list and does what 5.17.7.2 says, one byte after another: source data,
processing, destination data, whole writes, remainders by CAT and PAD (table 116). Whatever lies outside its
limits it refuses, and where the standard can be read in two ways it takes the narrower.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from protocol.scsi.asc import Asc
from protocol.scsi.copyresults import OperatingParameters
from protocol.scsi.cscd import BlockDevice, Identification, StreamDevice
from protocol.scsi.segments import Segment, SegmentType
from protocol.scsi.sense import CopySense, ParameterError, Reported, Sense, SenseKey, illegal
from protocol.scsi.xcopy import HEADER_LENGTH, ParameterList, take_header

T = SegmentType


@dataclass(slots=True)
class Disk:
    data: bytearray
    block_length: int
    touched: set[int] = field(default_factory=set)

    def read(self, lba: int, blocks: int) -> bytes:
        start, end = lba * self.block_length, (lba + blocks) * self.block_length
        assert end <= len(self.data), "a read beyond the end of the disk"
        return bytes(self.data[start:end])

    def write(self, byte: int, data: bytes) -> None:
        assert byte + len(data) <= len(self.data), "a write beyond the end of the disk"
        self.data[byte:byte + len(data)] = data


@dataclass(slots=True)
class Tape:
    """``full_after``: how many records fit before early warning; writes go on, and report it."""

    records: list[bytes] = field(default_factory=list)
    position: int = 0
    full_after: int | None = None

    def write(self, record: bytes) -> bool:
        """Whether the write met the end of the medium; the record is written all the same."""
        del self.records[self.position:]
        self.records.append(record)
        self.position += 1
        return self.full_after is not None and self.position > self.full_after

    def read(self) -> bytes:
        assert self.position < len(self.records), "a read beyond the end of data"
        self.position += 1
        return self.records[self.position - 1]


class CopyFailed(Exception):
    """CHECK CONDITION, with this sense data."""

    def __init__(self, sense: Sense, why: str = "") -> None:
        super().__init__(f"{sense.text}: {why}")
        self.sense = sense


class CopyManager:
    """``cat``: takes the bit. ``secretly_lacks``: types that it lists and does not take."""

    def __init__(self, limits: OperatingParameters, units: dict[bytes, Disk | Tape], *, cat: bool = True,
                 secretly_lacks: frozenset[int] = frozenset(),
                 strict: OperatingParameters | None = None) -> None:
        self.limits = strict or limits
        self.units = units
        self.cat = cat
        self.types = frozenset(self.limits.types) - secretly_lacks
        self.commands = 0
        self.list: ParameterList
        self.source = bytearray()
        self.destination = bytearray()
        self.number = 0
        self.written = 0
        self.processed = 0

    def execute(self, data: bytes) -> None:
        """Raises CopyFailed."""
        self.commands += 1
        self.list = self._judged(data)
        self.source.clear()
        self.destination.clear()
        for number, segment in enumerate(self.list.segments):
            self.number = number
            self.written = self.processed = 0
            self._check(segment)
            self._do(segment)
            self._remainder(segment)
            longest = self.limits.max_segment_length
            assert not longest or max(self.written, self.processed) <= longest, "a segment that is too long"

    def _judged(self, data: bytes) -> ParameterList:
        limits = self.limits
        header = take_header(data)
        if header.total != len(data):
            raise CopyFailed(illegal(Asc.PARAMETER_LIST_LENGTH), "length")
        if HEADER_LENGTH + header.descriptors_length > limits.max_list_length:
            raise CopyFailed(illegal(Asc.PARAMETER_LIST_LENGTH), "list too long")
        if header.inline_length > limits.max_inline_length:
            raise CopyFailed(illegal(Asc.PARAMETER_LIST_LENGTH), "inline too long")
        if header.cscd_count > limits.max_cscds:
            raise CopyFailed(illegal(Asc.TOO_MANY_TARGETS), "targets")
        if header.segment_count(data) > limits.max_segments:
            raise CopyFailed(illegal(Asc.TOO_MANY_SEGMENTS), "segments")
        try:
            found = ParameterList.take(data, self.types)
        except ParameterError as error:
            raise CopyFailed(error.sense(), str(error)) from None
        for number, segment in enumerate(found.segments):
            if getattr(segment, "cat", False) and not self.cat:
                place = found.segment_offset(number) + 1
                raise CopyFailed(ParameterError("CAT", place).sense(), "CAT")
        return found

    def _fail(self, code: int, *, destination: Sense | None = None) -> CopyFailed:
        report = None if destination is None else Reported(2, destination.put())
        residue = self._planned() - self.written if self.written else None
        reason = CopySense(code, self.number, residue, destination_sense=report)
        return CopyFailed(reason.sense(), f"{code:04X}")

    def _planned(self) -> int:
        """Bytes that this segment was to write to tape."""
        segment, size = self.list.segments[self.number], self._transfer(self.list.segments[self.number])
        return (self._open + self._amount(segment)) // size * size

    def _unit(self, number: int) -> tuple[Disk | Tape, Identification]:
        descriptor = self.list.cscd(number)
        assert isinstance(descriptor, Identification), f"no descriptor {number}"
        return self.units[descriptor.designator.identifier], descriptor

    def _disk(self, number: int) -> Disk:
        disk, descriptor = self._unit(number)
        assert isinstance(disk, Disk) and descriptor.device_type == 0
        assert isinstance(descriptor.parameters, BlockDevice) and not descriptor.parameters.pad
        assert descriptor.parameters.block_length == disk.block_length
        return disk

    def _tape(self, number: int) -> Tape:
        tape, descriptor = self._unit(number)
        assert isinstance(tape, Tape) and descriptor.device_type == 1
        assert descriptor.parameters == StreamDevice(), "variable records, no PAD"
        return tape

    def _transfer(self, segment: Segment) -> int:
        size: int = getattr(segment, "transfer_length", 0) or getattr(segment, "source_transfer_length", 1)
        return size

    def _amount(self, segment: Segment) -> int:
        """Bytes that a segment is about."""
        match segment.type:
            case T.BLOCK_TO_STREAM | T.BLOCK_TO_BLOCK:
                return segment.blocks * self._disk(segment.source).block_length
            case T.STREAM_TO_BLOCK:
                return segment.blocks * self._disk(segment.destination).block_length
            case T.EMBEDDED_TO_STREAM:
                return len(segment.data)
        count: int = segment.byte_count
        return count

    def _check(self, segment: Segment) -> None:
        amount, limits = self._amount(segment), self.limits
        self._open = len(self.destination)
        assert amount, "a segment that does nothing"
        inline = segment.type is T.INLINE_TO_STREAM
        if amount % (limits.inline_granularity if inline else limits.data_granularity):
            raise self._fail(Asc.COPY_GRANULARITY)
        transfer = self._transfer(segment)
        assert not limits.max_stream_transfer or transfer <= limits.max_stream_transfer
        if inline and segment.inline_offset + segment.byte_count > len(self.list.inline):
            raise self._fail(Asc.INLINE_DATA_LENGTH)
        self.processed = amount

    def _do(self, segment: Segment) -> None:
        amount = self._amount(segment)
        match segment.type:
            case T.BLOCK_TO_STREAM:
                blocks = self._disk(segment.source).read(segment.lba, segment.blocks)
                self._process(blocks, amount)
                self._write_tape(segment)
            case T.BLOCK_OFFSET_TO_STREAM:
                self._process(self._range(segment.source, segment.lba, segment.byte_offset, amount), amount)
                self._write_tape(segment)
            case T.INLINE_TO_STREAM:
                start = segment.inline_offset
                self.destination += self.list.inline[start:start + amount]
                self._write_tape(segment)
            case T.EMBEDDED_TO_STREAM:
                self.destination += segment.data
                self._write_tape(segment)
            case T.STREAM_TO_BLOCK:
                self._fill(segment, amount)
                self._write_disk(segment.destination, segment.lba, 0, amount)
            case T.STREAM_TO_BLOCK_OFFSET:
                self._fill(segment, amount)
                self._write_disk(segment.destination, segment.lba, segment.byte_offset, amount)
            case T.STREAM_DISCARD:
                self._read_tape(segment, amount)
                del self.source[:amount]
            case T.STREAM_TO_STREAM:
                self._read_tape(segment, amount)
                self._process(b"", amount)
                self._write_tape(segment)
            case T.BLOCK_TO_BLOCK:
                assert not segment.dc
                self._process(self._disk(segment.source).read(segment.source_lba, segment.blocks), amount)
                length = self._disk(segment.destination).block_length
                whole = len(self.destination) // length * length
                self._write_disk(segment.destination, segment.destination_lba, 0, whole)
            case T.BLOCK_OFFSET_TO_BLOCK_OFFSET:
                self._process(self._range(segment.source, segment.source_lba, segment.source_offset, amount),
                              amount)
                self._write_disk(segment.destination, segment.destination_lba, segment.destination_offset,
                                 amount)
            case _:
                raise AssertionError(f"segment type {segment.type!r}")

    def _range(self, number: int, lba: int, offset: int, length: int) -> bytes:
        disk = self._disk(number)
        assert offset < disk.block_length, "an offset past the first block"
        blocks = -(-(offset + length) // disk.block_length)
        return disk.read(lba, blocks)[offset:offset + length]

    def _process(self, read: bytes, amount: int) -> None:
        self.source += read
        assert len(self.source) >= amount
        self.destination += self.source[:amount]
        del self.source[:amount]

    def _read_tape(self, segment: Segment, amount: int) -> None:
        tape, size = self._tape(segment.source), self._transfer(segment)
        while len(self.source) < amount:
            record = tape.read()
            assert len(record) == size, "with SILI 0 a record of another length ends the copy"
            self.source += record

    def _fill(self, segment: Segment, amount: int) -> None:
        needed = amount - len(self.destination)
        self._read_tape(segment, needed)
        self._process(b"", needed)

    def _write_tape(self, segment: Segment) -> None:
        tape = self._tape(segment.destination)
        size = getattr(segment, "destination_transfer_length", 0) or self._transfer(segment)
        at = 0
        while len(self.destination) - at >= size:
            full = tape.write(bytes(self.destination[at:at + size]))
            at += size
            self.written += size
            if full:
                raise self._fail(Asc.THIRD_PARTY_DEVICE_FAILURE,
                                 destination=Sense(SenseKey.NO_SENSE, 0x0002, eom=True))
        del self.destination[:at]

    def _write_disk(self, number: int, lba: int, offset: int, amount: int) -> None:
        disk = self._disk(number)
        assert offset < disk.block_length, "an offset past the first block"
        disk.write(lba * disk.block_length + offset, bytes(self.destination[:amount]))
        self.written += amount
        del self.destination[:amount]

    def _remainder(self, segment: Segment) -> None:
        # PAD is off everywhere, so that table 116 comes down to CAT.
        if not getattr(segment, "cat", False) and (self.source or self.destination):
            raise self._fail(Asc.UNEXPECTED_INEXACT_SEGMENT)
