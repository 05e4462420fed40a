"""Sense data: what a unit says about a CHECK CONDITION. SPC-4 4.5 (fixed 70h/71h, descriptor 72h/73h).

``Sense`` is one neutral value with both forms. Its ``code`` is ASC and ASCQ as one number, ASC high.
``CopySense`` is what a copy manager says with it, and ``ParameterError`` what it says of a parameter list.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from protocol.bits import Bits, Buffer, Layout
from protocol.errors import WireError
from protocol.scsi.asc import NAMES, Asc

MAX_SENSE = 252
"""Longest sense data (the allocation length of REQUEST SENSE). SPC-4 4.5.1."""


class SenseKey(IntEnum):
    """SPC-4 4.5.6."""

    NO_SENSE = 0x0
    RECOVERED_ERROR = 0x1
    NOT_READY = 0x2
    MEDIUM_ERROR = 0x3
    HARDWARE_ERROR = 0x4
    ILLEGAL_REQUEST = 0x5
    UNIT_ATTENTION = 0x6
    DATA_PROTECT = 0x7
    BLANK_CHECK = 0x8
    VENDOR_SPECIFIC = 0x9
    COPY_ABORTED = 0xA
    ABORTED_COMMAND = 0xB
    RESERVED = 0xC
    VOLUME_OVERFLOW = 0xD
    MISCOMPARE = 0xE
    COMPLETED = 0xF


_FIXED = Layout(18, valid=Bits(0, 1, 7), response=Bits(0, 7), segment=Bits(1, 8), filemark=Bits(2, 1, 7),
                eom=Bits(2, 1, 6), ili=Bits(2, 1, 5), key=Bits(2, 4), information=Bits(3, 32),
                additional=Bits(7, 8), command_specific=Bits(8, 32), code=Bits(12, 16), fru=Bits(14, 8),
                sks=Bits(15, 24))
_HEADER = Layout(8, response=Bits(0, 7), key=Bits(1, 4), code=Bits(2, 16), additional=Bits(7, 8))
_SKSV = 0x800000

# Sense data descriptors, SPC-4 4.5.2.1; the length byte counts what follows it.
_INFORMATION = Layout(12, type=Bits(0, 8), length=Bits(1, 8), valid=Bits(2, 1, 7), value=Bits(4, 64))
_COMMAND_SPECIFIC = Layout(12, type=Bits(0, 8), length=Bits(1, 8), value=Bits(4, 64))
_KEY_SPECIFIC = Layout(8, type=Bits(0, 8), length=Bits(1, 8), value=Bits(4, 24))
_UNIT = Layout(4, type=Bits(0, 8), length=Bits(1, 8), fru=Bits(3, 8))
_STREAM = Layout(4, type=Bits(0, 8), length=Bits(1, 8), filemark=Bits(3, 1, 7), eom=Bits(3, 1, 6),
                 ili=Bits(3, 1, 5))
_FORWARDED = Layout(4, type=Bits(0, 8), length=Bits(1, 8), cut=Bits(2, 1, 7), source=Bits(2, 4),
                    status=Bits(3, 8))
_TYPE_INFORMATION, _TYPE_COMMAND, _TYPE_KEY, _TYPE_UNIT, _TYPE_STREAM, _TYPE_BLOCK = range(6)
_TYPE_FORWARDED = 0x0C


@dataclass(frozen=True, slots=True)
class Forwarded:
    """Status and sense that a copy manager passes on (SPC-4 4.5.2.7). ``source``: 1 source, 2 destination."""

    source: int
    status: int
    sense: bytes


@dataclass(frozen=True, slots=True)
class Sense:
    """One piece of sense data.

    ``information`` and ``command_specific`` are None where not valid; as on the wire they are unsigned (see
    ``residue``). ``key_specific``: bytes 15-17 with SKSV taken off, or None. ``segment``: byte 1 of the fixed
    form (obsolete elsewhere). ``extra``: fixed form, what follows byte 17. ``wide``: the descriptor form.
    """

    key: SenseKey
    code: int = 0
    information: int | None = None
    filemark: bool = False
    eom: bool = False
    ili: bool = False
    deferred: bool = False
    command_specific: int | None = None
    key_specific: int | None = None
    segment: int = 0
    fru: int = 0
    extra: bytes = b""
    forwarded: tuple[Forwarded, ...] = ()
    wide: bool = False

    @property
    def asc(self) -> int:
        return self.code >> 8

    @property
    def ascq(self) -> int:
        return self.code & 0xFF

    @property
    def residue(self) -> int | None:
        """INFORMATION as a signed number: what was asked for less what was done. SSC-4: two's complement."""
        if self.information is None:
            return None
        bits = 64 if self.wide else 32
        return self.information - (1 << bits) if self.information >> bits - 1 else self.information

    @property
    def text(self) -> str:
        """For people: "Medium Error, write error (0C/00)"."""
        name = NAMES.get(self.code) or ("diagnostic failure" if self.asc == 0x40 else "")
        marks = [word for word, on in (("filemark", self.filemark), ("end of medium", self.eom),
                                       ("incorrect length", self.ili), ("deferred", self.deferred)) if on]
        parts = [self.key.name.replace("_", " ").title(), *([name] if name else []), *marks]
        return f"{', '.join(parts)} ({self.asc:02X}/{self.ascq:02X})"

    def put(self) -> bytes:
        """The form that ``wide`` says."""
        return self.put_descriptor() if self.wide else self.put_fixed()

    def put_fixed(self) -> bytes:
        """Response code 70h or 71h. A number too wide for its 32 bits is cut and INFORMATION not VALID."""
        information = self.information or 0
        fits = information < 1 << 32
        head = _FIXED.put(
            valid=self.information is not None and fits, response=0x71 if self.deferred else 0x70,
            segment=self.segment, filemark=self.filemark, eom=self.eom, ili=self.ili, key=self.key,
            information=information if fits else 0, additional=10 + len(self.extra),
            command_specific=(self.command_specific or 0) & 0xFFFFFFFF, code=self.code, fru=self.fru,
            sks=0 if self.key_specific is None else self.key_specific | _SKSV)
        return head + self.extra

    def put_descriptor(self) -> bytes:
        """Response code 72h or 73h."""
        body = b""
        if self.information is not None:
            body += _INFORMATION.put(type=_TYPE_INFORMATION, length=10, valid=1, value=self.information)
        if self.command_specific is not None:
            body += _COMMAND_SPECIFIC.put(type=_TYPE_COMMAND, length=10, value=self.command_specific)
        if self.key_specific is not None:
            body += _KEY_SPECIFIC.put(type=_TYPE_KEY, length=6, value=self.key_specific | _SKSV)
        if self.fru:
            body += _UNIT.put(type=_TYPE_UNIT, length=2, fru=self.fru)
        if self.filemark or self.eom or self.ili:
            body += _STREAM.put(type=_TYPE_STREAM, length=2, filemark=self.filemark, eom=self.eom,
                                ili=self.ili)
        for item in self.forwarded:
            room = MAX_SENSE - _HEADER.size - len(body) - _FORWARDED.size
            if room < 0:
                break
            kept = item.sense[:room]
            body += _FORWARDED.put(type=_TYPE_FORWARDED, length=2 + len(kept), source=item.source,
                                   cut=len(kept) < len(item.sense), status=item.status) + kept
        return _HEADER.put(response=0x73 if self.deferred else 0x72, key=self.key, code=self.code,
                           additional=len(body)) + body

    @classmethod
    def take(cls, data: Buffer) -> Sense:
        """Either form. Data cut by an allocation length is read as far as it goes; WireError if no key."""
        data = bytes(data[:MAX_SENSE + 8])
        response = data[0] & 0x7F if data else 0
        if response in (0x70, 0x71):
            return cls._take_fixed(data)
        if response in (0x72, 0x73):
            return cls._take_descriptor(data)
        raise WireError(f"sense data begins {data[:4].hex(' ') or 'and ends at once'}, not with 70h to 73h")

    @classmethod
    def _take_fixed(cls, data: bytes) -> Sense:
        if len(data) < 3:
            raise WireError("sense data ends before the sense key")
        # Old devices send as few as eight bytes; what is missing counts as zero.
        field = _FIXED.take(data.ljust(_FIXED.size, b"\0"))
        end = 8 + field["additional"]
        return cls(SenseKey(field["key"]), field["code"], field["information"] if field["valid"] else None,
                   bool(field["filemark"]), bool(field["eom"]), bool(field["ili"]), field["response"] == 0x71,
                   field["command_specific"] or None,
                   field["sks"] & ~_SKSV if field["sks"] & _SKSV else None,
                   field["segment"], field["fru"], data[_FIXED.size:end])

    @classmethod
    def _take_descriptor(cls, data: bytes) -> Sense:
        head = _HEADER.take(data)
        information = command_specific = key_specific = None
        filemark = eom = ili = 0
        fru = 0
        forwarded: list[Forwarded] = []
        at, end = _HEADER.size, min(len(data), _HEADER.size + head["additional"])
        while at + 2 <= end:
            kind, after = data[at], at + 2 + data[at + 1]
            part = data[at:min(after, end)]
            at = after
            if after > end and kind != _TYPE_FORWARDED:
                break
            if kind == _TYPE_INFORMATION:
                field = _INFORMATION.take(part)
                information = field["value"] if field["valid"] else None
            elif kind == _TYPE_COMMAND:
                command_specific = _COMMAND_SPECIFIC.take(part)["value"]
            elif kind == _TYPE_KEY:
                value = _KEY_SPECIFIC.take(part)["value"]
                key_specific = value & ~_SKSV if value & _SKSV else None
            elif kind == _TYPE_UNIT:
                fru = _UNIT.take(part)["fru"]
            elif kind in (_TYPE_STREAM, _TYPE_BLOCK):
                field = _STREAM.take(part)
                filemark, eom, ili = field["filemark"], field["eom"], field["ili"]
            elif kind == _TYPE_FORWARDED:
                field = _FORWARDED.take(part)
                forwarded.append(Forwarded(field["source"], field["status"], part[_FORWARDED.size:]))
        return cls(SenseKey(head["key"]), head["code"], information, bool(filemark), bool(eom), bool(ili),
                   head["response"] == 0x73, command_specific, key_specific, 0, fru, b"",
                   tuple(forwarded), True)


