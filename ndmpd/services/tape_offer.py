"""How one mover of this server copies to the tape of another: what the two say to each other about it.

The mover that writes its tape offers it; the one that reads its own has a copy manager put records there, and
says what it knows of them; the first then asks its drive, and that counts for both.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from enum import IntFlag

from ndmpd.errors import StreamError
from ndmpd.offload.ends import TapeEnd
from ndmpd.services import channel
from ndmpd.services.channel import Frame, Kind
from protocol.scsi.spc import Designator

NOWHERE = (1 << 64) - 1
"""The offset of a mover's pulls, and a number of records that is not known."""


class Flag(IntFlag):
    NONE = 0
    END = 1
    """The tape that was written met its end."""
    NEVER = 2
    """There is no use in offering it again."""


@dataclass(frozen=True, slots=True)
class Offer:
    """``records`` of ``record_size`` bytes, no more, may be put onto the tape of ``end``."""

    end: TapeEnd
    record_size: int
    records: int

    def send(self, connection: socket.socket) -> None:
        name = self.end.name.encode()
        payload = len(name).to_bytes(2, "big") + name + self.end.designator.put()
        channel.send(connection, Frame(Kind.PULL, NOWHERE, self.records * self.record_size, 1))
        channel.send(connection, Frame(Kind.TAPE, self.record_size, self.records, payload=payload))

    @classmethod
    def take(cls, frame: Frame | None) -> Offer:
        if frame is None or frame.kind is not Kind.TAPE:
            raise StreamError("the other mover offered no tape where one was due")
        payload = bytes(frame.payload)
        name = 2 + int.from_bytes(payload[:2], "big")
        (designator,) = Designator.take_all(payload[name:])
        return cls(TapeEnd(payload[2:name].decode(), designator), frame.a, frame.b)


@dataclass(frozen=True, slots=True)
class Copied:
    """``records`` None: not known. ``leave``: so many of the next are for the head. ``mover``: whose copy it
    was.
    """

    records: int | None
    flags: Flag = Flag.NONE
    leave: int = 0
    mover: str = ""

    def send(self, connection: socket.socket) -> None:
        records = NOWHERE if self.records is None else self.records
        channel.send(connection, Frame(Kind.COPIED, records, self.flags, self.leave, self.mover.encode()))

    @classmethod
    def take(cls, frame: Frame) -> Copied:
        if frame.kind is not Kind.COPIED:
            raise StreamError(f"the other mover sent {frame.kind.name} to the offer of a tape")
        return cls(None if frame.a == NOWHERE else frame.a, Flag(frame.b), frame.c,
                   bytes(frame.payload).decode())
