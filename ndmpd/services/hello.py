"""Who is at either end of a local channel: both say so first, and hear the other, before anything else.

A side of this server that connects to an address of this same server cannot know what listens there: a mover
for DATA, DATA for a mover, or, where the DMA copies, another DATA or another mover. Over TCP that makes no
difference, bytes are bytes; here each pairing has frames of its own, and two that both send, or both receive,
are told apart from a stream that does not come.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum

from ndmpd.errors import NdmpdError, StreamError
from ndmpd.services import channel
from ndmpd.services.channel import Frame, Kind
from ndmpd.services.transfer import Mover


class Role(IntEnum):
    """What an end does with the stream."""

    DATA_BACKUP = 1
    DATA_RECOVER = 2
    MOVER_READ = 3
    """Takes the stream and writes its tape."""
    MOVER_WRITE = 4
    """Reads its tape."""

    @property
    def sends(self) -> bool:
        return self in (Role.DATA_BACKUP, Role.MOVER_WRITE)


_WORDS = {Role.DATA_BACKUP: "a backup", Role.DATA_RECOVER: "a recover",
          Role.MOVER_READ: "a mover in mode READ, which writes its tape",
          Role.MOVER_WRITE: "a mover in mode WRITE, which reads its tape"}


class EndsDoNotFit(NdmpdError):
    """Both ends of a data connection send the stream, or both receive it, or they were told different things.
    """


class NobodyThere(ConnectionResetError):
    """The other end went before it said anything."""


@dataclass(frozen=True, slots=True)
class Hello:
    """``asked``: the type of data mover that the DMA asked this end for. Movers are asked for none."""

    role: Role
    asked: Mover = Mover.AUTO

    def put(self) -> Frame:
        return Frame(Kind.HELLO, self.role, payload=self.asked.encode())

    @classmethod
    def take(cls, frame: Frame) -> Hello:
        """Raises StreamError where ``frame`` is no greeting."""
        try:
            if frame.kind is not Kind.HELLO:
                raise ValueError(frame.kind.name)
            return cls(Role(frame.a), Mover(bytes(frame.payload).decode()))
        except ValueError as problem:
            raise StreamError(f"the local channel does not begin with a greeting ({problem})") from None

    def agreed(self, other: Hello) -> Mover:
        """The type of data mover for both ends. Raises EndsDoNotFit."""
        if self.role.sends == other.role.sends:
            verb = "send" if self.role.sends else "receive"
            raise EndsDoNotFit(f"both ends of the data connection {verb} the stream: this one is "
                               f"{_WORDS[self.role]}, the other {_WORDS[other.role]}; start one of them the "
                               "other way round")
        asked = {self.asked, other.asked} - {Mover.AUTO}
        if len(asked) > 1:
            raise EndsDoNotFit("one end of the data connection was started with DATAMOVER=NAS and the other "
                               "with SCSI; send the same to both, or to one of them only")
        return asked.pop() if asked else Mover.AUTO


def meet(end: socket.socket, ours: Hello, theirs: Hello | None = None) -> tuple[Hello, Mover]:
    """Say who we are; who the other end is (``theirs``, where it was heard already), and the data mover that
    both may use. Waits for an end that has not begun.

    Raises EndsDoNotFit, NobodyThere.
    """
    with suppress(BrokenPipeError):
        # What it said before it went is worth hearing: why the two do not fit.
        channel.send(end, ours.put())
    if theirs is None:
        theirs = greeting(end)
    return theirs, ours.agreed(theirs)


def greeting(end: socket.socket) -> Hello:
    """Hear who the other end is. Raises NobodyThere, StreamError."""
    frame = channel.receive(end)
    if frame is None:
        raise NobodyThere("the other end closed it before it began")
    return Hello.take(frame)