def field_pointer(byte: int, *, in_cdb: bool, bit: int | None = None) -> int:
    """``key_specific`` of ILLEGAL REQUEST: which byte (and bit) of the CDB or parameter list is wrong.

    SPC-4 4.5.2.4.2. A byte past 65535 cannot be named and is given as 65535.
    """
    return in_cdb << 22 | (0 if bit is None else 1 << 19 | bit << 16) | min(byte, 0xFFFF)


def illegal(code: int = Asc.INVALID_FIELD_IN_CDB, key_specific: int | None = None) -> Sense:
    """ILLEGAL REQUEST, the commonest refusal."""
    return Sense(SenseKey.ILLEGAL_REQUEST, code, key_specific=key_specific)


class ParameterError(WireError):
    """A parameter list is wrong at ``offset`` bytes from its start; ``code`` is how sense data calls it."""

    def __init__(self, message: str, offset: int, code: int = Asc.INVALID_FIELD_IN_PARAMETERS) -> None:
        super().__init__(message)
        self.offset = offset
        self.code = code

    def moved(self, distance: int) -> ParameterError:
        """The same error of a part, as seen from the whole that has the part at ``distance``."""
        return ParameterError(str(self), self.offset + distance, self.code)

    def sense(self) -> Sense:
        """ILLEGAL REQUEST with the field pointer at the byte that is wrong."""
        return illegal(self.code, field_pointer(self.offset, in_cdb=False))


