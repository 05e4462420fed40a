"""What one copy manager can do: its own answers, checked, and what its refusals teach.

Copy managers in the field answer RECEIVE COPY RESULTS and VPD page 8Fh carelessly. Where the two disagree the
smaller counts; where an answer makes no sense the copy manager is not used; and what it refuses in spite of
its answers is not tried again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ndmpd.offload.ends import CannotCopy
from ndmpd.offload.plan import CopyCommand
from protocol.scsi.asc import Asc
from protocol.scsi.copyresults import OperatingParameters
from protocol.scsi.cscd import CSCD_LENGTH, CscdType
from protocol.scsi.segments import Segment, SegmentType
from protocol.scsi.sense import CopySense, Sense, SenseKey
from protocol.scsi.thirdparty import ThirdPartyCopy
from protocol.scsi.xcopy import HEADER_LENGTH

UNLIMITED = (1 << 32) - 1
"""No field of a segment counts further."""
MAX_TRANSFER = (1 << 24) - 1
"""STREAM DEVICE TRANSFER LENGTH has 24 bits."""

# Every host bus adapter carries a data-out buffer of 512 KiB; one that copy managers may say they take beyond
# that is not worth the memory. Descriptors and inline data share it.
MAX_LIST = 256 << 10
MAX_INLINE = 256 << 10
MAX_CSCDS = 64
MAX_GRANULARITY = 1 << 20
_SHORTEST = 512
"""Bytes: the limit of a segment's length that is not stated is looked for down to here."""
_CAT_AT = 1
_LENGTH_AT = {SegmentType.BLOCK_TO_STREAM: 14, SegmentType.STREAM_TO_BLOCK: 14,
              SegmentType.BLOCK_TO_BLOCK: 10, SegmentType.STREAM_TO_STREAM: 16,
              SegmentType.BLOCK_OFFSET_TO_STREAM: 12, SegmentType.STREAM_TO_BLOCK_OFFSET: 12,
              SegmentType.BLOCK_OFFSET_TO_BLOCK_OFFSET: 8}
"""Bytes of segment descriptors at which fields begin. SPC-4 6.4.6."""
SMALLEST_LIST = HEADER_LENGTH + CSCD_LENGTH + 24
"""One descriptor and one segment."""

# When a refusal does not say what it is about, the first of these that the command used is given up.
_DOUBTFUL = (SegmentType.EMBEDDED_TO_STREAM, SegmentType.INLINE_TO_STREAM, SegmentType.STREAM_DISCARD,
             SegmentType.BLOCK_OFFSET_TO_BLOCK_OFFSET, SegmentType.BLOCK_OFFSET_TO_STREAM,
             SegmentType.STREAM_TO_BLOCK_OFFSET, SegmentType.TAPE_IMAGE)

_LIMITS = {"max_cscds": "at most {} units a command", "max_segments": "at most {} segments a command",
           "max_list_length": "at most {} bytes of descriptors",
           "max_segment_length": "at most {} bytes a segment", "data_granularity": "multiples of {} bytes"}


