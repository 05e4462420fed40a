"""Recover from a ``tar`` stream: everything, or selected names, where fh_info tells their place or by
reading.

Direct access goes through the selected names in the order of their offsets and checks that the entry found
there is the one that was meant; where it is not, the stream is read from its beginning, as for names without
fh_info. Hard links to data that is not among what was selected come last: their data is fetched from its own
entry.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field

from ndmpd.errors import JobRefused, StreamError
from ndmpd.formats.job import Selection
from ndmpd.formats.selection import relative
from ndmpd.formats.tally import Tally, shown
from ndmpd.formats.tar_place import Made, Place
from ndmpd.formats.tar_reader import EntryReader
from ndmpd.ports import Reporter
from protocol.ndmp.codes import LogType, RecoveryStatus
from protocol.streams.tar import BLOCK, Type
from protocol.streams.tarentry import LINKS, Entry

_FOLDERS = (Type.FOLDER, Type.GNU_DUMPDIR)
_OTHERS = (Type.SYMLINK, Type.FIFO, Type.CHARACTER, Type.BLOCK)
_FAILURES = (OSError, OverflowError, ValueError, JobRefused)
_STATUSES = {
    errno.EACCES: RecoveryStatus.FAILED_PERMISSION, errno.EPERM: RecoveryStatus.FAILED_PERMISSION,
    errno.EROFS: RecoveryStatus.FAILED_PERMISSION, errno.EXDEV: RecoveryStatus.FAILED_PERMISSION,
    errno.EEXIST: RecoveryStatus.FAILED_FILE_PATH_EXISTS, errno.ENOENT: RecoveryStatus.FAILED_NO_DIRECTORY,
    errno.ENOTDIR: RecoveryStatus.FAILED_NO_DIRECTORY, errno.ELOOP: RecoveryStatus.FAILED_NO_DIRECTORY,
    errno.ENOMEM: RecoveryStatus.FAILED_OUT_OF_MEMORY,
}


@dataclass(slots=True, eq=False)
class Target:
    """One selected name on its way. ``names``: what to look for, the first that is there counts."""

    selection: Selection
    names: tuple[bytes, ...]
    place: Place | None
    status: RecoveryStatus = RecoveryStatus.SUCCESSFUL
    found: bytes | None = None

    def fail(self, status: RecoveryStatus) -> None:
        """The first failure is the one that is reported."""
        if self.status == RecoveryStatus.SUCCESSFUL:
            self.status = status

    @property
    def direct(self) -> int | None:
        """Offset of the entry, where the DMA told one that can be."""
        offset = self.selection.fh_info
        return offset if offset and offset % BLOCK == 0 and offset < 1 << 63 else None


_Index = dict[bytes, tuple[bytes, Target]]


@dataclass(slots=True)
class _Later:
    """A link whose data has to be fetched."""

    target: Target
    path: bytes
    entry: Entry
    first: bytes


@dataclass(slots=True)
class _Pending:
    by_offset: dict[int, list[_Later]] = field(default_factory=dict)
    by_name: dict[bytes, list[_Later]] = field(default_factory=dict)


class TarRecover:
    """One recover. ``recursive``: whether a selected folder brings what is in it (RECURSIVE)."""

    def __init__(self, reader: EntryReader, tally: Tally, report: Reporter, *, recursive: bool) -> None:
        self._reader = reader
        self._tally = tally
        self._report = report
        self._recursive = recursive
        self._made: dict[int, Made] = {}
        self._names: dict[int, bytes | None] = {}
        self._pending = _Pending()
        self._active: Place | None = None

    def run(self, targets: list[Target], *, direct: bool) -> None:
        """Restore ``targets`` and tell the DMA of each. ``direct``: whether fh_info may be used (DIRECT)."""
        whole = True
        try:
            scanned = self._direct(targets) if direct else [target for target in targets if target.place]
            for round_ in _rounds(scanned):
                self._scan(round_)
            self._links()
            whole = False
        finally:
            try:
                self._activate(None)
            finally:
                for target in targets:
                    if whole:  # an exception is on its way
                        target.fail(RecoveryStatus.FAILED_IO_ERROR)
                    self._report.recovered(target.selection.given, target.status)

    def _activate(self, place: Place | None) -> None:
        """Only one place is open at a time: descriptors stay bounded however many names are selected."""
        if place is not self._active:
            left, self._active = self._active, place
            if left is not None:
                try:
                    left.close()
                except OSError as error:
                    self._tally.attribute(left.inside, "folders not finished", error.strerror or str(error))

    def _direct(self, targets: list[Target]) -> list[Target]:
        """Restore what can be found by offset; the targets that cannot come back."""
        scanned = [target for target in targets if target.place and target.direct is None]
        located = [(offset, target) for target in targets
                   if target.place and (offset := target.direct) is not None]
        for offset, target in sorted(located, key=lambda pair: pair[0]):
            if offset in self._made and self._names[offset] not in target.names:
                self._same_file(target, offset)
                continue
            try:
                self._reader.seek(offset, whole=False)
                entry = self._reader.next()
            except StreamError:
                entry = None
            path = relative(entry.name) if entry else None
            if entry is None or not (path in target.names or entry.shared):
                self._report.log(LogType.WARNING,
                                 f"{target.selection.given}: not where the catalogue says (byte {offset}); "
                                 "the backup is searched from its beginning")
                scanned.append(target)
                continue
            if path not in target.names:
                self._tally.note(target.names[0],
                                 f"restored from {shown(path or b'')}, another name of that file")
            self._subtree(target, entry, path or b"")
        return scanned

    def _same_file(self, target: Target, offset: int) -> None:
        """HIST=d tells one offset for all names of a file: the first that was restored has the data."""
        target.found = target.names[0]
        assert target.place is not None
        self._activate(target.place)
        try:
            target.place.link(self._made[offset], b"")
        except _FAILURES as error:
            self._failed(target, b"", error)

    def _subtree(self, target: Target, entry: Entry | None, name: bytes) -> None:
        target.found = name
        prefix = name + b"/" if name else b""
        folder = entry is not None and entry.type in _FOLDERS
        path: bytes | None = name
        while entry is not None:
            if path is None:
                self._refuse(target, entry)
            elif path == name or path.startswith(prefix):
                self._restore(target, entry, path[len(prefix):])
            else:
                self._reader.unread(entry)
                return
            if not folder or not self._recursive:
                return
            entry = self._reader.next()
            path = relative(entry.name) if entry else None

    def _scan(self, targets: list[Target]) -> None:
        """Read the stream from its beginning for ``targets``, none of which is within another."""
        index: _Index = {name: (name, target) for target in targets for name in target.names}
        waiting = set(targets)
        last: Target | None = None
        parent, above = b"\0", None
        self._reader.seek(0, whole=True)
        while waiting and (entry := self._reader.next()) is not None:
            path = relative(entry.name)
            if path is None:
                if b"" in index:
                    self._refuse(index[b""][1], entry)
                continue
            hit = index.get(path)
            if hit is None and self._recursive:
                folder = path.rpartition(b"/")[0]
                if folder != parent:
                    parent, above = folder, _holder(index, folder)
                hit = above
            if last is not None and (hit is None or hit[1] is not last):
                waiting.discard(last)  # its subtree is one range, and this is beyond it
                last = None
            if hit is None:
                continue
            name, target = hit
            if target.found is None:
                target.found = name
            elif name != target.found:
                name = target.found  # an alternative, below the name that was there
                if not path.startswith(name + b"/"):
                    continue
            last = target
            self._restore(target, entry, path[len(name) + 1:] if name else path)
            if path == name and (entry.type not in _FOLDERS or not self._recursive):
                waiting.discard(target)
        for target in targets:
            if target.found is None:
                target.fail(RecoveryStatus.FAILED_NOT_FOUND)

    def _refuse(self, target: Target, entry: Entry) -> None:
        self._tally.loss(entry.name[:1024], "a name that climbs out of the backup; not restored")
        target.fail(RecoveryStatus.FAILED_PERMISSION)

    def _restore(self, target: Target, entry: Entry, path: bytes) -> None:
        """Restore one entry as ``path`` below the target."""
        place = target.place
        assert place is not None
        self._activate(place)
        try:
            if entry.type in _FOLDERS:
                place.folder(entry, path)
            elif entry.type == Type.LINK:
                self._link(target, entry, path)
            elif entry.type == Type.GNU_VOLUME:
                return
            elif entry.type == Type.GNU_MULTIVOLUME:
                raise OSError(errno.EINVAL, "only the rest of it is in this stream")
            else:
                made = (place.other(entry, path) if entry.type in _OTHERS
                        else place.file(entry, path, self._reader))
                if made is not None:
                    self._made[entry.offset] = made
                    self._names[entry.offset] = relative(entry.name)
        except _FAILURES as error:
            self._failed(target, path, error)

    def _failed(self, target: Target, path: bytes, error: Exception) -> None:
        assert target.place is not None
        code = error.errno if isinstance(error, OSError) else None
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        if code in (errno.ENOTDIR, errno.ELOOP):
            reason = "a file or a symbolic link is where a folder belongs"
        self._tally.loss(target.place.path(path), f"not restored: {reason}")
        target.fail(_STATUSES.get(code or 0, RecoveryStatus.FAILED_IO_ERROR))

    def _link(self, target: Target, entry: Entry, path: bytes) -> None:
        offset = entry.data_offset
        first = relative(entry.linkname)
        if first is None:
            self._refuse(target, entry)
            return
        made = self._made.get(offset) if offset is not None else self._foreign(target, first)
        assert target.place is not None
        if made is not None:
            try:
                target.place.link(made, path)
                return
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EMLINK, errno.ENAMETOOLONG, errno.ESTALE):
                    raise
        later = _Later(target, path, entry, first)
        if offset is not None:
            self._pending.by_offset.setdefault(offset, []).append(later)
        else:
            self._pending.by_name.setdefault(first, []).append(later)

    @staticmethod
    def _foreign(target: Target, first: bytes) -> Made | None:
        """What another writer's stream links to: found by its name, if that was selected with the link."""
        prefix = target.found + b"/" if target.found else b""
        if not first.startswith(prefix) or target.place is None:
            return None
        return target.place.find(first[len(prefix):])

    def _links(self) -> None:
        """Fetch the data of links whose data was not selected; the links among themselves stay one file."""
        pending = self._pending
        for offset in sorted(pending.by_offset):
            later = pending.by_offset[offset]
            self._reader.seek(offset, whole=False)
            entry = self._reader.next()
            self._fetched(later, entry if entry and relative(entry.name) == later[0].first else None)
        if not pending.by_name:
            return
        self._reader.seek(0, whole=True)
        while pending.by_name and (entry := self._reader.next()) is not None:
            name = relative(entry.name)
            if name in pending.by_name and entry.type != Type.LINK:
                self._fetched(pending.by_name.pop(name), entry)
        for later in pending.by_name.values():
            self._fetched(later, None)

    def _fetched(self, later: list[_Later], entry: Entry | None) -> None:
        first = later[0]
        if entry is None or entry.type == Type.LINK or entry.type in _FOLDERS:
            for link in later:
                self._failed(link.target, link.path,
                             OSError(errno.EIO, "its data is not where its link says"))
            return
        shared = entry if entry.shared else _marked(entry)
        self._made.pop(shared.offset, None)
        self._restore(first.target, shared, first.path)
        made = self._made.get(shared.offset)
        for link in later[1:]:
            assert link.target.place is not None
            self._activate(link.target.place)
            try:
                if made is None:
                    raise OSError(errno.EIO, "its data could not be restored")
                link.target.place.link(made, link.path)
            except _FAILURES as error:
                self._failed(link.target, link.path, error)


