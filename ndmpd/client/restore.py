"""The restore and toc jobs: the stream read back from its cartridges (draft, appendix D.2 and D.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ndmpd.client.catalogue import UNKNOWN, Medium
from ndmpd.client.errors import ClientError, JobFailed, Refused, WrongUsage
from ndmpd.client.media import TapeStation
from ndmpd.client.movement import ALL, Ending, Movement
from protocol.ndmp.codes import DataState, MoverMode, MoverPauseReason, TapeOpenMode, Version
from protocol.ndmp.data import DataGetStateReply, Name
from protocol.ndmp.mover import MoverGetStateReply


@dataclass(frozen=True, slots=True)
class Wanted:
    """Something to restore. ``original``: its path in the backup, "" for all of it. ``destination``: its
    whole new path, "" for where it was. ``fh_info``: its offset in the stream, if the catalogue knows."""

    original: str
    destination: str
    fh_info: int | None = None
    node: int | None = None

    def name(self, version: Version, root: str) -> Name:
        """The nlist entry for it. ``root``: the folder that the whole restore goes to, "" for none."""
        node = UNKNOWN if self.node is None else self.node
        fh_info = UNKNOWN if self.fh_info is None else self.fh_info
        if version != Version.V3 or not self.destination:
            return Name(self.original, self.destination, "", "", node, fh_info)
        # Version 3 puts its destination directory in front of the original path, unless there is a new name.
        if root and self.destination == root + self.original:
            return Name(self.original, root, "", "", node, fh_info)
        folder, _, last = self.destination.rpartition("/")
        return Name(self.original, folder or "/", last, "", node, fh_info)


@dataclass(frozen=True, slots=True)
class RestoreOrder:
    """What to read back. ``wanted`` empty: no files, only the table of contents (RECOVER_FILEHIST).

    ``media``: the cartridges in stream order. Of the last one ``window_length`` may be ALL: its end is not
    known.
    """

    butype: str
    environment: tuple[tuple[str, str], ...]
    record_size: int
    media: tuple[Medium, ...]
    wanted: tuple[Wanted, ...] = ()
    root: str = ""

    def __post_init__(self) -> None:
        if not self.media:
            raise WrongUsage("nothing says which cartridges the backup is on; "
                             "give its catalogue, or --drive (and --cartridge)")


class Restore:
    """One restore, or one reading of the table of contents. ``media``: the order's, with ends found on the
    way."""

    def __init__(self, order: RestoreOrder, movement: Movement, station: TapeStation) -> None:
        self._order = order
        self._movement = movement
        self._station = station
        self.media = list(order.media)
        self._current = self._first()
        self._last_change: tuple[int, int, int] | None = None

    def run(self) -> Ending:
        """Restore. Cleans up as ``Backup.run`` does."""
        order, movement, station = self._order, self._movement, self._station
        try:
            movement.mover.set_record_size(order.record_size)
            self._mount(self._current)
            movement.join(MoverMode.WRITE, *self._window())
            self._start()
            ending = movement.run(self._paused)
            self._note_end(ending.mover)
            try:
                station.dismount()
            except Refused:
                # What ended the job tells more than what comes of it.
                if ending.whole:
                    raise
            return ending
        except BaseException:
            movement.data.connection.stop.heeded = False
            movement.abandon()
            try:
                station.dismount()
            except ClientError:
                # Closing the control connection, which follows, closes the drive as well (draft 3.4.1).
                pass
            raise

    def _start(self) -> None:
        order, data = self._order, self._movement.data
        if not order.wanted:
            data.start_recover_filehist(order.butype, order.environment)
            return
        version = data.connection.version
        names = [each.name(version, order.root) for each in order.wanted]
        data.start_recover(order.butype, order.environment, names)

    def _first(self) -> int:
        """The cartridge to begin with: the first, or with direct access the first that is needed."""
        known = [each.fh_info for each in self._order.wanted if each.fh_info is not None]
        if len(known) < max(1, len(self._order.wanted)):
            return 0
        return self._holding(min(known)) or 0

    def _holding(self, offset: int) -> int | None:
        for index, medium in enumerate(self.media):
            if medium.window_offset <= offset < medium.end:
                return index
        return None

    def _window(self) -> tuple[int, int]:
        medium = self.media[self._current]
        return medium.window_offset, min(medium.window_length, ALL - medium.window_offset)

    def _mount(self, index: int) -> None:
        medium = self.media[index]
        self._station.mount(index, TapeOpenMode.READ, medium.cartridge, medium.drive)
        self._station.skip_files(medium.file_number)
        self._station.announce()
        self._current = index

    def _paused(self, data: DataGetStateReply, mover: MoverGetStateReply) -> None:
        if data.state == DataState.HALTED:
            self._movement.mover.close()
            return
        following = self._next(mover)
        if following is None:
            self._movement.mover.close()
            return
        change = (following, mover.seek_position, mover.bytes_moved)
        if change == self._last_change:
            medium = self.media[self._current]
            raise JobFailed(f"cartridge {medium.cartridge or self._current + 1} ends before byte "
                            f"{mover.seek_position}, which the catalogue says it holds")
        self._last_change = change
        self._mount(following)
        self._movement.mover.set_window(*self._window())
        self._movement.mover.resume()

    def _next(self, mover: MoverGetStateReply) -> int | None:
        """The cartridge to go on with; None when the stream has no more."""
        if mover.pause_reason == MoverPauseReason.SEEK:
            return self._holding(mover.seek_position)
        if mover.pause_reason not in (MoverPauseReason.EOF, MoverPauseReason.EOM, MoverPauseReason.EOW):
            reason = getattr(mover.pause_reason, "name", str(mover.pause_reason))
            raise JobFailed(f"the mover paused for {reason}, for which a restore has no remedy")
        if self._current + 1 == len(self.media):
            return None
        if self._note_end(mover):
            following = self.media[self._current + 1]
            self.media[self._current + 1] = replace(following, window_offset=self.media[self._current].end)
        return self._current + 1

    def _note_end(self, mover: MoverGetStateReply) -> bool:
        """Without a catalogue, a cartridge ends where reading it did. True if that was not known before."""
        here = self.media[self._current]
        if here.window_length != ALL:
            return False
        size = self._order.record_size
        end = -(-mover.bytes_moved // size) * size
        self.media[self._current] = replace(here, window_length=end - here.window_offset)
        return True


def select(names: Sequence[str], root: str, filesystem: str) -> list[Wanted]:
    """What the command line asks for: ``OLD`` or ``NEW=OLD`` each, all of it if there are none.

    ``root``: --to, "" for none. A NEW that does not begin with "/" is below ``root``, or below
    ``filesystem``.
    """
    if not names:
        return [Wanted("", root)]
    chosen = []
    for each in names:
        new, equals, old = each.rpartition("=")
        old = "/" + old.strip("/")
        if not equals:
            chosen.append(Wanted(old, root.rstrip("/") + old if root else ""))
        elif new.startswith("/"):
            chosen.append(Wanted(old, new))
        else:
            chosen.append(Wanted(old, f"{(root or filesystem).rstrip('/')}/{new}"))
    return chosen