@dataclass(frozen=True, slots=True)
class Abilities:
    """Limits of one copy manager. Lengths and granularities in bytes.

    ``types``: codes of segment and CSCD descriptors. ``max_list_length`` is for all descriptors.
    ``max_segment_length`` and ``max_stream_transfer`` 0: not limited. ``cat``: several segments may make one
    record. Raises CannotCopy where the limits leave room for nothing.
    """

    types: frozenset[int]
    max_cscds: int = 2
    max_segments: int = 1
    max_list_length: int = 1024
    max_segment_length: int = 0
    max_inline_length: int = 0
    max_stream_transfer: int = 0
    data_granularity: int = 1
    inline_granularity: int = 1
    cat: bool = True

    def __post_init__(self) -> None:
        if CscdType.IDENTIFICATION not in self.types:
            raise CannotCopy("the copy manager does not take units by designator (CSCD type E4h)")
        if not any(code < CscdType.FC_N_PORT_NAME for code in self.types):
            raise CannotCopy("the copy manager lists no segment type at all")
        for name, least in (("max_cscds", 1), ("max_segments", 1), ("max_list_length", SMALLEST_LIST),
                            ("max_segment_length", 0), ("max_inline_length", 0), ("max_stream_transfer", 0),
                            ("data_granularity", 1), ("inline_granularity", 1)):
            if getattr(self, name) < least:
                raise CannotCopy(f"the copy manager's limit {name.replace('_', ' ')} = {getattr(self, name)} "
                                 "leaves room for no copy")
        if self.data_granularity > MAX_GRANULARITY:
            raise CannotCopy(f"the copy manager wants multiples of {self.data_granularity} bytes")

    @classmethod
    def of(cls, parameters: OperatingParameters | None, page: ThirdPartyCopy | None = None) -> Abilities:
        """From RECEIVE COPY RESULTS (operating parameters) and VPD page 8Fh; None for what was not answered.

        Raises CannotCopy.
        """
        lists = page.parameters if page else None
        general = page.general if page else None
        if parameters is None and lists is None:
            raise CannotCopy("the copy manager tells its limits neither by RECEIVE COPY RESULTS nor by VPD "
                             "page 8Fh")
        answers = [one for one in (parameters, lists) if one is not None]
        either = [one for one in (parameters, general) if one is not None]
        told = [frozenset(one.types) for one in (parameters, page) if one is not None and one.types]
        types = frozenset.intersection(*told) if told else frozenset()
        inline = min(MAX_INLINE, *(one.max_inline_length for one in answers))
        granularity = max((one.inline_granularity for one in either), default=1)
        if not inline or granularity > inline:
            types, inline = types - {SegmentType.INLINE_TO_STREAM}, 0
        transfers = [parameters.max_stream_transfer if parameters else 0,
                     (page.max_stream_transfer or 0) if page else 0]
        return cls(
            types,
            max_cscds=min(MAX_CSCDS, _smaller([one.max_cscds for one in answers])),
            max_segments=_smaller([one.max_segments for one in answers]),
            max_list_length=min(MAX_LIST, _smaller([one.max_list_length for one in answers])),
            max_segment_length=_smaller([one.max_segment_length for one in either]),
            max_inline_length=inline if SegmentType.INLINE_TO_STREAM in types else 0,
            max_stream_transfer=_smaller(transfers),
            data_granularity=max((one.data_granularity for one in either), default=1),
            inline_granularity=granularity)

    @property
    def longest_segment(self) -> int:
        return self.max_segment_length or UNLIMITED

    @property
    def longest_transfer(self) -> int:
        return min(self.max_stream_transfer or MAX_TRANSFER, MAX_TRANSFER)

    def narrowed(self, less: Abilities) -> str:
        """What ``less`` can do no more of this, for people."""
        found = [f"no segments of type {code:02X}h" for code in sorted(self.types - less.types)]
        if self.cat and not less.cat:
            found.append("no records made of several segments (CAT)")
        for name, said in _LIMITS.items():
            if getattr(self, name) != (limit := getattr(less, name)):
                found.append(said.format(limit))
        return ", ".join(found)

    def learn(self, refusal: Sense, command: CopyCommand) -> Abilities | None:
        """Without what the copy manager has just refused to do; None where there is nothing left to try, or
        the sense data are no refusal of this kind (a unit failed, a reservation, an abort).

        Every answer can do strictly less, so that refusals come to an end.
        """
        if refusal.key not in (SenseKey.ILLEGAL_REQUEST, SenseKey.COPY_ABORTED):
            return None
        try:
            return self._without(refusal, command)
        except CannotCopy:
            return None

    def _without(self, refusal: Sense, command: CopyCommand) -> Abilities | None:
        segments = len(command.segments)
        listed = HEADER_LENGTH + sum(one.length for one in (*command.cscds, *command.segments))
        match refusal.code:
            case Asc.UNSUPPORTED_SEGMENT_TYPE | Asc.INVALID_COPY_OPERATION:
                return self._without_type(self._blamed(refusal, command), command)
            case Asc.TOO_MANY_TARGETS:
                return replace(self, max_cscds=min(self.max_cscds, len(command.cscds)) - 1)
            case Asc.TOO_MANY_SEGMENTS | Asc.INSUFFICIENT_RESOURCES:
                return replace(self, max_segments=min(self.max_segments, segments) // 2)
            case Asc.PARAMETER_LIST_LENGTH:
                if command.inline:
                    return self._without_type(SegmentType.INLINE_TO_STREAM, command)
                return replace(self, max_list_length=min(self.max_list_length, listed) // 2)
            case Asc.UNEXPECTED_INEXACT_SEGMENT:
                return self._without_cat(command)
            case Asc.INLINE_DATA_LENGTH:
                return self._without_type(SegmentType.INLINE_TO_STREAM, command)
            case Asc.COPY_GRANULARITY:
                return self._coarser(refusal, command)
            case Asc.INVALID_FIELD_IN_PARAMETERS | Asc.PARAMETER_NOT_SUPPORTED | Asc.PARAMETER_VALUE_INVALID:
                return self._without_field(refusal, command) or self._without_doubtful(command)
        return None

    def _without_type(self, code: int | None, command: CopyCommand) -> Abilities | None:
        if code is None:
            return self._without_doubtful(command)
        if code not in self.types:
            return None
        inline = 0 if code == SegmentType.INLINE_TO_STREAM else self.max_inline_length
        return replace(self, types=self.types - {code}, max_inline_length=inline)

    def _without_cat(self, command: CopyCommand) -> Abilities | None:
        used = self.cat and any(getattr(one, "cat", False) for one in command.segments)
        return replace(self, cat=False) if used else None

    def _without_doubtful(self, command: CopyCommand) -> Abilities | None:
        """A field is wrong, and the command is right: one thing that it uses is not understood."""
        used = {one.type for one in command.segments}
        for code in _DOUBTFUL[:2]:
            if code in used & self.types:
                return self._without_type(code, command)
        if (without := self._without_cat(command)) is not None:
            return without
        left = [code for code in _DOUBTFUL if code in used & self.types]
        return self._without_type(left[0], command) if left else None

    def _without_field(self, refusal: Sense, command: CopyCommand) -> Abilities | None:
        """Without what the sense data point at: the CAT bit of a segment, or its length, which is halved."""
        pointer = CopySense.of(refusal).pointer
        number = None if pointer is None or pointer.in_segment else _at(command, pointer.byte)
        if pointer is None or number is None:
            return None
        segment = command.segments[number]
        byte = pointer.byte - command.parameter_list(1).segment_offset(number)
        if byte == _CAT_AT:
            return self._without_cat(command)
        if byte != _LENGTH_AT.get(segment.type):
            return None
        low, high = command.span(number)
        size = min(getattr(segment, "byte_count", 0) or (high - low) * command.record_size,
                   self.longest_segment)
        if size < 2 * _SHORTEST:
            return None
        shorter = size // 2
        # Below the size of a record nothing is left to plan: that is the last to be tried.
        return replace(self, max_segment_length=command.record_size
                       if shorter < command.record_size < size else shorter)

    def _coarser(self, refusal: Sense, command: CopyCommand) -> Abilities | None:
        if self._blamed(refusal, command) == SegmentType.INLINE_TO_STREAM:
            return self._without_type(SegmentType.INLINE_TO_STREAM, command)
        return replace(self, data_granularity=max(512, 2 * self.data_granularity))

    @staticmethod
    def _blamed(refusal: Sense, command: CopyCommand) -> int | None:
        """The type of the segment that the sense data name; None where they do not."""
        reason = CopySense.of(refusal)
        number = None
        if reason.pointer and not reason.pointer.in_segment:
            number = _at(command, reason.pointer.byte)
        if refusal.key is SenseKey.COPY_ABORTED and reason.segment is not None:
            number = reason.segment
        used = {one.type for one in command.segments}
        if number is not None and number < len(command.segments):
            return command.segments[number].type
        return used.pop() if len(used) == 1 else None


def _at(command: CopyCommand, byte: int) -> int | None:
    """Which segment has this byte of the parameter list."""
    end = HEADER_LENGTH + sum(one.length for one in command.cscds)
    if byte < end:
        return None
    segments: Sequence[Segment] = command.segments
    for number, segment in enumerate(segments):
        end += segment.length
        if byte < end:
            return number
    return None


def _smaller(limits: Sequence[int]) -> int:
    """Of what was answered, the smaller; 0, which is no limit or nonsense, only where all say so."""
    return min((limit for limit in limits if limit > 0), default=0)