def _marked(entry: Entry) -> Entry:
    """``entry`` of another writer, to which links are known to follow."""
    entry.records = {**entry.records, LINKS: b"2"}
    return entry


def _holder(index: _Index, folder: bytes) -> tuple[bytes, Target] | None:
    """The name and target that ``folder`` belongs to: by its own name or that of one above it."""
    while True:
        hit = index.get(folder)
        if hit is not None or not folder:
            return hit
        folder = folder.rpartition(b"/")[0]


def _rounds(targets: list[Target]) -> list[list[Target]]:
    """``targets`` in groups, none of a group within another of it. One group is one pass over the stream."""
    rounds: list[_Round] = []
    for target in targets:
        fitting = next((round_ for round_ in rounds if round_.has_room_for(target)), None)
        if fitting is None:
            fitting = _Round()
            rounds.append(fitting)
        fitting.add(target)
    return [round_.targets for round_ in rounds]


class _Round:
    """Targets apart from each other. ``_above``: every folder that a name of theirs is in."""

    def __init__(self) -> None:
        self.targets: list[Target] = []
        self._index: _Index = {}
        self._above: set[bytes] = set()

    def has_room_for(self, target: Target) -> bool:
        return all(_holder(self._index, name) is None and name not in self._above for name in target.names)

    def add(self, target: Target) -> None:
        self.targets.append(target)
        for name in target.names:
            self._index[name] = name, target
            while name:
                name = name.rpartition(b"/")[0]
                self._above.add(name)