@dataclass(frozen=True, slots=True)
class Reported:
    """Status and sense data of a copy source or destination, as it gave them to the copy manager."""

    status: int
    data: bytes = b""

    @property
    def sense(self) -> Sense | None:
        """None where there is none that can be read."""
        try:
            return Sense.take(self.data)
        except WireError:
            return None


@dataclass(frozen=True, slots=True)
class SegmentPointer:
    """Which byte (and bit) of the parameter list, or with ``in_segment`` (SD) of the segment, ended a copy.

    SPC-4 4.5.2.4.5.
    """

    byte: int
    in_segment: bool = False
    bit: int | None = None

    @property
    def key_specific(self) -> int:
        return self.in_segment << 21 | field_pointer(self.byte, in_cdb=False, bit=self.bit)

    @classmethod
    def of(cls, key_specific: int) -> SegmentPointer:
        bit = key_specific >> 16 & 7 if key_specific >> 19 & 1 else None
        return cls(key_specific & 0xFFFF, bool(key_specific >> 21 & 1), bit)


_SOURCE, _DESTINATION = 1, 2


@dataclass(frozen=True, slots=True)
class CopySense:
    """Why a copy ended inside a segment. SPC-4 5.17.7.4.

    ``segment``: its number, from 0; None where the sense data names none. ``residue``: of that segment, what
    was to be written and was not: bytes where the destination is a tape with variable records, blocks
    elsewhere; None where nothing was written. ``pointer``: the descriptor of the unit at fault, or the field
    that is wrong.
    """

    code: int
    segment: int | None = 0
    residue: int | None = None
    source_sense: Reported | None = None
    destination_sense: Reported | None = None
    pointer: SegmentPointer | None = None
    key: SenseKey = SenseKey.COPY_ABORTED

    def sense(self, *, wide: bool = False) -> Sense:
        """As sense data: of the fixed form, or with ``wide`` of the descriptor form."""
        key_specific = None if self.pointer is None else self.pointer.key_specific
        if wide:
            reports = ((_SOURCE, self.source_sense), (_DESTINATION, self.destination_sense))
            forwarded = tuple(Forwarded(which, one.status, one.data) for which, one in reports if one)
            # The four bytes of the fixed form lie right-aligned in the eight here, as FreeBSD has them.
            return Sense(self.key, self.code, self.residue, command_specific=self.segment,
                         key_specific=key_specific, forwarded=forwarded, wide=True)
        room = MAX_SENSE - _FIXED.size
        if self.source_sense and self.destination_sense:
            room //= 2
        extra, command_specific = b"", self.segment or 0
        for place, report in ((24, self.source_sense), (16, self.destination_sense)):
            if report:
                command_specific |= _FIXED.size + len(extra) << place
                extra += bytes((report.status,)) + report.data[:room - 1]
        return Sense(self.key, self.code, self.residue, command_specific=command_specific,
                     key_specific=key_specific, extra=extra)

    def put(self, *, wide: bool = False) -> bytes:
        return self.sense(wide=wide).put()

    @classmethod
    def of(cls, sense: Sense) -> CopySense:
        """What sense data of a copy manager, in either form, says. Never fails: what is absent is None."""
        specific = sense.command_specific
        in_cdb = sense.key is SenseKey.ILLEGAL_REQUEST and (sense.key_specific or 0) >> 22 & 1
        pointer = None if sense.key_specific is None or in_cdb else SegmentPointer.of(sense.key_specific)
        reports: dict[int, Reported] = {}
        segment: int | None = None
        if sense.wide:
            reports = {one.source: Reported(one.status, one.sense) for one in reversed(sense.forwarded)}
            if specific is not None:
                # Some take "third and fourth byte" for those of the eight.
                segment = (specific >> 32 if specific >> 32 else specific) & 0xFFFF
        elif sense.key is SenseKey.COPY_ABORTED:
            segment = (specific or 0) & 0xFFFF
            starts = {_SOURCE: (specific or 0) >> 24 & 0xFF, _DESTINATION: (specific or 0) >> 16 & 0xFF}
            for which, start in starts.items():
                end = min((other for other in starts.values() if other > start), default=MAX_SENSE)
                area = sense.extra[start - _FIXED.size:end - _FIXED.size] if start >= _FIXED.size else b""
                if area:
                    reports[which] = Reported(area[0], area[1:])
        return cls(sense.code, segment, sense.information, reports.get(_SOURCE), reports.get(_DESTINATION),
                   pointer, sense.key)

    @classmethod
    def take(cls, data: Buffer) -> CopySense:
        """From sense data of either form. WireError where it is none."""
        return cls.of(Sense.take(data))
