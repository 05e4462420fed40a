"""The mover in mode WRITE: records from tape become the stream (2.3.5.1.6, 3.6.2.5).

The run serves one MOVER_READ at a time. For this server's DATA it fills the destinations that DATA pulls, in
whatever pieces; for another server it sends the range. A position outside the window, a filemark or the end
of the data pauses, and the same byte is looked for again when the DMA lets the mover go on.
"""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from ndmpd.datapath import length_of, put_bytes
from ndmpd.devices.errors import DeviceError
from ndmpd.devices.tape_outcome import Stop
from ndmpd.errors import NdmpdError, StreamError
from ndmpd.pieces import Inline, LunExtent, Piece, Zeros, first, part
from ndmpd.services import channel
from ndmpd.services.channel import Frame, Kind
from ndmpd.services.hello import Hello, Role, meet
from ndmpd.services.lowering import Lowering
from ndmpd.services.mover_run import BATCH, MoverRun, PeerClosed
from ndmpd.services.tape_offer import Copied, Flag, Offer
from ndmpd.services.transfer import MakeTransfer, Mover, Transfer
from ndmpd.session.spans import ALL_ONES
from ndmpd.session.window import Window
from protocol.ndmp.codes import MoverPauseReason, Version
from protocol.scsi.command import Status

_CACHE = 1 << 20
"""Bytes of records read at a time for what is smaller than a batch or not made of whole records."""


def _drop(pieces: deque[Piece], size: int) -> None:
    """Take the first ``size`` bytes away."""
    while size:
        piece = pieces.popleft()
        if piece.length > size:
            pieces.appendleft(part(piece, size, piece.length - size))
        size -= min(size, piece.length)


