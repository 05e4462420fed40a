"""VPD page 8Fh, Third-party Copy: what a copy manager can do. SPC-4 7.8.17.

The page repeats the limits of RECEIVE COPY RESULTS and adds the commands and special CSCD ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from protocol.bits import Bits, Buffer, Layout
from protocol.errors import WireError
from protocol.scsi.copyresults import OperatingParameters, exponent
from protocol.scsi.spc import Vpd, VpdPage


class DescriptorType(IntEnum):
    """Those that are read here; SPC-4 table 645."""

    COMMANDS = 0x0001
    PARAMETERS = 0x0004
    TYPES = 0x0008
    CSCD_IDS = 0x000C
    GENERAL = 0x8001
    STREAM = 0x9101
    HELD = 0xC001


# Each is what follows the descriptor's own header of four bytes.
_HEADER = Layout(4, type=Bits(0, 16), length=Bits(2, 16))
_PARAMETERS = Layout(28, max_cscds=Bits(4, 16), max_segments=Bits(6, 16), max_list_length=Bits(8, 32),
                     max_inline_length=Bits(12, 32))
_GENERAL = Layout(32, total_concurrent=Bits(0, 32), identified_concurrent=Bits(4, 32),
                  max_segment_length=Bits(8, 32), data_granularity=Bits(12, 8),
                  inline_granularity=Bits(13, 8))
_STREAM = Layout(12, max_transfer=Bits(0, 32))
_HELD = Layout(28, limit=Bits(0, 32), granularity=Bits(4, 8))


@dataclass(frozen=True, slots=True)
class Command:
    """An operation code and the service actions of it that are supported."""

    opcode: int
    actions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ParameterLimits:
    """Of one EXTENDED COPY parameter list; lengths in bytes (7.8.17.5)."""

    max_cscds: int
    max_segments: int
    max_list_length: int
    max_inline_length: int = 0

    def put(self) -> bytes:
        return _PARAMETERS.put(max_cscds=self.max_cscds, max_segments=self.max_segments,
                               max_list_length=self.max_list_length, max_inline_length=self.max_inline_length)


@dataclass(frozen=True, slots=True)
class GeneralLimits:
    """Of any copy; lengths and granularities in bytes, ``max_segment_length`` 0 is no limit (7.8.17.10)."""

    total_concurrent: int
    identified_concurrent: int
    max_segment_length: int = 0
    data_granularity: int = 1
    inline_granularity: int = 1

    def put(self) -> bytes:
        return _GENERAL.put(total_concurrent=self.total_concurrent,
                            identified_concurrent=self.identified_concurrent,
                            max_segment_length=self.max_segment_length,
                            data_granularity=exponent(self.data_granularity),
                            inline_granularity=exponent(self.inline_granularity))


@dataclass(frozen=True, slots=True)
class HeldLimits:
    """Of held data, in bytes (7.8.17.12)."""

    limit: int
    granularity: int = 1

    def put(self) -> bytes:
        return _HELD.put(limit=self.limit, granularity=exponent(self.granularity))


@dataclass(frozen=True, slots=True)
class OtherDescriptor:
    """A descriptor that is not read here (ROD tokens): its type and what follows its header."""

    type: int
    body: bytes


@dataclass(frozen=True, slots=True)
class ThirdPartyCopy:
    """The page. ``commands``, ``types`` and ``cscd_ids`` are empty, the limits None, where it lacks them.

    ``types``: codes of segment and CSCD descriptors; ``cscd_ids``: ids above 07FFh.
    """

    commands: tuple[Command, ...] = ()
    parameters: ParameterLimits | None = None
    types: tuple[int, ...] = ()
    cscd_ids: tuple[int, ...] = ()
    general: GeneralLimits | None = None
    max_stream_transfer: int | None = None
    held: HeldLimits | None = None
    others: tuple[OtherDescriptor, ...] = ()
    device_type: int = 0

    @classmethod
    def of(cls, limits: OperatingParameters, commands: tuple[Command, ...], cscd_ids: tuple[int, ...] = (),
           device_type: int = 0) -> ThirdPartyCopy:
        """The page of a copy manager that answers RECEIVE COPY RESULTS with ``limits``: they are to agree."""
        return cls(
            commands, ParameterLimits(limits.max_cscds, limits.max_segments, limits.max_list_length,
                                      limits.max_inline_length),
            limits.types, cscd_ids,
            GeneralLimits(max(limits.total_concurrent, limits.max_concurrent), limits.max_concurrent,
                          limits.max_segment_length, limits.data_granularity, limits.inline_granularity),
            limits.max_stream_transfer or None,
            HeldLimits(limits.held_limit, limits.held_granularity) if limits.held_limit else None,
            device_type=device_type)

    def supports(self, opcode: int, action: int) -> bool:
        """Whether the page lists the command."""
        return any(one.opcode == opcode and action in one.actions for one in self.commands)

    def put(self) -> bytes:
        """The page, its descriptors in ascending order. ValueError for a field that does not fit."""
        parts = [(other.type, other.body) for other in self.others]
        if self.commands:
            listed = b"".join(bytes((one.opcode, len(one.actions), *sorted(one.actions)))
                              for one in sorted(self.commands, key=lambda one: one.opcode))
            parts.append((DescriptorType.COMMANDS, bytes((len(listed),)) + listed))
        if self.parameters:
            parts.append((DescriptorType.PARAMETERS, self.parameters.put()))
        if self.types:
            parts.append((DescriptorType.TYPES, bytes((len(self.types), *sorted(self.types)))))
        if self.cscd_ids:
            ids = b"".join(one.to_bytes(2, "big") for one in sorted(self.cscd_ids))
            parts.append((DescriptorType.CSCD_IDS, len(ids).to_bytes(2, "big") + ids))
        if self.general:
            parts.append((DescriptorType.GENERAL, self.general.put()))
        if self.max_stream_transfer is not None:
            parts.append((DescriptorType.STREAM, _STREAM.put(max_transfer=self.max_stream_transfer)))
        if self.held:
            parts.append((DescriptorType.HELD, self.held.put()))
        body = b""
        for kind, part in sorted(parts):
            part += bytes(-len(part) % 4)
            body += _HEADER.put(type=kind, length=len(part)) + part
        return VpdPage(self.device_type, Vpd.THIRD_PARTY_COPY, body).put()

    @classmethod
    def take(cls, data: Buffer) -> ThirdPartyCopy:
        """WireError where it is another page, or a descriptor is too short for what it is.

        A descriptor that the allocation length cut off is left out, as are further ones of a type.
        """
        page = VpdPage.take(data, Vpd.THIRD_PARTY_COPY)
        found: dict[int, bytes] = {}
        others: list[OtherDescriptor] = []
        for kind, body in _descriptors(page.body):
            if kind in DescriptorType._value2member_map_:
                found.setdefault(kind, body)
            else:
                others.append(OtherDescriptor(kind, body))
        return cls(_commands(found.get(DescriptorType.COMMANDS)),
                   _parameters(found.get(DescriptorType.PARAMETERS)), _types(found.get(DescriptorType.TYPES)),
                   _cscd_ids(found.get(DescriptorType.CSCD_IDS)), _general(found.get(DescriptorType.GENERAL)),
                   _stream(found.get(DescriptorType.STREAM)), _held(found.get(DescriptorType.HELD)),
                   tuple(others), page.type)


def _descriptors(body: Buffer) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _HEADER.size <= len(body):
        field = _HEADER.take(body, at)
        start, at = at + _HEADER.size, at + _HEADER.size + field["length"]
        if at > len(body):
            return
        yield field["type"], bytes(body[start:at])


def _counted(body: bytes, width: int) -> bytes:
    """What a length of ``width`` bytes at the start counts."""
    size = int.from_bytes(body[:width], "big")
    if len(body) < width + size:
        raise WireError(f"list of {size} bytes in a descriptor of {len(body)}")
    return body[width:width + size]


def _commands(body: bytes | None) -> tuple[Command, ...]:
    listed, at = _counted(body or b"\0", 1), 0
    found: list[Command] = []
    while at < len(listed):
        actions = _counted(listed[at + 1:], 1)
        found.append(Command(listed[at], tuple(actions)))
        at += 2 + len(actions)
    return tuple(found)


def _types(body: bytes | None) -> tuple[int, ...]:
    return tuple(_counted(body or b"\0", 1))


def _cscd_ids(body: bytes | None) -> tuple[int, ...]:
    ids = _counted(body or b"\0\0", 2)
    return tuple(int.from_bytes(ids[at:at + 2], "big") for at in range(0, len(ids) - 1, 2))


def _parameters(body: bytes | None) -> ParameterLimits | None:
    return None if body is None else ParameterLimits(**_PARAMETERS.take(body))


def _general(body: bytes | None) -> GeneralLimits | None:
    if body is None:
        return None
    field = _GENERAL.take(body)
    return GeneralLimits(field["total_concurrent"], field["identified_concurrent"],
                         field["max_segment_length"], 1 << field["data_granularity"],
                         1 << field["inline_granularity"])


def _stream(body: bytes | None) -> int | None:
    return None if body is None else _STREAM.take(body)["max_transfer"]


def _held(body: bytes | None) -> HeldLimits | None:
    if body is None:
        return None
    field = _HELD.take(body)
    return HeldLimits(field["limit"], 1 << field["granularity"])