class DestinationError(Exception):
    """What was read cannot be put where it is wanted; nothing is wrong with the tape."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(cause.strerror or str(cause))
        self.cause = cause


class _ReadIntoFailed(Exception):
    """The drive does not say which of the two failed, tape or destination. Memory never does."""


class RecoverRun(MoverRun, ABC):
    """``make_transfer`` as for a backup; the other arguments are ``MoverRun``'s."""

    def __init__(self, make_transfer: MakeTransfer, *run: Any) -> None:
        super().__init__(*run)
        self._make_transfer = make_transfer
        self._for_head = 0
        """The stream offset up to which the head fills what a copy manager could."""
        self._cache = memoryview(b"")
        self._cached = 0
        """The stream offset of the cache's first byte."""
        self._range: tuple[int, int] | None = None
        self._served = 0
        """The stream offset up to which the range under way was served."""

    def read(self, offset: int, length: int) -> None:
        """MOVER_READ: make [offset, offset + length) the range to serve."""
        end = ALL_ONES if length == ALL_ONES else offset + length

        def begin() -> None:
            self._range = offset, end
            self._served = offset

        self.changed(begin)

    def proceed(self, window: Window) -> None:
        self._cache = memoryview(b"")
        super().proceed(window)

    def left_to_read(self) -> int:
        if self._range is None:
            return 0
        _, end = self._range
        return end - self._served

    def move(self) -> None:
        try:
            self.serve()
        except (BrokenPipeError, ConnectionResetError) as failure:
            # DATA closes as soon as it has what it needs.
            raise PeerClosed from failure
        finally:
            if self._transfer is not None:
                self._transfer.close()

    @property
    def transfer(self) -> Transfer:
        if self._transfer is None:
            self._transfer = self._make_transfer(self.asked, self)
        return self._transfer

    @property
    def _lowering(self) -> Lowering:
        return self.transfer.head.lowering

    asked = Mover.NAS
    """The type of data mover that the DMA asked for."""

    @abstractmethod
    def serve(self) -> None: ...

    def settle(self) -> None:
        """Nothing is owed to a tape that was read."""

    def _count(self, size: int) -> None:
        """So many bytes of the range were served; the range ends with its last byte."""
        self.bytes_moved += size

        def forward() -> None:
            self._served += size
            if self._range is not None and self._served >= self._range[1]:
                self._range = None

        self.changed(forward)

    # The bytes of the stream, wherever the tape stands.

    def _fill(self, position: int, destinations: Sequence[Piece]) -> None:
        """Stream bytes from ``position`` on into ``destinations``, all of them."""
        rest = deque(piece for piece in destinations if piece.length)
        while rest:
            step = self._copied(position, rest)
            if not step:
                step = self._fill_some(position, self._for_the_head(position, rest[0]))
            self._count(step)
            position += step
            _drop(rest, step)

    def _copied(self, position: int, destinations: Sequence[Piece]) -> int:
        """Have a copy manager fill as many whole records as it will; the bytes, 0 where the head must."""
        if position < self._for_head or self._in_cache(position) or not self.transfer.carries(destinations):
            return 0
        size = self.window.record_size
        most = max(1, (self.transfer.batch or BATCH) // size)
        records = min(self.window.whole_records(position, length_of(destinations)), most)
        if not records or not self.window.holds(position):
            return 0
        index, _ = self.window.locate(position)
        records = min(records, self._records_left(position))
        if not self._space_to(index):
            return 0
        restored = self.transfer.read(self.drive, first(destinations, records * size), size)
        self.records += restored.records
        self.check_stopped()
        self._for_head = position + (restored.records + restored.leave) * size
        return restored.records * size

    def _for_the_head(self, position: int, destination: Piece) -> Piece:
        """So much of ``destination`` as the head is to fill before a copy manager may."""
        if not self.transfer.carries([destination]):
            return self._lowering.destination(destination) or destination
        record = self.window.record_size
        border = max(self._for_head, position + record - (position - self.window.offset) % record)
        limited = part(destination, 0, min(destination.length, border - position))
        return self._lowering.destination(limited) or limited

    def _fill_some(self, position: int, target: Piece) -> int:
        """As many bytes as one command brings, at least one."""
        self.check_stopped()
        if isinstance(target, Zeros):
            return target.length
        records = self.window.whole_records(position, target.length)
        if records and not isinstance(target, LunExtent) and not self._in_cache(position):
            size = self.window.record_size
            count = min(records, max(1, BATCH // size))
            with suppress(_ReadIntoFailed):
                return self._records(position, [part(target, 0, count * size)], count, direct=True) * size
        data = self._some(position, target.length)
        self._put(data, part(target, 0, len(data)))
        return len(data)

    def _put(self, data: memoryview, target: Piece) -> None:
        try:
            if isinstance(target, LunExtent):
                self._lowering.write(target, data)
            else:
                put_bytes(data, [target])
        except OSError as failure:
            raise DestinationError(failure) from failure
        except NdmpdError as failure:
            raise DestinationError(OSError(errno.EIO, str(failure))) from failure

    def _some(self, position: int, size: int) -> memoryview:
        """Between 1 and ``size`` bytes from ``position``, through the cache."""
        while not self._in_cache(position):
            if not self.window.holds(position):
                self.pause(MoverPauseReason.SEEK, position)
                continue
            record = self.window.record_size
            index, _ = self.window.locate(position)
            start = self.window.offset + index * record
            span = max(record, min(_CACHE, (position - start + size + record - 1) // record * record))
            if self.window.end is not None:
                span = min(span, max(record, self.window.end - start))
            count = max(1, span // record)
            buffer = bytearray(count * record)
            got = self._records(start, [Inline(buffer)], count)
            self._cache, self._cached = memoryview(buffer)[: got * record], start
        begin = position - self._cached
        return self._cache[begin:begin + size]

    def _in_cache(self, position: int) -> bool:
        return self._cached <= position < self._cached + len(self._cache)

    def _records(self, position: int, destinations: list[Piece], count: int, *, direct: bool = False) -> int:
        """Read up to ``count`` whole records at ``position``, the start of one; how many came, at least one.

        Pauses, and tries again, where the window or the tape does not have it. _ReadIntoFailed for a READ
        that failed into ``direct`` destinations.
        """
        while True:
            self.check_stopped()
            if not self.window.holds(position):
                self.pause(MoverPauseReason.SEEK, position)
                continue
            index, _ = self.window.locate(position)
            if not self._space_to(index):
                continue
            before = self.drive.position
            try:
                outcome = self.drive.read_records(destinations, self.window.record_size,
                                                  min(count, self._records_left(position)))
            except DeviceError as failure:
                now = self.drive.position.object
                if not direct or before.object is None or now is None:
                    raise
                self.records += now - before.object
                raise _ReadIntoFailed from failure
            self.records += outcome.records
            if outcome.records:
                if outcome.stop is Stop.FILEMARK:
                    # To be met again by who wants what is behind: that is another tape file.
                    self.drive.uncross(before.records(outcome.records), backwards=True)
                return outcome.records
            match outcome.stop:
                case Stop.FILEMARK:
                    if self.tape.version is not Version.V3:
                        self.drive.uncross(before, backwards=True)
                    self.pause(MoverPauseReason.EOF)
                case Stop.WRONG_LENGTH:
                    self._odd_record()
                case _:
                    self.pause(MoverPauseReason.EOM)

    def _records_left(self, position: int) -> int:
        """Records of the window from ``position`` on; the last may lie in it with a part only."""
        if self.window.end is None:
            return ALL_ONES
        return -(-(self.window.end - position) // self.window.record_size)

    def _space_to(self, index: int) -> bool:
        """Bring the tape to record ``index`` of the window. False after a pause: look again."""
        if index == self.records:
            return True
        before, forward = self.drive.position, index > self.records
        spaced = self.drive.space_records(index - self.records)
        done = spaced.done if forward else -spaced.done
        self.records += done
        if index == self.records:
            return True
        if spaced.stop is Stop.FILEMARK:
            if self.tape.version is not Version.V3:
                self.drive.uncross(before.records(done), backwards=forward)
            self.pause(MoverPauseReason.EOF)
        elif spaced.stop is Stop.END_OF_DATA:
            self.pause(MoverPauseReason.EOM)
        else:
            raise DeviceError(f"{self.drive.name}: the tape ends before record {index} of the window",
                              Status.CHECK_CONDITION)
        return False

    def _odd_record(self) -> None:
        """The record at the tape's position is not as long as the DMA said."""
        record = self.drive.read(1)
        raise DeviceError(f"{self.drive.name}: a record of {record.length} bytes stands where records of "
                          f"{self.window.record_size} were expected; restore with the record size of the "
                          "backup", Status.CHECK_CONDITION)


class LocalRecover(RecoverRun):
    """For this server's DATA, or another mover of it: fill what it pulls."""

    _copying = False
    """Whether a copy to the other mover's tape is under way, which must end with that."""

    def serve(self) -> None:
        theirs, self.asked = meet(self.connection, Hello(Role.MOVER_WRITE))
        if theirs.role is Role.MOVER_READ:
            self._serve_mover()
        else:
            self._serve_data()

    def _serve_data(self) -> None:
        while True:
            frame = channel.receive(self.connection)
            if frame is None:
                return
            if frame.kind is not Kind.PULL:
                raise StreamError(f"DATA sent {frame.kind.name} during a recover")
            destinations = [self._destination() for _ in range(frame.c)]
            self._await(frame.a)
            if destinations:
                channel.send(self.connection, self._fill_all(frame.a, destinations))
            else:
                data = self._some(frame.a, frame.b)
                self._count(len(data))
                channel.send(self.connection, Frame(Kind.FILLED, payload=data))

    def _fill_all(self, position: int, destinations: list[Piece]) -> Frame:
        """Where a destination fails, that is for DATA to say: its bytes are passed over, the tape is well."""
        end = position + length_of(destinations)
        try:
            self._fill(position, destinations)
        except DestinationError as failure:
            self._count(end - self._served)
            return Frame(Kind.FAILED, failure.cause.errno or errno.EIO, payload=str(failure).encode())
        return Frame(Kind.FILLED, self.transfer.offloaded, payload=self.transfer.used.encode())

    def _destination(self) -> Piece:
        frame = channel.receive(self.connection)
        if frame is None:
            raise PeerClosed
        return channel.piece_of(frame)

    def _await(self, position: int) -> None:
        """Until a MOVER_READ has asked for the byte at ``position``."""
        self.wait(lambda: self._range is not None and self._range[0] <= position < self._range[1],
                  watch_peer=True)

    # Another mover.

    @property
    def stopped(self) -> bool:
        return super().stopped or (self._copying and self._peer_gone())

    def _serve_mover(self) -> None:
        while (frame := channel.receive(self.connection)) is not None:
            if frame.kind is not Kind.PULL:
                raise StreamError(f"the other mover sent {frame.kind.name} during a copy")
            if frame.c:
                self._copy(Offer.take(channel.receive(self.connection)))
                continue
            self.wait(lambda: self._range is not None, watch_peer=True)
            position, end = self._span()
            data = self._some(position, min(frame.b, end - position))
            self._count(len(data))
            channel.send(self.connection, Frame(Kind.FILLED, payload=data))

    def _span(self) -> tuple[int, int]:
        """What is left of the range to serve; nothing where there is none."""
        with self._turn:
            return (self._served, self._range[1]) if self._range is not None else (0, 0)

    def _copy(self, offer: Offer) -> None:
        """Have as many records as can be put onto the tape that is offered."""
        size = offer.record_size
        position, end = self._span()
        records = min(offer.records, self.window.whole_records(position, end - position))
        if size != self.window.record_size:
            self._settle(Copied(0, Flag.NEVER))
        elif self._in_cache(position):
            self._settle(Copied(0, leave=-(-(self._cached + len(self._cache) - position) // size)))
        elif (not records or not self.window.holds(position)
              or self.window.locate(position)[0] != self.records):
            # To be waited for, sought, or paused for by the head, while nobody's drive is lent.
            self._settle(Copied(0, leave=1))
        else:
            self._offload(offer, records)

    def _offload(self, offer: Offer, records: int) -> None:
        settled = False

        def settle(mover: str, claimed: int | None, end: bool, leave: int) -> int:
            nonlocal settled
            self._copying, settled = False, True
            return self._settle(Copied(claimed, Flag.END if end else Flag.NONE, leave, mover))

        self._copying = True
        try:
            copied = self.transfer.copy(self.drive, offer.end, offer.record_size, records, settle)
        finally:
            self._copying = False
        if copied is not None:
            self.records += copied.records
            self._count(copied.records * offer.record_size)
        self.check_stopped()
        if not settled:
            self._settle(Copied(0, Flag.NEVER if copied is None else Flag.NONE,
                                copied.leave if copied is not None else 0))

    def _settle(self, copied: Copied) -> int:
        """Tell what was copied; what the other mover found on its tape."""
        copied.send(self.connection)
        frame = channel.receive(self.connection)
        if frame is None:
            raise PeerClosed
        if frame.kind is not Kind.KEPT:
            raise StreamError(f"the other mover sent {frame.kind.name} where a number of records was due")
        return frame.a


class RemoteRecover(RecoverRun):
    """For another server's DATA: send the ranges asked for.

    A peer that closes while nothing is under way to it is gone, though it might only have closed its own
    direction: the DMA waits to hear of the end, and no DATA is known to do that and go on reading.
    """

    def serve(self) -> None:
        while True:
            self.wait(lambda: self._range is not None, watch_peer=True)
            assert self._range is not None
            position, end = self._served, self._range[1]
            for data in self._bytes(position, end):
                # Counted first: the peer may ask for more as soon as it has them.
                self._count(len(data))
                self.connection.sendall(data)

    def _bytes(self, position: int, end: int) -> Iterable[memoryview]:
        buffer = memoryview(bytearray(_CACHE))
        while position < end:
            records = self.window.whole_records(position, min(len(buffer), end - position))
            if records and not self._in_cache(position):
                size = self.window.record_size
                got = self._records(position, [Inline(buffer[: records * size])], records) * size
                data = buffer[:got]
            else:
                data = self._some(position, end - position)
            yield data
            position += len(data)
